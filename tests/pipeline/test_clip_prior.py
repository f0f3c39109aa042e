"""What a look at the videos speaks for."""

from dataclasses import replace

import pytest

from vidnas.pipeline.clip_prior import FEW, MANY, MIDDLE, clips_by_prior, explain, prior_of
from vidnas.pipeline.clip_probe import Probe
from vidnas.pipeline.lists import Holding

SHORT = Holding(frames=100, short_side=240, duration_sec=2.2)
LONG = Holding(frames=300, short_side=240, duration_sec=10.0)
MACS = 20e6


def found(share: float, share_error: float = 0.03, *, ordered: float = 0.7) -> Probe:
    return Probe(
        videos=300, classes=10, chance=0.1, single=0.1 + share * (ordered - 0.1), single_error=0.03, ordered=ordered,
        ordered_error=0.03, share=share, share_error=share_error, sec=7.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("probe", "frames", "words"),
    [
        (found(0.3), MANY, "one frame gives 30 ± 3% of what it tells, which speaks for many frames"),
        (found(0.3, 0.12), MIDDLE, "speaks for neither many frames nor few"),
        (found(0.6), MIDDLE, "speaks for neither many frames nor few"),
        (found(0.95), FEW, "which speaks for few and large frames"),
        (found(0.95, 0.15), MIDDLE, "speaks for neither many frames nor few"),
        (found(0.0, ordered=0.13), MIDDLE, "neither is clearly above chance, so the middle is taken"),
        (Probe(failure="one group"), MIDDLE, "nothing was measured (one group), so the middle is taken"),
    ],
)
def test_only_what_is_clear_moves_it_from_the_middle(probe: Probe, frames: int, words: str) -> None:
    prior = prior_of(probe)
    assert prior.frames == frames
    assert words in prior.reason
    assert clips_by_prior(prior, MACS, SHORT)[0].frames == frames


def test_what_is_measured_is_printed_and_what_is_not_known() -> None:
    prior = prior_of(found(0.5, 0.04))
    line = explain(prior, clips_by_prior(prior, MACS, SHORT)[0])
    for words in ("40 ± 3% of 300 training videos", "70 ± 3% by 16 frames", "chance 10.0%", "not known without trials"):
        assert words in line
    assert "`vidnas race`" in line
    assert "\n" not in line
    assert "nearest" not in line


def test_clips_at_20_mmacs() -> None:
    """Four times the pixels of X3D's clip of that cost: 8x80, 16x56, 32x40."""
    first = {share: clips_by_prior(prior_of(found(share)), MACS, SHORT)[0] for share in (0.3, 0.6, 0.95)}
    assert {(clip.frames, clip.size) for clip in first.values()} == {(32, 40), (16, 56), (8, 80)}
    assert {clip.sampling for clip in first.values()} == {"uniform"}


def test_long_videos_are_seen_as_a_whole_where_their_order_counts_and_else_as_x3d_sees_them() -> None:
    assert clips_by_prior(prior_of(found(0.3)), MACS, LONG)[0].sampling == "uniform"
    for share, frames in ((0.6, MIDDLE), (0.95, FEW)):
        clip = clips_by_prior(prior_of(found(share)), MACS, LONG)[0]
        assert (clip.sampling, clip.frames) == ("stride", frames)
        assert clip.frames * clip.stride / clip.fps == pytest.approx(80 / 30)


def test_never_fewer_than_eight_frames_unless_videos_have_fewer() -> None:
    for share in (0.3, 0.6, 0.95):
        prior = prior_of(found(share))
        assert {clip.frames for clip in clips_by_prior(prior, MACS, SHORT)} >= {8, 16, 32}
        assert min(clip.frames for clip in clips_by_prior(prior, MACS, SHORT)) == 8
        assert {clip.frames for clip in clips_by_prior(prior, MACS, replace(SHORT, frames=12))} == {8}
        assert {clip.frames for clip in clips_by_prior(prior, MACS, replace(SHORT, frames=6))} == {4}
        assert clips_by_prior(prior, MACS, replace(SHORT, frames=3)) == []


def test_too_short_videos_get_the_nearest_and_it_is_said() -> None:
    prior = prior_of(found(0.3))
    clip = clips_by_prior(prior, MACS, replace(SHORT, frames=20))[0]
    assert clip.frames == 16
    assert "16 frames are the nearest that can be had here" in explain(prior, clip)
