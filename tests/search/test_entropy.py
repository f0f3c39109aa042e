"""The entropy: by hand, by look-up, and its optimum under a budget against enumeration."""

import math
from itertools import product

import pytest
from random_spaces import random_space, random_two_stream_space
from two_streams import small_two_streams

from vidnas.arch.cost import network_cost
from vidnas.arch.fusion import FusionSpec
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, ClipSpec, GroupSpec, Kernel, StemSpec, StreamSpec
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.entropy import entropy_table, most_entropy, network_entropy


def network(rows, clip, stem, conv5) -> ArchSpec:
    groups = tuple(
        GroupSpec(depth=depth, stride=stride, channels=width, expansion=hidden / width, kernel=Kernel(t=t, s=s))
        for depth, width, hidden, (t, s), stride in rows
    )
    stream = StreamSpec(
        stem=StemSpec(channels=stem, kernel=Kernel(t=1, s=3)),
        groups=groups,
        conv5=conv5,
        se=None,
        projection_norm="on_channel_change",
    )
    return ArchSpec(name="e3d", clip=clip, streams=(stream,))


def test_by_hand():
    """Two blocks at 8 x 8 x 8 and 8 x 4 x 4 maps: the second has a 3 x 3 x 3 kernel, the first a 1 x 3 x 3."""
    spec = network([(1, 4, 8, (1, 3), 2), (1, 6, 12, (3, 3), 2)], ClipSpec(frames=8, size=32), 3, 16)
    flat = 1 - (8 * 1 + 8 * 3 + 8 * 3) / (math.sqrt(8**2 * 3) * math.sqrt(19))
    deep = 1 - (8 * 3 + 4 * 3 + 4 * 3) / (math.sqrt(64 + 16 + 16) * math.sqrt(27))
    first = 0.5 * math.log(3 * 9 * -math.log(flat) * 8)
    second = 0.5 * math.log(4 * 27 * -math.log(deep) * 12)
    assert network_entropy(spec) == pytest.approx(first + second + 0.5 * math.log(6), rel=1e-12)


def test_two_streams_add_up_and_fused_channels_count():
    """What the sparse stream reads of the other makes its blocks wider; a time-strided convolution gives 2 C."""
    spec = small_two_streams(fusions=())
    assert network_entropy(spec) == pytest.approx(sum(network_entropy(spec.alone(stream)) for stream in (0, 1)))
    fusion = FusionSpec(source=1, target=0, group=0, kind="time_strided_convolution")
    more = network_entropy(small_two_streams(fusions=[fusion.model_dump()])) - network_entropy(spec)
    assert more == pytest.approx(0.5 * math.log((12 + 2 * 4) / 12))


def test_kernel_of_the_maps_proportions_is_finite():
    spec = network([(1, 4, 8, (3, 3), 2)], ClipSpec(frames=8, size=32), 3, 16)  # a map of 8 x 8 x 8
    assert math.isfinite(network_entropy(spec))


def test_published_structures_are_above_x3d_at_no_greater_cost():
    """E3D-S (its Table) has more of it than X3D-S, as its paper says of networks with equal cost."""
    clip = ClipSpec(frames=13, size=160, stride=6)
    rows = [
        (3, 24, 32, (1, 5), 2),
        (6, 48, 96, (3, 3), 2),
        (6, 120, 176, (3, 3), 2),
        (6, 120, 176, (3, 3), 1),
        (6, 256, 384, (3, 3), 2),
    ]
    e3d, x3d = network(rows, clip, 24, 512), get_spec("x3d_s")
    assert network_cost(e3d).macs == pytest.approx(1.9e9, rel=0.01)  # the published cost
    assert network_cost(e3d).macs < network_cost(x3d).macs
    assert network_entropy(e3d) > network_entropy(x3d) + 5


# Spaces of at most some thousand architectures.
SPACES = [space for seed in range(12) if 1 < (space := random_space(seed)).size < 3000]
SPACES += [space for seed in range(30) if 1 < (space := random_two_stream_space(seed)).size < 3000][:6]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_table_and_optimum_against_enumeration(space):
    choices = list(product(*map(range, space.sizes)))
    costs, scores = CostTable.of(space), entropy_table(space)
    own = [network_entropy(space.decode(choice)) for choice in choices]
    assert scores.costs(choices) == pytest.approx(own, rel=1e-12)
    cost_of = costs.costs(choices)
    for share in (0.2, 0.5, 0.9):
        limit = min(cost_of) + share * (max(cost_of) - min(cost_of))
        best = max(score for score, cost in zip(own, cost_of, strict=True) if cost <= limit)
        found = most_entropy(space, [Budget(costs, limit)], 3)
        assert scores.cost(found[0]) == pytest.approx(best, rel=1e-12)
        reached = [scores.cost(choice) for choice in found]
        assert reached == sorted(reached, reverse=True)
        assert len(set(found)) == len(found)
        assert all(costs.cost(choice) <= limit for choice in found)
