"""Milliseconds of a space's choices against the sum over the decoded networks."""

import random
from itertools import product

import numpy as np
import pytest
from latency_examples import planted_ms, planted_table, small_space
from test_costs import odd_space

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ClipSpec
from vidnas.arch.sub_layers import SubLayer, network_sub_layers, number_of_blocks
from vidnas.base.errors import VidnasError
from vidnas.search.budget import Budget
from vidnas.search.derive import derive
from vidnas.search.distribution import Distribution
from vidnas.search.latency_costs import latency_costs, reached_shapes, spread_choices
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import scaled_space, tiny_space
from vidnas.search.space.space import Space


@pytest.mark.parametrize(
    "space", [autox3d_space(), tiny_space(), scaled_space(ClipSpec(frames=7, size=50), width_factor=0.3)]
)
def test_they_equal_the_look_ups_of_the_decoded_networks(space: Space) -> None:
    rng = random.Random(0)
    choices = [tuple(rng.randrange(size) for size in space.sizes) for _ in range(30)]
    choices += [space.smallest(), space.largest()]
    # Most shapes are not measured, and what is between is not linear everywhere.
    table = planted_table(space, every=9)
    costs = latency_costs(space, table)
    assert costs.metric == "ms"
    # Sums in another order.
    assert costs.costs(choices) == pytest.approx([table.network_ms(space.decode(c)) for c in choices], rel=1e-12)


def test_every_choice_of_a_small_space_and_its_range() -> None:
    space = odd_space()
    choices = list(product(*(range(size) for size in space.sizes)))
    costs = latency_costs(space, planted_table(space, overhead_ms=0.3))
    expected = []
    for choice in choices:
        spec = space.decode(choice)
        expected.append(sum(map(planted_ms, network_sub_layers(spec))) + 0.3 * number_of_blocks(spec))
    found = costs.costs(choices)
    assert found == pytest.approx(expected, rel=1e-12)
    assert costs.cheapest()[1] == pytest.approx(found.min(), rel=1e-12)
    assert costs.dearest()[1] == pytest.approx(found.max(), rel=1e-12)


def test_a_network_is_derived_under_a_limit_in_milliseconds() -> None:
    space = odd_space()
    choices = list(product(*(range(size) for size in space.sizes)))
    costs = latency_costs(space, planted_table(space))
    distribution = Distribution(space.sizes)
    distribution.logits += np.random.default_rng(0).normal(size=distribution.logits.shape)
    target = float(np.quantile(costs.costs(choices), 0.2))
    derived = derive(distribution, [Budget(costs, target)], among=1)
    allowed = [choice for choice in choices if costs.cost(choice) <= target]
    assert derived.cost <= target
    assert derived.log_prob == pytest.approx(float(distribution.log_prob(allowed).max()))


@pytest.mark.parametrize("space", [odd_space(), small_space()])
def test_what_is_reached_is_what_the_networks_have(space: Space) -> None:
    networks = (space.decode(choice) for choice in product(*(range(size) for size in space.sizes)))
    found = {sub_layer for spec in networks for sub_layer in network_sub_layers(spec)}
    reached = reached_shapes(space)
    assert {SubLayer(layer, channels) for layer, shapes in reached.items() for channels in shapes} == found
    assert sum(map(len, reached.values())) == len(found)


def test_a_table_of_another_space_or_clip_is_refused() -> None:
    tiny = tiny_space()
    table = planted_table(tiny)
    with pytest.raises(VidnasError, match=r"measured for tiny_space, does not cover the space small: no \w+"):
        latency_costs(small_space().with_clip(tiny.clip), table)
    with pytest.raises(VidnasError, match="measured at 8x48x48, the space tiny_space sees 8x64x64"):
        latency_costs(tiny.with_clip(tiny.clip.resized("8x64")), table)
    with pytest.raises(VidnasError, match="no head at 2x2 with 192, 256, 10 channels"):
        latency_costs(tiny.with_classes(10), table)


def test_a_table_serves_a_space_within_its_own() -> None:
    tiny = tiny_space()
    stream = tiny.streams[0]
    narrow = [group.model_copy(update={"channels": group.channels[1:-1]}) for group in stream.groups]
    inner = tiny.model_copy(update={"streams": (stream.model_copy(update={"groups": tuple(narrow)}),)})
    costs = latency_costs(inner, planted_table(tiny))
    assert costs.cost(inner.smallest()) > latency_costs(tiny, planted_table(tiny)).cost(tiny.smallest())


@pytest.mark.parametrize("space", [tiny_space(), autox3d_space()])
def test_random_networks_can_be_spread_over_the_costs(space: Space) -> None:
    choices = spread_choices(space, 50, seed=3)
    assert choices == spread_choices(space, 50, seed=3) != spread_choices(space, 50, seed=4)
    assert len(set(choices)) >= 45  # near the ends of a small space there are few to draw
    macs = np.array([network_cost(space.decode(choice)).macs for choice in choices])
    least, most = (network_cost(space.decode(end)).macs for end in (space.smallest(), space.largest()))
    places = (macs - least) / (most - least)
    assert np.histogram(places, bins=5, range=(0, 1))[0].min() >= 2
    assert np.corrcoef(np.arange(50), places)[0, 1] > 0.8
