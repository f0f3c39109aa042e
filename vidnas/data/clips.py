"""Which moments of a video a clip takes: pure functions of clip, video length and randomness.

Times are seconds from the first frame and lie in the middle of frames, so `decode.read_frames` meets the frame
meant whatever the container's rounding. A clip longer than the video runs past its end, where the last frame is
repeated.
"""

import math

import numpy as np

from vidnas.arch.spec import ClipSpec

_UINT64 = 2**64
# The tempo of clips that all cover the usual span.
STEADY = (1.0, 1.0)


def item_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """All the randomness of one sample in one epoch (or step): a function of the three numbers alone."""
    # Philox is counter-based: distinct keys and counters give independent streams, without any state to keep.
    key = np.array([seed % _UINT64, epoch % _UINT64], np.uint64)
    counter = np.array([0, 0, 0, index % _UINT64], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def log_uniform(limits: tuple[float, float], share: float) -> float:
    """The number between two that lies at a share (0 to 1) of their ratio."""
    low, high = limits
    return float(low * (high / low) ** share)


def clip_times(
    clip: ClipSpec,
    duration_sec: float,
    fps: float,
    rng: np.random.Generator | None = None,
    tempo: tuple[float, float] = STEADY,
) -> tuple[float, ...]:
    """The moments of one training clip.

    `stride` puts the window at a random start, every frame at which it fits being equally likely; `uniform` takes
    a random moment of each of T equal segments. Where the window does not fit it starts at the first frame.
    With a tempo the stride, or the part of the video that has the segments, is that many times what it is without,
    at a random start.

    Args:
        clip: frames T, sampling, stride and reference rate.
        duration_sec: length of the video.
        fps: the video's own rate.
        rng: None takes the middle instead: the centred window, the centres of the segments.
        tempo: range of the span as multiples of the usual one, drawn log-uniformly.

    Returns:
        T seconds, not decreasing.
    """
    factor, start_sec = 1.0, 0.0
    if rng is not None and tempo != STEADY:
        factor = log_uniform(tempo, rng.random())
    if clip.sampling == "uniform":
        if rng is not None and factor < 1:
            start_sec = duration_sec * (1 - factor) * rng.random()
        within = np.full(clip.frames, 0.5) if rng is None else rng.random(clip.frames)
        return _segment_times(clip.frames, duration_sec * factor, within, start_sec)
    clip = clip.model_copy(update={"stride": clip.stride * factor})
    latest = _latest_start(clip, duration_sec, fps)
    start = latest // 2 if rng is None else int(rng.integers(latest + 1))
    return _window_times(clip, fps, start)


def test_times(clip: ClipSpec, duration_sec: float, fps: float, views: int) -> list[tuple[float, ...]]:
    """The moments of the clips of a test, spread evenly.

    `stride`: windows from the first frame to the last (one view: the centre). `uniform`: view v of K takes the
    point (v + 1/2) / K of each segment.

    Returns:
        `views` tuples of T seconds.
    """
    if clip.sampling == "uniform":
        return [
            _segment_times(clip.frames, duration_sec, np.full(clip.frames, (view + 0.5) / views))
            for view in range(views)
        ]
    latest = _latest_start(clip, duration_sec, fps)
    starts = [latest // 2] if views == 1 else [round(latest * view / (views - 1)) for view in range(views)]
    return [_window_times(clip, fps, start) for start in starts]


def span_frames(clip: ClipSpec, fps: float) -> float:
    """Frames of a video of rate `fps` from the first frame of a `stride` clip to its last."""
    return (clip.frames - 1) * clip.stride * fps / clip.fps


def covered_sec(clip: ClipSpec) -> float:
    """Seconds from the start of a `stride` clip's first frame to the end of its last, at the reference rate."""
    return ((clip.frames - 1) * clip.stride + 1) / clip.fps


def describe_coverage(clip: ClipSpec, median_sec: float | None) -> str:
    """How a clip samples a video, how many seconds it sees, and which share of a video that is.

    Args:
        clip: the clip.
        median_sec: length of the median video; None where no video is known.
    """
    frames = _count(clip.frames, "frame")
    if clip.sampling == "uniform":
        return _spread(f"{frames} spread over the whole video", clip.frames, median_sec)
    seconds = covered_sec(clip)
    line = f"{frames}, stride {clip.stride:g} at {clip.fps:g} fps: {_seconds(seconds)}"
    if not median_sec:
        return line
    if seconds > median_sec + 0.5 / clip.fps:
        return f"{line}, longer than a median video ({_seconds(median_sec)}), which repeats its last frame"
    return f"{line}, {_percent(seconds / median_sec)}{_of_median(median_sec)}"


def describe_views(clip: ClipSpec, views: int, median_sec: float | None) -> str:
    """Which share of a video the clips of a test see together (see `test_times`).

    Args:
        clip: the clip.
        views: clips of each video, spread evenly.
        median_sec: length of the median video; None where no video is known.
    """
    clips = _count(views, "clip")
    together = " together" if views > 1 else ""
    if clip.sampling == "uniform":
        frames = views * clip.frames
        return _spread(f"{clips} of each video, {_count(frames, 'frame')}{together}", frames, median_sec)
    seconds = covered_sec(clip)
    line = f"{clips} of {_seconds(seconds)} of each video"
    if not median_sec:
        return line
    # Evenly spaced from the first frame to the last, clips leave gaps only where all of them side by side would.
    share = min(1.0, views * seconds / median_sec)
    return f"{line}{together} cover{'s' if views == 1 else ''} {_percent(share)}{_of_median(median_sec)}"


def _spread(line: str, frames: int, median_sec: float | None) -> str:
    """What is said of frames, with how far apart they lie."""
    every = f", one every {_seconds(median_sec / frames)}" if median_sec else ""
    return f"{line}{every}{_of_median(median_sec)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2g} s"  # to the tenth, or two digits


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _of_median(median_sec: float | None) -> str:
    return f" of a median video ({_seconds(median_sec)})" if median_sec else ""


def _latest_start(clip: ClipSpec, duration_sec: float, fps: float) -> int:
    """The last frame at which the window still fits; 0 where it never does."""
    last = round(duration_sec * fps) - 1
    # A span that is whole but for floating point must not cost a frame.
    return max(0, math.floor(last - span_frames(clip, fps) + 1e-6))


def _window_times(clip: ClipSpec, fps: float, start: int) -> tuple[float, ...]:
    return tuple((start + 0.5) / fps + k * clip.stride / clip.fps for k in range(clip.frames))


def _segment_times(frames: int, duration_sec: float, within: np.ndarray, start_sec: float = 0.0) -> tuple[float, ...]:
    """One moment per segment, `within` (0 to 1) saying where."""
    return tuple(float(t) for t in start_sec + (np.arange(frames) + within) * duration_sec / frames)
