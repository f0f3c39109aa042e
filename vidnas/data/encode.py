"""One video written small: every frame a JPEG in a QuickTime file, or H.264 with key frames close together.

Frames are stored as training sees them: upright, scaled down, at their own start times. Both forms are ordinary
video files that the decoder reads like any other; the difference is what a clip costs. A JPEG stands alone, so only
the frames of the clip are decoded. H.264 is several times smaller; its B-frames are such that no other leans on them,
so that those between the frames of a clip are passed over.
"""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from PIL import Image

from vidnas.data.container import BrokenVideo
from vidnas.data.decode import Converter, notices, probe
from vidnas.data.reader import limit
from vidnas.data.stream import Video
from vidnas.errors import VidnasError

# What an encoder reports when the fault is the disk's.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES}
_B_FRAMES = 3


@dataclass(frozen=True)
class SmallForm:
    """How videos are written small.

    Attributes:
        format: one JPEG per frame, or H.264.
        short_side: larger videos are scaled down to this many pixels; smaller ones keep their size.
        quality: of JPEG, 1 to 100.
        crf: constant rate factor of H.264, 0 (lossless) to 51.
        gop: frames from one key frame of H.264 to the next.
    """

    format: Literal["jpeg", "h264"]
    short_side: int = 182
    quality: int = 90
    crf: int = 18
    gop: int = 24

    def __post_init__(self) -> None:
        for name, low, high in (("short_side", 16, 8192), ("quality", 1, 100), ("crf", 0, 51), ("gop", 1, 10_000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise VidnasError(f"{name} {value}: give a number from {low} to {high}")
        if self.format == "h264" and self.short_side % 2:
            raise VidnasError(f"short_side {self.short_side}: H.264 needs an even one; give {self.short_side + 1}")

    @property
    def suffix(self) -> str:
        """Of the files written."""
        return ".mov" if self.format == "jpeg" else ".mp4"

    def settings(self) -> dict[str, str | int]:
        """Those that make a difference to the files."""
        own = {"quality": self.quality} if self.format == "jpeg" else {"crf": self.crf, "gop": self.gop}
        return {"format": self.format, "short_side": self.short_side, **own}


def write_small(source: Path, target: Path, form: SmallForm) -> str | None:
    """Decode a video from end to end and write it small, frame by frame, in one thread.

    Start times and the time that the last frame stays keep the source's unit, so that they are exact; the first start
    is 0. A variable frame rate is not kept: the file's is the average. H.264 needs an even height and width: an odd
    last row or column is cut off. Equal sources give equal bytes on one machine.

    Returns:
        What the user should know of the source (it ends early, its times jump); None where all is well.

    Raises:
        BrokenVideo: the source cannot be used, or cannot be encoded.
        OSError: the target cannot be written.
    """
    info = probe(source)
    if form.format == "h264" and min(info.width, info.height) < 2:
        raise BrokenVideo(source, f"cannot be encoded ({info.width} x {info.height} pixels; H.264 needs 2 x 2)")
    with info.open() as video:
        start, first = video.first()
        convert = Converter(first, limit(info, form.short_side))
        unit = Fraction(video.stream.time_base)
        end = round(info.duration_sec / video.tick_sec)
        write = _jpegs if form.format == "jpeg" else _h264
        with _target_faults(source):
            write(target, _with_durations(video, start, first, convert, end), form, unit, info.fps)
        return notices(info, video)


Pictures = Iterator[tuple[int, int, np.ndarray]]


def _with_durations(video: Video, start: int, first: Any, convert: Converter, end: int) -> Pictures:
    """Ticks from the first frame, ticks on the screen, and the picture of every frame; the last stays until `end`.

    A frame at the tick of the one before takes its place on the screen and in the file.
    """
    tick, frame = start, first
    while (following := video.next()) is not None:
        if following[0] > tick:
            yield tick - start, following[0] - tick, convert(frame)
        tick, frame = following
    yield tick - start, max(1, end - (tick - start)), convert(frame)


def _jpegs(target: Path, pictures: Pictures, form: SmallForm, unit: Fraction, fps: float) -> None:
    container: Any = None
    try:
        for tick, duration, picture in pictures:
            if container is None:
                container, stream = _open(target, "mov", "mjpeg", picture.shape, "yuvj420p", unit, fps, {})
            data = io.BytesIO()
            Image.fromarray(picture).save(data, "JPEG", quality=form.quality, subsampling="4:2:0")
            packet = av.Packet(data.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, unit.denominator), True
            packet.pts = packet.dts = tick * unit.numerator
            packet.duration = duration * unit.numerator
            container.mux(packet)
    finally:
        if container is not None:
            container.close()


def _h264(target: Path, pictures: Pictures, form: SmallForm, unit: Fraction, fps: float) -> None:
    options = {
        "preset": "veryfast",
        "tune": "fastdecode",
        "crf": str(form.crf),
        "g": str(form.gop),
        "bf": str(_B_FRAMES),
        "threads": "1",
        # With mbtree the same frames give other bytes from run to run.
        "x264-params": "b-adapt=0:b-pyramid=none:scenecut=0:open-gop=0:mbtree=0",
    }
    first = next(pictures)
    height, width = (side // 2 * 2 for side in first[2].shape[:2])
    container, stream = _open(target, "mp4", "libx264", (height, width), "yuv420p", unit, fps, options)
    durations: dict[int, int] = {}

    def packets() -> Iterator[Any]:
        for tick, duration, picture in chain([first], pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), "rgb24")
            frame.pts, frame.time_base = tick * unit.numerator, Fraction(1, unit.denominator)
            durations[frame.pts] = duration * unit.numerator
            yield from stream.encode(frame)
        yield from stream.encode(None)

    with container:
        start = 0
        last: Any = None
        for packet in packets():
            packet.duration = durations[packet.pts]
            if last is None:
                start = packet.dts
            else:
                container.mux(last)
            last = packet
        # The file's length is the lesser of two: what is on the screen, and the sum of the decoding times.
        end = max(tick + duration for tick, duration in durations.items())
        last.duration = max(last.duration, end - (last.dts - start))
        container.mux(last)


def _open(
    target: Path,
    kind: str,
    codec: str,
    shape: tuple[int, ...],
    pixels: str,
    unit: Fraction,
    fps: float,
    options: dict[str, str],
) -> tuple[Any, Any]:
    """A container and its stream, whose ticks are the unit's denominator."""
    timescale = {"video_track_timescale": str(unit.denominator), "fflags": "+bitexact"}
    container = av.open(str(target.absolute()), "w", format=kind, container_options=timescale)
    stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = pixels
    # FFmpeg opens a JPEG encoder with threads of its own although packets come ready made.
    stream.codec_context.thread_count = 1
    stream.time_base = stream.codec_context.time_base = Fraction(1, unit.denominator)
    return container, stream


@contextmanager
def _target_faults(source: Path) -> Iterator[None]:
    """Tell the disk's faults from those of a video that cannot be encoded."""
    try:
        yield
    except av.FFmpegError as error:
        if error.errno in _DISK:
            raise OSError(error.errno, error.strerror) from error
        raise BrokenVideo(source, f"cannot be encoded ({error.strerror})") from error
