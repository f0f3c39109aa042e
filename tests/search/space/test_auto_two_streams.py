"""Spaces of two streams scaled to a budget."""

import pytest
from test_auto_space import position

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.search.space.published.auto import WIDTHS, auto_space
from vidnas.search.space.published.auto_tsnet import auto_tsnet_space
from vidnas.search.space.published.scaled_streams import frames_per_sparse, scaled_two_streams


def test_factors_of_one_are_the_published_space() -> None:
    published = auto_tsnet_space()
    assert scaled_two_streams(published.clip).content_hash == published.content_hash


@pytest.mark.parametrize("depth_factor", [1.0, 2.2, 5.0, 10.1])
def test_every_width_and_depth_is_a_space_that_keeps_its_frames_and_fusions(depth_factor: float) -> None:
    blocks = {1.0: [1, 2, 5, 3], 2.2: [3, 5, 11, 7], 5.0: [5, 10, 25, 15], 10.1: [11, 21, 51, 31]}[depth_factor]
    for width in WIDTHS[::3]:
        space = scaled_two_streams(ClipSpec(frames=16, size=48), width_factor=width, depth_factor=depth_factor)
        sparse, dense = space.streams
        assert (sparse.every, dense.every) == (4, 1)
        for stream in (sparse, dense):
            stages: list[int] = []
            for group in stream.groups:
                if group.stride == 2:
                    stages.append(0)
                stages[-1] += group.depth
            assert stages == blocks
        assert [fusion.group for fusion in space.fusions] == list(range(len(sparse.groups)))
        assert sum(v.kind == "attention" for v in space.variables) == 12
        assert dense.groups[-1].channels[-1] < sparse.groups[-1].channels[-1]


@pytest.mark.parametrize("target", [20e6, 300e6, 2e9])
def test_target_lies_at_40_to_70_percent_of_the_range(target: float) -> None:
    space, line = auto_space(target, num_classes=27, streams=2)
    assert 0.4 <= position(space, target) <= 0.7
    assert space.clip.frames == 32
    assert space.head.num_classes == 27
    assert "auto_tsnet_space_32x" in line


def test_a_given_clip_is_honoured_and_short_videos_give_fewer_frames() -> None:
    clip = ClipSpec(frames=16, size=56, sampling="uniform")
    space, _ = auto_space(20e6, num_classes=27, streams=2, clip=clip)
    assert (space.clip, space.streams[0].every) == (clip, 4)
    space, _ = auto_space(20e6, num_classes=27, streams=2, max_frames=12, max_size=48, video_sec=1.0)
    assert (space.clip.frames, space.clip.size, space.clip.sampling, space.streams[0].every) == (8, 48, "uniform", 2)


@pytest.mark.parametrize(
    ("frames", "every"), [(4, 2), (6, 2), (8, 2), (12, 2), (16, 4), (24, 4), (32, 8), (48, 8), (10, 2)]
)
def test_the_sparse_stream_takes_at_least_four_frames_where_it_can(frames: int, every: int) -> None:
    assert frames_per_sparse(ClipSpec(frames=frames, size=32)) == every


@pytest.mark.parametrize("frames", [1, 2, 13])
def test_frames_that_cannot_be_divided_are_refused(frames: int) -> None:
    with pytest.raises(VidnasError, match=f"clip {frames}x32x32: two streams need an even number of frames, at least"):
        auto_space(20e6, num_classes=5, streams=2, clip=ClipSpec(frames=frames, size=32))
