"""Frames of a video file by time: one contract, PyAV behind it.

Times are seconds from the first video frame, whatever the file's own clock says. The frame at time t is the one
on the screen at t: the last that starts at or before it; before the first frame it is the first one, after the
end the last one. As containers round start times to their tick, a frame counts as started up to a tick early, but
no more than a quarter of its time.

Frames come as uint8 RGB and upright (rotation and mirror metadata applied). A pixel aspect ratio other than 1 is
ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from vidnas.data.player import Frames, Pictures, Player
from vidnas.data.stream import BrokenVideo, LostFrame, Video, open_video

__all__ = ["BrokenVideo", "VideoInfo", "count_frames", "probe", "read_all", "read_frames"]

_UNKNOWN_FPS = 25.0


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds.

    Attributes:
        path: the file.
        width: pixels, upright.
        height: pixels, upright.
        fps: average rate in frames per second.
        frames: number of frames declared by the container; None where it does not say.
        duration_sec: length of the video stream, from the first frame to the end of the last.
        rotation: degrees counter-clockwise (0, 90, 180, 270) by which stored frames are turned to stand upright.
        slack_sec: how much earlier than its stamp a frame counts as shown, as stamps are rounded to the
            container's unit of time.
    """

    path: Path
    width: int
    height: int
    fps: float
    frames: int | None
    duration_sec: float
    rotation: int
    slack_sec: float


def probe(path: str | Path) -> VideoInfo:
    """Read the header and decode the first frame.

    A file without a duration of its video stream in the header (Matroska, WebM) is read through, without
    decoding, to find it.

    Raises:
        BrokenVideo: the file cannot be used.
    """
    with open_video(path) as video:
        _, first = video.first()
        slack_sec = video.slack_ticks * video.tick_sec
        stream = video.stream
        matrix = _display_matrix(first)
        turned = matrix is not None and _turned(matrix)
        rate = stream.average_rate or stream.guessed_rate
        frames = stream.frames or None
        duration_sec = stream.duration * video.tick_sec if stream.duration else 0.0
    if not duration_sec:
        with open_video(path) as video:
            frames, duration_sec = video.measure()
    if not rate:
        rate = frames / duration_sec if frames and duration_sec else _UNKNOWN_FPS
    return VideoInfo(
        path=Path(path),
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        fps=float(rate),
        frames=frames,
        duration_sec=duration_sec or 1 / float(rate),
        rotation=round(first.rotation / 90) * 90 % 360,
        slack_sec=slack_sec,
    )


def read_frames(path: str | Path, times_sec: Sequence[float], *, short_side: int | None = None) -> np.ndarray:
    """Frames on the screen at the given times, in the order given.

    Only what is needed is decoded, where packets tell what that is, and only the frames used are converted.

    Args:
        path: the video file.
        times_sec: seconds from the first frame, in any order, repeats allowed.
        short_side: scale, up or down, so that the shorter side has this many pixels (bilinear); None keeps the
            size.

    Returns:
        (T, H, W, 3) uint8.

    Raises:
        BrokenVideo: the file cannot be used, or decoding failed before the last frame needed.
    """
    if not len(times_sec) or not np.isfinite(times_sec).all():
        raise ValueError(f"times_sec must hold finite numbers, at least one; got {times_sec}")
    try:
        with open_video(path) as video:
            return _pick(video, times_sec, short_side, jump=not video.reorder)
    except (LostFrame, BrokenVideo):
        # A jump may land badly in a damaged or oddly made file. From the start it is slower and always right,
        # and an error then comes with the number of frames that were good.
        with open_video(path) as video:
            return _pick(video, times_sec, short_side, jump=False)


def read_all(
    path: str | Path, *, short_side: int | None = None, max_frames: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All frames, or the first `max_frames`, with their start times.

    Returns:
        (N, H, W, 3) uint8 and (N,) float64 seconds from the first frame.

    Raises:
        BrokenVideo: the file cannot be used, or decoding failed on the way.
    """
    with open_video(path) as video:
        start, first = video.first()
        convert = Converter(first, short_side)
        frames, ticks = [convert(first)], [start]
        while max_frames is None or len(frames) < max_frames:
            following = video.next()
            if following is None:
                break
            ticks.append(following[0])
            frames.append(convert(following[1]))
        return np.stack(frames), (np.array(ticks) - start) * video.tick_sec


def count_frames(path: str | Path) -> int:
    """Decode everything, convert nothing.

    Raises:
        BrokenVideo: the file cannot be used, decoding failed on the way, or more than a tenth of the frames and of
            the duration that the header declares is not there.
    """
    with open_video(path) as video:
        start, _ = current = video.first()
        while (following := video.next()) is not None:
            current = following
        video.check_end(start, current[0])
        return video.decoded


class Converter:
    """Decoded frames to upright RGB arrays, all as large and turned as the first frame of the video."""

    def __init__(self, first: Any, short_side: int | None) -> None:
        scale = 1.0 if short_side is None else short_side / min(first.width, first.height)
        self.width = max(1, round(first.width * scale))
        self.height = max(1, round(first.height * scale))
        self.matrix = _display_matrix(first)
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


def _display_matrix(frame: Any) -> np.ndarray | None:
    """The 9 fixed-point numbers (a, b, u, c, d, v, x, y, w) that map stored to shown positions, if there are any."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    return None if side_data is None else np.frombuffer(bytes(side_data), np.int32)


def _turned(matrix: np.ndarray) -> bool:
    """Whether width and height change places."""
    a, b, _, c, d = (abs(int(value)) for value in matrix[:5])
    return a + d < b + c


def _upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply x' = a x + c y, y' = b x + d y (y points down), to the nearest quarter turn."""
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if _turned(matrix):
        image = image.transpose(1, 0, 2)
        a, d = c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
