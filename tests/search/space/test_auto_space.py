"""Spaces scaled to a budget."""

import itertools

import pytest

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ClipSpec
from vidnas.arch.zoo.x3d import x3d
from vidnas.base.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.space.published.auto import LADDER, auto_clip, auto_space, nearest_rung
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import scaled_space, tiny_space


def position(space: object, target: float) -> float:
    table = CostTable.of(space)  # type: ignore[arg-type]
    least, greatest = table.cheapest()[1], table.dearest()[1]
    return (target - least) / (greatest - least)


def test_factors_of_one_are_the_published_space() -> None:
    published = autox3d_space()
    assert scaled_space(published.clip).content_hash == published.content_hash


@pytest.mark.parametrize("target", [20e6, 50e6, 300e6, 2e9])
def test_target_lies_at_40_to_70_percent_of_the_range(target: float) -> None:
    space, line = auto_space(target, num_classes=27)
    assert 0.4 <= position(space, target) <= 0.7
    assert space.head.num_classes == 27
    assert str(space.clip) in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("frames", "size", "target"), [(8, 48, 50e6), (8, 64, 50e6), (16, 64, 150e6), (8, 112, 50e6), (8, 112, 300e6)]
)
def test_a_given_clip_is_honoured(frames: int, size: int, target: float) -> None:
    clip = ClipSpec(frames=frames, size=size, sampling="uniform")
    space, line = auto_space(target, num_classes=27, clip=clip)
    assert space.clip == clip
    assert 0.4 <= position(space, target) <= 0.7
    assert "as given" in line


def test_same_shape_as_the_published_space() -> None:
    space, _ = auto_space(300e6, num_classes=27)
    ours, published = space.streams[0].groups, autox3d_space().streams[0].groups
    assert [(group.depth, group.stride) for group in ours] == [(group.depth, group.stride) for group in published]
    assert all(group.attention == ("none", "glore") for group in ours)
    assert all(set(group.kernel) <= set(other.kernel) for group, other in zip(ours, published, strict=True))


@pytest.mark.parametrize("depth_factor", [1.0, 2.2, 5.0, 10.1])
def test_stages_are_as_deep_as_those_of_x3d(depth_factor: float) -> None:
    clip = ClipSpec(frames=4, size=160)
    groups = scaled_space(clip, depth_factor=depth_factor).streams[0].groups
    x3d_groups = x3d("x", clip, depth_factor=depth_factor).streams[0].groups
    starts = [i for i, group in enumerate(groups) if group.stride == 2]
    stages = [sum(group.depth for group in groups[a:b]) for a, b in itertools.pairwise([*starts, len(groups)])]
    assert stages == [group.depth for group in x3d_groups]


def test_impossible_targets_name_both_ends_and_the_mend() -> None:
    clip = ClipSpec(frames=16, size=112)
    with pytest.raises(
        VidnasError, match=r"20\.00 MMACs is below .* 25\.87 MMACs to .* give a larger target or a smaller clip"
    ):
        auto_space(20e6, num_classes=27, clip=clip)
    with pytest.raises(VidnasError, match=r"is above .* give a smaller target or a larger clip"):
        auto_space(1e12, num_classes=27, clip=clip)


def test_a_target_near_the_end_is_served_and_said() -> None:
    """Too little for 40% at this clip, yet possible."""
    space, line = auto_space(27e6, num_classes=27, clip=ClipSpec(frames=16, size=112))
    assert 0 < position(space, 27e6) < 0.4
    assert f"{position(space, 27e6):.0%} of this range" in line


def test_clips_of_the_ladder() -> None:
    """The lowest rungs see as many pixels in 4 frames as X3D's in 1 or 2."""
    clips = {(rung.frames, rung.size): auto_clip(rung, None, None, None) for rung in LADDER}
    seen = {key: (clip.frames, clip.size) for key, clip in clips.items()}
    assert seen[(1, 112)] == (4, 56)
    assert seen[(2, 112)] == (4, 80)
    assert seen[(2, 160)] == (4, 112)
    assert all(seen[key] == key for key in seen if key[0] >= 4)
    assert all(clip.span_sec == pytest.approx(80 / 30) for clip in clips.values())


def test_rungs_are_nearest_as_a_ratio() -> None:
    assert nearest_rung(2e9) == LADDER[7]
    assert nearest_rung(1.0) == LADDER[0]
    assert nearest_rung(1e15) == LADDER[-1]
    for lower, upper in itertools.pairwise(LADDER):
        middle = (lower.macs * upper.macs) ** 0.5
        assert (nearest_rung(middle * 0.99), nearest_rung(middle * 1.01)) == (lower, upper)


def test_clips_are_limited_to_what_videos_hold() -> None:
    space, _ = auto_space(2e9, num_classes=5, max_frames=6, max_size=96, video_sec=1.0)
    assert (space.clip.frames, space.clip.size, space.clip.sampling) == (6, 96, "uniform")
    assert 0.4 <= position(space, 2e9) <= 0.7
    assert auto_clip(nearest_rung(2e9), None, None, 10.0).sampling == "stride"


def test_the_tiny_space_is_tiny() -> None:
    space = tiny_space(num_classes=12)
    assert len(space.variables) == 12
    assert network_cost(space.decode(space.largest())).macs < 60e6
    assert all(channels % 4 == 0 for group in space.streams[0].groups for channels in group.channels)
