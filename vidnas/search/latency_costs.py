"""Milliseconds as a cost of choices, from a latency table."""

import random
from collections import defaultdict
from collections.abc import Mapping

from vidnas.arch.latency import LatencyTable
from vidnas.arch.sub_layers import Layer, SubLayer, unit_sub_layers
from vidnas.search.costs import CostTable, cost_factors
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.space_units import space_units


def latency_costs(space: Space, table: LatencyTable) -> CostTable:
    """Predicted milliseconds per clip, equal to `LatencyTable.network_ms` of the decoded spec.

    Raises:
        VidnasError: the table is of another clip, or does not cover the space.
    """
    whose = f"the space {space.name}"
    table.check_clip(space.clip, whose)
    shapes = reached_shapes(space)
    table.check_covers((SubLayer(layer, channels) for layer in shapes for channels in shapes[layer]), whose)

    return CostTable(space, "ms", cost_factors(space, table.unit_ms))


def reached_shapes(space: Space) -> Mapping[Layer, list[tuple[int, ...]]]:
    """The sub-layers of all networks of a space: per layer its channels, in order."""
    found: dict[Layer, set[tuple[int, ...]]] = defaultdict(set)
    for space_unit in space_units(space):
        for layer, channels in unit_sub_layers(space_unit.unit):
            found[layer].add(channels)
    return {layer: sorted(shapes) for layer, shapes in found.items()}


def spread_choices(space: Space, number: int, seed: int) -> list[Choice]:
    """Random choices whose costs spread over the space's range, those of little cost first.

    Drawn uniformly they would all cost about the same. Here the first has nearly all decisions as the smallest network
    has them, the middle one is uniform, the last is nearly the largest.
    """
    rng = random.Random(f"{seed} {space.content_hash}")
    ends = space.smallest(), space.largest()
    choices = []
    for i in range(number):
        pull = 2 * (i + 0.5) / number - 1
        end = ends[pull > 0]
        pulled = zip(end, space.sizes, strict=True)
        choices.append(tuple(index if rng.random() < abs(pull) else rng.randrange(size) for index, size in pulled))
    return choices
