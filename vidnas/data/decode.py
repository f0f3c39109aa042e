"""Frames of a video file by time: one contract, PyAV behind it.

Times are seconds from the first video frame, whatever the file's own clock says. The frame at time t is the one
on the screen at t: the last that starts at or before it; before the first frame it is the first one, after the
end the last one. Frames come as uint8 RGB and upright (rotation and mirror metadata applied); a pixel aspect
ratio other than 1 is ignored.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from vidnas.errors import VidnasError

# Playlists and image patterns would lead to other files, so only containers that hold the video themselves.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,asf,ogg,gif,apng,"
    "mxf,nut,wtv,rm,dv,mjpeg,yuv4mpegpipe"
)
# Farther than this the file is sought; nearer, packets are read on and decoded from the last key frame among them.
_SEEK_BEYOND_SEC = 10.0
# Containers that give right times after a seek (MPEG program streams do not).
_SEEKABLE = {"mov", "matroska", "mpegts", "flv", "asf"}
# A container without an index of key frames lands anywhere: try farther back until a key frame is met.
_SEEK_BACK_SEC = (0.0, 1.0, 4.0, 16.0, 64.0)
# AVI stores no presentation times; the demuxer's own are swapped around B-frames, never by more places than this.
_AVI_REORDER = 4
_UNKNOWN_FPS = 25.0


class BrokenVideo(VidnasError):
    """A file that cannot be used, with its path and the cause (both survive pickling between processes)."""

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(str(path), cause)
        self.path = Path(path)
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


class _LostFrame(Exception):
    """A jump landed behind the frame that was wanted."""


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
    with _open(path) as video:
        _, first = video.first()
        slack_sec = video.slack_ticks * video.tick_sec
        stream = video.stream
        matrix = _display_matrix(first)
        turned = matrix is not None and _turned(matrix)
        rate = stream.average_rate or stream.guessed_rate
        frames = stream.frames or None
        duration_sec = stream.duration * video.tick_sec if stream.duration else 0.0
    if not duration_sec:
        with _open(path) as video:
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

    Only what is needed is decoded, and only the frames used are converted.

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
        with _open(path) as video:
            return _pick(video, times_sec, short_side, jump=not video.reorder)
    except (_LostFrame, BrokenVideo):
        # A jump may land badly in a damaged or oddly made file. From the start it is slower and always right,
        # and an error then comes with the number of frames that were good.
        with _open(path) as video:
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
    with _open(path) as video:
        convert = _Converter(short_side)
        start, first = video.first()
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
        BrokenVideo: the file cannot be used, or decoding failed on the way.
    """
    with _open(path) as video:
        video.first()
        while video.next() is not None:
            pass
        return video.decoded


class _Video:
    """One pass over the video stream of an open container: packets in, frames with monotone ticks out.

    A tick is the stream's unit of time.
    """

    def __init__(self, path: Path, container: Any) -> None:
        self.path = path
        self.container = container
        self.stream = container.streams.video[0]
        self.stream.codec_context.thread_count = 1
        self.tick_sec = float(self.stream.time_base)
        rate = self.stream.average_rate
        self.frame_ticks = 1 / (float(rate) * self.tick_sec) if rate else 1.0
        # Containers round start times to their tick, so a time computed from the rate may fall just short of one.
        self.slack_ticks = min(1.0, self.frame_ticks / 4)
        self.seeks = bool(_SEEKABLE & set(container.format.name.split(",")))
        self.reorder = _AVI_REORDER if container.format.name == "avi" else 0
        self.decoded = 0
        self._demuxed = container.demux(self.stream)
        self._queue: deque[Any] = deque()  # packets read ahead, not decoded yet
        self._floor: int | None = None  # frames before this tick lean on packets that were skipped
        self._landed = False  # whether the key frame of the last jump came out
        self._stamped = self._stamp(self._frames())

    def first(self) -> tuple[int, Any]:
        """The first frame and its tick."""
        first = self.next()
        if first is None:
            raise BrokenVideo(self.path, "no frame can be decoded")
        return first

    def next(self) -> tuple[int, Any] | None:
        """The next frame and its tick; None after the last."""
        return next(self._stamped, None)

    def measure(self) -> tuple[int, float]:
        """Number of frames, and seconds from the first to the end of the last one, without decoding."""
        packets = [packet for packet in self._packets() if not _is_end(packet)]
        starts = [(packet.pts, packet.duration) for packet in packets if packet.pts is not None]
        if not starts:
            return len(packets), len(packets) * self.frame_ticks * self.tick_sec
        last, duration = max(starts)
        return len(packets), (last - min(starts)[0] + (duration or self.frame_ticks)) * self.tick_sec

    def jump(self, tick: float, position: int) -> bool:
        """Skip to the last key frame at or before `tick` if that lies after `position`; whether it did.

        Raises:
            _LostFrame: the packets have no times to go by, or no key frame was found.
        """
        if self.seeks and (tick - position) * self.tick_sec > _SEEK_BEYOND_SEC:
            key = self._seek(tick)
        else:
            near = self._read_until(tick)
            if near is None or self._queue[near].pts <= position:
                return False
            key = near
        for _ in range(key):
            self._queue.popleft()
        self._floor = self._queue[0].pts
        self._landed = False
        self.stream.codec_context.flush_buffers()
        self._stamped = self._stamp(self._frames())
        return True

    def _seek(self, tick: float) -> int:
        for back_sec in _SEEK_BACK_SEC:
            self._queue.clear()
            try:
                self.container.seek(int(tick - back_sec / self.tick_sec), stream=self.stream)
            except av.FFmpegError as error:
                raise _LostFrame from error
            self._demuxed = self.container.demux(self.stream)
            key = self._read_until(tick)
            if key is not None:
                return key
        raise _LostFrame

    def _read_until(self, tick: float) -> int | None:
        """Read ahead past `tick` and give the place in the queue of the last key frame up to there."""
        last = self._queue[-1] if self._queue else None
        while last is None or not (_is_end(last) or (last.dts is not None and last.dts > tick)):
            last = self._read()
            if last is None:
                break
            self._queue.append(last)
            if last.pts is None and not _is_end(last):
                raise _LostFrame
        keys = (i for i, p in enumerate(self._queue) if p.is_keyframe and p.pts is not None and p.pts <= tick)
        return max(keys, default=None)

    def _read(self) -> Any:
        try:
            return next(self._demuxed, None)
        except IndexError:
            # After the last packet PyAV stumbles over streams that appeared on the way (FLV, transport streams).
            return None
        except av.FFmpegError as error:
            raise BrokenVideo(self.path, f"read error after frame {self.decoded} ({error.strerror})") from error

    def _packets(self) -> Iterator[Any]:
        while (packet := self._queue.popleft() if self._queue else self._read()) is not None:
            yield packet

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                cause = f"decode error after frame {self.decoded} ({error.strerror})"
                raise BrokenVideo(self.path, cause) from error
            for frame in frames:
                self.decoded += 1
                if self._floor is None or self._landed_on(frame, self._floor):
                    yield frame

    def _landed_on(self, frame: Any, floor: int) -> bool:
        """Whether a frame after a jump counts; the first one must be the key frame itself.

        Streams with periodic intra refresh mark places to start at that are no whole pictures, and leave the
        first frames out.
        """
        if frame.pts < floor:
            return False
        if frame.is_corrupt or not (self._landed or (frame.pts == floor and frame.pict_type == PictureType.I)):
            raise _LostFrame
        self._landed = True
        return True

    def _stamp(self, frames: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Give each frame its tick. The decoder's order is the order on the screen, so ticks never go back."""
        waiting: deque[Any] = deque()
        ticks: list[int] = []
        latest: int | None = None
        shown: int | None = None
        for frame in chain(frames, repeat(None, self.reorder)):
            if frame is not None:
                latest = _tick(frame, latest, self.frame_ticks)
                heapq.heappush(ticks, latest)
                waiting.append(frame)
            if waiting and (frame is None or len(waiting) > self.reorder):
                tick = heapq.heappop(ticks)
                shown = tick if shown is None else max(shown, tick)
                yield shown, waiting.popleft()


class _Converter:
    """Decoded frames to upright RGB arrays, all of the size of the first one."""

    def __init__(self, short_side: int | None) -> None:
        self.short_side = short_side
        self.size: tuple[int, int] | None = None
        self.reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        """(H, W, 3) uint8."""
        if self.size is None:
            scale = 1.0 if self.short_side is None else self.short_side / min(frame.width, frame.height)
            self.size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        width, height = self.size
        # One thread: the workers that decode in parallel are as many as the machine bears.
        image = self.reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        matrix = _display_matrix(frame)
        return image if matrix is None else _upright(image, matrix)


def _pick(video: _Video, times_sec: Sequence[float], short_side: int | None, *, jump: bool) -> np.ndarray:
    convert = _Converter(short_side)
    start, shown = video.first()
    ahead = video.next()
    image: np.ndarray | None = None
    out: np.ndarray | None = None
    for place in np.argsort(np.asarray(times_sec), kind="stable"):
        tick = start + times_sec[place] / video.tick_sec + video.slack_ticks
        if jump and ahead is not None and ahead[0] <= tick and video.jump(tick, ahead[0]):
            ahead = video.next()
            if ahead is None or ahead[0] > tick:
                raise _LostFrame
        while ahead is not None and ahead[0] <= tick:
            shown, ahead, image = ahead[1], video.next(), None
        if image is None:
            image = convert(shown)
        if out is None:
            out = np.empty((len(times_sec), *image.shape), np.uint8)
        out[place] = image
    assert out is not None
    return out


@contextmanager
def _open(path: str | Path) -> Iterator[_Video]:
    path = Path(path)
    if not path.is_file():
        raise BrokenVideo(path, "not a file" if path.exists() else "no such file")
    try:
        if not path.stat().st_size:
            raise BrokenVideo(path, "the file is empty (0 bytes)")
        # An absolute path cannot be taken for a protocol.
        container = av.open(
            str(path.absolute()),
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file", "format_whitelist": _CONTAINERS},
        )
    except (av.FFmpegError, OSError) as error:
        raise BrokenVideo(path, f"not a video that can be read ({error.strerror})") from error
    with container:
        if not container.streams.video:
            raise BrokenVideo(path, "no video stream")
        if container.streams.video[0].codec_context is None:
            raise BrokenVideo(path, "no decoder for its video stream")
        video = _Video(path, container)
        try:
            yield video
        except av.FFmpegError as error:
            raise BrokenVideo(path, f"frame {video.decoded} cannot be converted ({error.strerror})") from error


def _is_end(packet: Any) -> bool:
    """Whether this is the empty packet that makes the decoder give its last frames."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def _tick(frame: Any, latest: int | None, frame_ticks: float) -> int:
    if frame.pts is not None:
        return int(frame.pts)
    return 0 if latest is None else latest + round(frame_ticks)


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
