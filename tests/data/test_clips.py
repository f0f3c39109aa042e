"""Moments of clips: exact frames where rates are exact, bounds and spread everywhere."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidnas.arch.spec import ClipSpec
from vidnas.data import clips
from vidnas.data.clips import clip_times, covered_sec, describe_coverage, describe_views, item_rng

STRIDE = ClipSpec(frames=13, size=160, sampling="stride", stride=6, fps=30)
UNIFORM = ClipSpec(frames=8, size=112, sampling="uniform")


def frames_of(times: tuple[float, ...], fps: float) -> list[int]:
    """The frame on the screen at each time, at a constant rate."""
    return [math.floor(t * fps) for t in times]


def test_the_window_of_x3d_s_takes_every_sixth_frame() -> None:
    # 100 frames, of which the window spans 73: it can start at frames 0 to 27.
    centre = frames_of(clip_times(STRIDE, 100 / 30, 30), 30)
    assert centre == list(range(13, 13 + 73, 6))
    starts = set()
    for index in range(600):
        window = frames_of(clip_times(STRIDE, 100 / 30, 30, item_rng(0, 0, index)), 30)
        assert np.diff(window).tolist() == [6] * 12
        starts.add(window[0])
    assert starts == set(range(28))


def test_stride_counts_at_the_reference_rate() -> None:
    # At 15 frames per second 6 frames of the reference are 3 of the video; at 25 they are 5.
    assert np.diff(frames_of(clip_times(STRIDE, 10, 15), 15)).tolist() == [3] * 12
    assert np.diff(frames_of(clip_times(STRIDE, 10, 25), 25)).tolist() == [5] * 12
    # 2.5 frames: rounded frame by frame, without drift.
    half = STRIDE.model_copy(update={"stride": 2.5})
    window = frames_of(clip_times(half, 10, 30), 30)
    assert window[-1] - window[0] == 30
    assert set(np.diff(window)) == {2, 3}


def test_floating_point_does_not_cost_a_frame() -> None:
    for fps in (23.976, 29.97, 30000 / 1001, 59.94):
        clip = STRIDE.model_copy(update={"stride": 1.1, "frames": 21, "fps": fps})  # spans 22 frames, nearly
        assert [frames_of(view, fps)[0] for view in clips.test_times(clip, 40 / fps, fps, 2)] == [0, 17]


def test_views_of_a_stride_clip_run_from_the_first_frame_to_the_last() -> None:
    views = [frames_of(view, 30) for view in clips.test_times(STRIDE, 100 / 30, 30, 10)]
    assert [view[0] for view in views] == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    assert views[-1][-1] == 99
    assert [frames_of(view, 30)[0] for view in clips.test_times(STRIDE, 100 / 30, 30, 3)] == [0, 14, 27]
    assert clips.test_times(STRIDE, 100 / 30, 30, 1) == [clip_times(STRIDE, 100 / 30, 30)]


def test_uniform_takes_one_moment_of_each_segment() -> None:
    assert clip_times(UNIFORM, 4.0, 30) == pytest.approx([0.25 + 0.5 * k for k in range(8)])
    drawn = np.array([clip_times(UNIFORM, 4.0, 30, item_rng(1, 2, index)) for index in range(500)])
    within = drawn / 0.5 - np.arange(8)
    assert ((within >= 0) & (within < 1)).all()
    # Each segment is covered evenly, and segments are drawn independently: 500 draws, 4 standard errors.
    assert within.mean(0) == pytest.approx([0.5] * 8, abs=4 * math.sqrt(1 / 12 / 500))
    assert np.abs(np.corrcoef(within.T) - np.eye(8)).max() < 4 / math.sqrt(500)
    views = np.array(clips.test_times(UNIFORM, 4.0, 30, 2))
    assert views / 0.5 - np.arange(8) == pytest.approx(np.array([[0.25] * 8, [0.75] * 8]))


def test_a_clip_longer_than_the_video_starts_at_its_start() -> None:
    # 20 frames for a window of 73: what runs past the end is the last frame, repeated by the reader.
    for times in (clip_times(STRIDE, 20 / 30, 30), *clips.test_times(STRIDE, 20 / 30, 30, 3)):
        assert frames_of(times, 30) == list(range(0, 73, 6))
    assert clip_times(STRIDE, 20 / 30, 30, item_rng(0, 0, 0)) == clip_times(STRIDE, 20 / 30, 30)
    # Shorter than the clip has frames: uniform repeats frames in place.
    assert frames_of(clip_times(UNIFORM, 4 / 30, 30), 30) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_tempo_scales_the_stride_and_the_part_of_a_video_that_uniform_clips_span() -> None:
    tempo = (0.5, 2.0)
    strides, spans, starts = [], [], []
    for index in range(1000):
        window = clip_times(STRIDE, 10, 30, item_rng(0, 0, index), tempo)
        steps = np.diff(window)
        assert steps == pytest.approx(np.full(12, steps[0]))
        assert window[-1] <= 10 - 0.5 / 30 + 1e-6
        strides.append(steps[0] * 30)
        starts.append(window[0] * 30 - 0.5)
        spread = clip_times(UNIFORM, 8.0, 30, item_rng(0, 0, index), (0.5, 1.0))
        assert list(spread) == sorted(spread)
        assert spread[0] >= 0
        assert spread[-1] <= 8
        spans.append((spread[-1] - spread[0]) / 7)
    assert 3 <= min(strides) < 3.1
    assert 11.8 < max(strides) <= 12
    # As many slower as faster; 4 standard errors of the mean of a uniform logarithm.
    assert np.log(strides).mean() == pytest.approx(np.log(6), abs=4 * np.log(4) / math.sqrt(12 * 1000))
    # The window of the smallest stride spans 37 of 300 frames.
    assert min(starts) == 0
    assert max(starts) > 230
    # From first to last moment, 7 segments apart give or take one.
    assert 0.5 * 6 / 7 <= min(spans) < 0.5
    assert 0.9 < max(spans) <= 8 / 7


def test_a_uniform_clip_of_less_than_the_video_lies_anywhere_in_it() -> None:
    drawn = np.array([clip_times(UNIFORM, 4.0, 30, item_rng(1, 2, index), (0.5, 0.5)) for index in range(500)])
    assert 0 <= drawn.min() < 0.1
    assert 3.9 < drawn.max() <= 4
    # One moment of each segment of a quarter of a second, wherever it starts.
    assert np.diff(drawn).max() < 0.5
    assert drawn.mean() == pytest.approx(2, abs=4 * 2 / math.sqrt(12 * 500))
    # Beyond the video, where its last frame is repeated.
    beyond = clip_times(UNIFORM, 4.0, 30, item_rng(1, 2, 3), (1.5, 1.5))
    assert [int(t / 0.75) for t in beyond] == list(range(8))


def test_the_usual_tempo_draws_nothing() -> None:
    for clip in (STRIDE, UNIFORM):
        first, second = item_rng(1, 2, 3), item_rng(1, 2, 3)
        assert clip_times(clip, 4.0, 30, first) == clip_times(clip, 4.0, 30, second, (1.0, 1.0))
        assert first.random() == second.random()
        assert clip_times(clip, 4.0, 30, None, (0.5, 0.6)) == clip_times(clip, 4.0, 30)


@given(
    sampling=st.sampled_from(["stride", "uniform"]),
    frames=st.integers(1, 40),
    stride=st.floats(0.2, 20),
    reference=st.sampled_from([12.5, 25.0, 29.97, 30.0, 60.0]),
    length=st.integers(1, 500),
    fps=st.floats(5, 120),
    views=st.integers(1, 10),
    seed=st.integers(0, 2**64 - 1),
)
def test_every_clip(
    sampling: str, frames: int, stride: float, reference: float, length: int, fps: float, views: int, seed: int
) -> None:
    clip = ClipSpec(frames=frames, size=32, sampling=sampling, stride=stride, fps=reference)
    duration = length / fps
    drawn = clip_times(clip, duration, fps, item_rng(seed, 3, 4))
    evenly = clips.test_times(clip, duration, fps, views)
    assert len(evenly) == views
    fits = sampling == "uniform" or clips.span_frames(clip, fps) <= length - 1
    for times in (drawn, clip_times(clip, duration, fps), *evenly):
        assert len(times) == frames
        assert list(times) == sorted(times)
        assert times[0] >= 0
        if fits:
            # Windows end in the middle of the last frame at the latest; the rest is floating point.
            assert times[-1] < duration if sampling == "uniform" else times[-1] <= duration - 0.5 / fps + 1e-6
    assert list(evenly) == sorted(evenly)
    assert drawn == clip_times(clip, duration, fps, item_rng(seed, 3, 4))


def test_item_rng_is_a_function_of_its_three_numbers_and_no_two_agree() -> None:
    triples = [(s, e, i) for s in (0, 1, 2**32, 2**63) for e in (0, 1, 2**32) for i in (0, 1, 2, 2**32)]
    first = {item_rng(*triple).bytes(16) for triple in triples}
    assert len(first) == len(triples)
    assert {item_rng(*triple).bytes(16) for triple in triples} == first
    # Another machine gives the same: it is NumPy's Philox, whose streams NumPy keeps stable.
    assert item_rng(0, 0, 0).bytes(16) == np.random.Generator(np.random.Philox(key=0)).bytes(16)


def test_neighbouring_indices_are_not_correlated() -> None:
    draws = np.array([item_rng(0, epoch, index).random(4) for epoch in range(20) for index in range(50)])
    shifted = np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]
    assert abs(shifted) < 4 / math.sqrt(len(draws))
    assert draws.mean() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / draws.size))


@pytest.mark.parametrize(
    ("clip", "median_sec", "line"),
    [
        (STRIDE, 10.0, "13 frames, stride 6 at 30 fps: 2.4 s, 24% of a median video (10.0 s)"),
        (STRIDE, 73 / 30, "13 frames, stride 6 at 30 fps: 2.4 s, 100% of a median video (2.4 s)"),
        (
            STRIDE,
            1.5,
            "13 frames, stride 6 at 30 fps: 2.4 s, longer than a median video (1.5 s), which repeats its last frame",
        ),
        (STRIDE, None, "13 frames, stride 6 at 30 fps: 2.4 s"),
        (
            STRIDE.model_copy(update={"frames": 1}),
            10.0,
            "1 frame, stride 6 at 30 fps: 0.033 s, 0.3% of a median video (10.0 s)",
        ),
        (UNIFORM, 3.4, "8 frames spread over the whole video, one every 0.42 s of a median video (3.4 s)"),
        (UNIFORM, None, "8 frames spread over the whole video"),
    ],
)
def test_what_a_clip_covers_in_words(clip: ClipSpec, median_sec: float | None, line: str) -> None:
    assert describe_coverage(clip, median_sec) == line


@pytest.mark.parametrize(
    ("clip", "views", "median_sec", "line"),
    [
        (STRIDE, 10, 60.0, "10 clips of 2.4 s of each video together cover 41% of a median video (60.0 s)"),
        (STRIDE, 10, 10.0, "10 clips of 2.4 s of each video together cover 100% of a median video (10.0 s)"),
        (STRIDE, 1, 10.0, "1 clip of 2.4 s of each video covers 24% of a median video (10.0 s)"),
        (STRIDE, 2, None, "2 clips of 2.4 s of each video"),
        (
            UNIFORM,
            10,
            3.4,
            "10 clips of each video, 80 frames together, one every 0.042 s of a median video (3.4 s)",
        ),
        (UNIFORM, 1, None, "1 clip of each video, 8 frames"),
    ],
)
def test_what_views_cover_in_words(clip: ClipSpec, views: int, median_sec: float | None, line: str) -> None:
    assert describe_views(clip, views, median_sec) == line


@pytest.mark.parametrize("views", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [40, 73, 100, 200, 600])
def test_the_share_that_views_cover_is_that_of_their_moments(views: int, length: int) -> None:
    seen: set[int] = set()
    for times in clips.test_times(STRIDE, length / 30, 30, views):
        first, *_, last = frames_of(times, 30)
        seen |= set(range(first, min(last, length - 1) + 1))
    share = len(seen) / length
    assert f"{min(1.0, views * covered_sec(STRIDE) * 30 / length):.0%}" == f"{share:.0%}"
    assert f" {share:.0%} of a median video" in describe_views(STRIDE, views, length / 30)
