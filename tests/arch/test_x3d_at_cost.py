"""The X3D network that a searched one is compared with costs the same and is X3D in all else."""

from itertools import pairwise

import pytest

from vidnas.arch.cost import network_cost
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ClassificationSpec, ClipSpec
from vidnas.arch.zoo.x3d import x3d_at_cost
from vidnas.base.errors import VidnasError


@pytest.mark.parametrize(
    ("frames", "size", "macs", "depth_factor"),
    [(8, 48, 5e6, 1.0), (16, 56, 50e6, 1.0), (16, 56, 50e6, 2.2), (8, 112, 60e6, 2.2), (13, 160, 2.2e9, 2.2)],
)
def test_meets_the_cost_within_one_percent(frames: int, size: int, macs: float, depth_factor: float) -> None:
    head = ClassificationSpec(num_classes=7, hidden=256)
    spec = x3d_at_cost("x", ClipSpec(frames=frames, size=size), macs, depth_factor=depth_factor, head=head)
    assert abs(network_cost(spec).macs / macs - 1) <= 0.01
    assert spec.head == head
    widths = [group.channels for group in spec.streams[0].groups]
    for narrow, wide in pairwise(widths):
        assert 1.6 <= wide / narrow <= 2.4


def test_at_x3d_s_own_cost_it_is_x3d_s_but_for_rounding() -> None:
    reference = get_spec("x3d_s")
    spec = x3d_at_cost("x", reference.clip, network_cost(reference).macs)
    assert [g.depth for g in spec.streams[0].groups] == [3, 5, 11, 7]
    for own, theirs in zip(spec.streams[0].groups, reference.streams[0].groups, strict=True):
        assert abs(own.channels / theirs.channels - 1) <= 0.05


def test_a_cost_below_the_thinnest_network_is_refused() -> None:
    with pytest.raises(VidnasError, match=r"no X3D network of depths .* costs 0.01 MMACs @ 8x48x48"):
        x3d_at_cost("x", ClipSpec(frames=8, size=48), 1e4)
