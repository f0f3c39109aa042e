"""Frames of a video file by time: one contract, PyAV behind it.

Times are seconds from the first video frame, whatever the file's own clock says. The frame at time t is the one
on the screen at t: the last that starts at or before it; before the first frame it is the first one, after the
end the last one. As containers round start times to their tick, a frame counts as started up to a tick early, but
no more than a quarter of its time.

Frames come as uint8 RGB and upright (rotation and mirror metadata applied). A pixel aspect ratio other than 1 is
ignored.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from av.video.reformatter import VideoReformatter

from vidnas.data.container import BrokenVideo
from vidnas.data.player import Frames, Pictures, Player
from vidnas.data.probe import VideoInfo, display_matrix, is_turned, probe
from vidnas.data.stream import LostFrame, Video

__all__ = ["BrokenVideo", "VideoInfo", "count_frames", "probe", "read_all", "read_frames"]


class Film(NamedTuple):
    """A whole video: frames (N, H, W, 3) uint8, their start times (N,) float64 in seconds from the first, and what the
    user should know of it (None where all is well)."""

    frames: np.ndarray
    starts_sec: np.ndarray
    notice: str | None


def read_frames(
    video: str | Path | VideoInfo, times_sec: Sequence[float], *, short_side: int | None = None
) -> np.ndarray:
    """Frames on the screen at the given times, in the order given.

    Only what is needed is decoded, where packets tell what that is, and only the frames used are converted.

    Args:
        video: the file, or what `probe` found in it, which saves doing that again.
        times_sec: seconds from the first frame, in any order, repeats allowed.
        short_side: scale, up or down, so that the shorter side has this many pixels (bilinear); None keeps the
            size.

    Returns:
        (T, H, W, 3) uint8.

    Raises:
        BrokenVideo: the file cannot be used, or decoding failed before the last frame needed.
    """
    return read_frames_and_damage(video, times_sec, short_side=short_side)[0]


def read_frames_and_damage(
    video: str | Path | VideoInfo, times_sec: Sequence[float], *, short_side: int | None = None
) -> tuple[np.ndarray, str | None]:
    """As `read_frames`, with what was met at the end of the film that could not be decoded; None for nothing."""
    if not len(times_sec) or not np.isfinite(times_sec).all():
        raise ValueError(f"times_sec must hold finite numbers, at least one; got {times_sec}")
    info = _known(video)
    if info.seekable:
        try:
            with info.open() as opened:
                return _pick(opened, times_sec, short_side, jump=opened.starts_anywhere), opened.damage
        except (LostFrame, BrokenVideo):
            # A jump may land badly in a damaged or oddly made file. From the start it is slower and always right,
            # and an error then comes with the number of frames that were good.
            pass
    with info.open() as opened:
        return _pick(opened, times_sec, short_side, jump=False), opened.damage


def read_all(video: str | Path | VideoInfo, *, short_side: int | None = None) -> Film:
    """All frames with their start times; arguments as of `read_frames`.

    Raises:
        BrokenVideo: the file cannot be used, or decoding failed on the way.
    """
    info = _known(video)
    with info.open() as opened:
        start, first = opened.first()
        convert = Converter(first, short_side)
        frames, ticks = [convert(first)], [start]
        while (following := opened.next()) is not None:
            ticks.append(following[0])
            frames.append(convert(following[1]))
        starts_sec = (np.array(ticks) - start) * opened.tick_sec
        return Film(np.stack(frames), starts_sec, notices(info, opened))


def count_frames(video: str | Path | VideoInfo) -> int:
    """Decode everything, convert nothing.

    Raises:
        BrokenVideo: the file cannot be used, or decoding failed on the way.
    """
    return read_through(video)[0]


def read_through(video: str | Path | VideoInfo) -> tuple[int, str | None]:
    """Decode everything, convert nothing.

    Returns:
        The number of frames, and what the user should know of the file; None where all is well.

    Raises:
        BrokenVideo: as `count_frames`.
    """
    info = _known(video)
    with info.open() as opened:
        opened.first()
        return _to_the_end(info, opened)


def read_through_and_pick(
    info: VideoInfo, times_sec: Sequence[float], *, short_side: int | None = None
) -> tuple[int, str | None, np.ndarray]:
    """Decode everything once, and convert the frames on the screen at the given times.

    Returns:
        What `read_through` and `read_frames` do.

    Raises:
        BrokenVideo: as `count_frames`.
    """
    with info.open() as opened:
        frames = _pick(opened, times_sec, short_side, jump=False)
        return *_to_the_end(info, opened), frames


def _to_the_end(info: VideoInfo, opened: Video) -> tuple[int, str | None]:
    """Decode what is left; returns the number of all frames, and what the user should know."""
    while opened.next() is not None:
        pass
    return opened.decoded, notices(info, opened)


def notices(info: VideoInfo, opened: Video) -> str | None:
    """What the user should know of a video that was read to its end."""
    unseen = f"{opened.unseen} frames have the time of another and are not seen" if opened.unseen else None
    return "; ".join(notice for notice in (info.notice, opened.damage, unseen) if notice) or None


def _known(video: str | Path | VideoInfo) -> VideoInfo:
    return video if isinstance(video, VideoInfo) else probe(video)


class Converter:
    """Decoded frames to upright RGB arrays, all as large and turned as the first frame of the video."""

    def __init__(self, first: Any, short_side: int | None) -> None:
        scale = 1.0 if short_side is None else short_side / min(first.width, first.height)
        self.width = max(1, round(first.width * scale))
        self.height = max(1, round(first.height * scale))
        self.matrix = display_matrix(first)
        self.reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        """(H, W, 3) uint8."""
        # One thread: the workers that decode in parallel are as many as the machine bears.
        size = {"width": self.width, "height": self.height}
        image = self.reformatter.reformat(frame, **size, format="rgb24", threads=1).to_ndarray()
        return image if self.matrix is None else _upright(image, self.matrix)


def _pick(video: Video, times_sec: Sequence[float], short_side: int | None, *, jump: bool) -> np.ndarray:
    player: Player = Pictures(video) if jump and video.stands_alone else Frames(video, jump=jump)
    # All frames become as large as the first one, which pictures that stand alone are anyway.
    convert = None if player.first is None else Converter(player.first, short_side)
    shown: int | None = None
    out: np.ndarray | None = None
    for place in np.argsort(np.asarray(times_sec), kind="stable"):
        tick, frame = player.at(player.start + times_sec[place] / video.tick_sec + video.slack_ticks)
        if tick != shown:
            convert = convert or Converter(frame, short_side)
            shown, image = tick, convert(frame)
        if out is None:
            out = np.empty((len(times_sec), *image.shape), np.uint8)
        out[place] = image
    assert out is not None
    return out


def _upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply x' = a x + c y, y' = b x + d y (y points down), to the nearest quarter turn."""
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if is_turned(matrix):
        image = image.transpose(1, 0, 2)
        a, d = c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
