"""Clips that are proposed."""

import pytest

from vidnas.arch.spec import ClipSpec
from vidnas.search.clips import clip_proposals, near_clips


def shapes(clips):
    return [(clip.frames, clip.size, clip.sampling) for clip in clips]


def test_whole_short_videos_at_20_mmacs():
    """At the 1x112x112 of X3D's rung and at four times its pixels, from 4 to 64 frames."""
    assert shapes(clip_proposals(20e6, 120, 240, 2.5)) == [
        (4, 112, "uniform"),
        (8, 80, "uniform"),
        (16, 56, "uniform"),
        (32, 40, "uniform"),
        (64, 32, "uniform"),
        (4, 56, "uniform"),
        (16, 32, "uniform"),
    ]


def test_nothing_that_the_videos_do_not_hold():
    clips = clip_proposals(20e6, 20, 64, 1.0)
    assert max(clip.frames for clip in clips) == 16
    assert max(clip.size for clip in clips) == 64
    assert len(set(clips)) == len(clips)


def test_long_videos_are_also_seen_in_part():
    clips = clip_proposals(2e9, 300, 360, 10.0)
    spans = {round(clip.frames * clip.stride / clip.fps, 3) for clip in clips if clip.sampling == "stride"}
    assert spans == {2.667}
    assert {clip.sampling for clip in clips} == {"uniform", "stride"}


def test_below_the_ladder_clips_shrink():
    small, large = (
        max(clip.frames * clip.size**2 for clip in clip_proposals(macs, 64, 240, 1.0)) for macs in (4e6, 2e7)
    )
    assert small < 0.75 * large


@pytest.mark.parametrize("sampling", ["uniform", "stride"])
def test_near_ones(sampling):
    clip = ClipSpec(frames=16, size=56, sampling=sampling, stride=5.0 if sampling == "stride" else 1.0)
    near = near_clips(clip, 100, 240)
    assert [(other.frames, other.size) for other in near] == [(24, 48), (11, 72), (16, 80), (16, 40)]
    if sampling == "stride":
        assert all(other.frames * other.stride == pytest.approx(80) for other in near)
