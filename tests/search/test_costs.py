"""The cost table against the formulas of whole networks, and the exact range of a space."""

import random
import time
from itertools import product
from typing import get_args

import numpy as np
import pytest

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, SqueezeExciteSpec, StemSpec
from vidnas.base.errors import VidnasError
from vidnas.search.budget import between, usage
from vidnas.search.costs import CostTable, Metric
from vidnas.search.derive import derive
from vidnas.search.distribution import Distribution
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import scaled_space, tiny_space
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

METRICS: tuple[Metric, ...] = get_args(Metric)


def odd_space() -> Space:
    """Small enough to enumerate, with everything that a cost may depend on: odd sizes, sparse squeeze-excitation, a
    stride-1 start, expansion of the output, dense kernels."""
    kernels = (Kernel(t=5, s=3), Kernel(t=1, s=3))
    groups = (
        GroupSpace(depth=1, stride=1, channels=(8, 16), expansion=(1.5,), kernel=kernels[:1]),
        GroupSpace(
            depth=2, stride=2, channels=(12, 24), expansion=(1.0, 2.0), kernel=kernels, attention=("none", "glore")
        ),
        GroupSpace(depth=4, stride=1, channels=(12, 24), expansion=(2.0,), kernel=kernels, attention=("glore", "none")),
    )
    stream = StreamSpace(
        stem=StemSpec(channels=12),
        groups=groups,
        conv5=40,
        expansion_of="output",
        se=SqueezeExciteSpec(every=3),
        depthwise=False,
        projection_norm="on_channel_change",
    )
    head = ClassificationSpec(num_classes=3, hidden=20)
    return Space(name="odd", clip=ClipSpec(frames=3, size=45), streams=(stream,), head=head)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "space", [autox3d_space(), tiny_space(), scaled_space(ClipSpec(frames=7, size=50), width_factor=0.3)]
)
def test_costs_equal_those_of_the_decoded_networks(space: Space, metric: Metric) -> None:
    rng = random.Random(0)
    choices = [tuple(rng.randrange(size) for size in space.sizes) for _ in range(40)]
    choices += [space.smallest(), space.largest()]
    expected = [getattr(network_cost(space.decode(choice)), metric) for choice in choices]
    assert CostTable.of(space, metric).costs(choices).tolist() == expected


@pytest.mark.parametrize("metric", METRICS)
def test_every_choice_of_a_small_space_and_its_range(metric: Metric) -> None:
    space = odd_space()
    choices = list(product(*(range(size) for size in space.sizes)))
    assert len(choices) == space.size == 256
    table = CostTable.of(space, metric)
    costs = table.costs(choices).tolist()
    assert costs == [getattr(network_cost(space.decode(choice)), metric) for choice in choices]
    for (choice, cost), extreme in ((table.cheapest(), min(costs)), (table.dearest(), max(costs))):
        assert cost == extreme == table.cost(choice)


def test_the_dearest_is_not_always_the_largest_of_everything() -> None:
    """A narrower second group needs a projection shortcut, which costs more here than its channels save."""
    kernel = (Kernel(t=1, s=3),)
    groups = tuple(
        GroupSpace(depth=1, stride=stride, channels=(8, 16), expansion=(0.5,), kernel=kernel) for stride in (2, 1)
    )
    stream = StreamSpace(stem=StemSpec(channels=8), groups=groups, expansion_of="input", conv5=1)
    head = ClassificationSpec(num_classes=2, hidden=1)
    space = Space(name="odd", clip=ClipSpec(frames=2, size=16), streams=(stream,), head=head)
    table = CostTable.of(space)
    assert space.largest() == (1, 1)
    assert table.dearest()[0] == (1, 0)
    assert table.dearest()[1] == network_cost(space.decode((1, 0))).macs > table.cost(space.largest())


def test_a_table_and_ten_thousand_costs_take_less_than_two_seconds() -> None:
    space = autox3d_space()
    rng = random.Random(0)
    choices = [tuple(rng.randrange(size) for size in space.sizes) for _ in range(10_000)]
    start = time.process_time()
    CostTable.of(space).costs(choices)
    # About 0.7 s for the table and 0.02 s for the costs; CPU seconds, as the machine may be busy.
    assert time.process_time() - start < 2


def test_budgets_between_two_costs_keep_what_lies_between():
    table = CostTable.of(tiny_space(), "macs")
    choices = Distribution(table.sizes).sample(300, 0, 0)
    costs = table.costs(choices)
    low, high = np.quantile(costs, [0.3, 0.6]).tolist()
    for lower in (low, float(costs[0]), 0.0):
        kept = usage(between(table, lower, high), choices) <= 1
        assert kept.tolist() == ((costs >= lower) & (costs <= high)).tolist()
    most = table.dearest()[1]
    ends = usage(between(table, most, 2 * most), [table.dearest()[0], table.cheapest()[0]])
    assert (ends <= 1).tolist() == [True, False]
    with pytest.raises(VidnasError, match=r"nothing in the space tiny_space has .* MMACs, the dearest has"):
        between(table, 1.01 * most, 2 * most)
    # Additive costs both, so that derivation can solve for them.
    least, most = table.cheapest()[1], table.dearest()[1]
    end = between(table, least + 0.95 * (most - least), most)
    assert least + 0.95 * (most - least) <= derive(Distribution(table.sizes), end, among=1).cost <= most
