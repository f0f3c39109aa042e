"""Video files opened by PyAV: which containers, which stream in them is the film, and what is wrong in one line."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.sidedata.sidedata import Type
from av.stream import Disposition

from vidnas.base.errors import VidnasError

# Playlists and image patterns would lead to other files, so only containers that hold the video themselves.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,asf,ogg,gif,apng,"
    "mxf,nut,wtv,rm,dv,mjpeg,yuv4mpegpipe"
)
# A stream that its file puts forward counts as this many pixels more, as in FFmpeg's own choice.
_DEFAULT_BONUS = 5_000_000
# Pictures beside the film.
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def _accept_unknown_side_data() -> None:
    """Let PyAV give a frame's side data where one kind of it is newer than PyAV's list of kinds."""

    def nameless(kinds: Any, value: int) -> Any:
        kind = object.__new__(kinds)
        kind._name_, kind._value_ = f"UNKNOWN_{value}", value
        return kind

    Type._missing_ = classmethod(nameless)  # type: ignore[method-assign, assignment]


_accept_unknown_side_data()


class BrokenVideo(VidnasError):
    """A file that cannot be used, with its path and the cause (both survive pickling between processes)."""

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(str(path), cause)
        self.path = Path(path)
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


@contextmanager
def open_container(path: str | Path) -> Iterator[Any]:
    """PyAV's container of a file, open for as long as the `with` block.

    Raises:
        BrokenVideo: no such file, empty, of no kind that can be read; whatever PyAV raises in the block comes out of it
            as this one, so that one odd file never ends the work on others.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise BrokenVideo(path, "not a file" if path.exists() else "no such file")
        if not path.stat().st_size:
            raise BrokenVideo(path, "the file is empty (0 bytes)")
        # An absolute path cannot be taken for a protocol.
        container = av.open(
            str(path.absolute()),
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file", "format_whitelist": _CONTAINERS},
        )
    except av.ArgumentError as error:
        raise BrokenVideo(
            path, "a container that is not supported; convert it, for example with `ffmpeg -i FILE FILE.mp4`"
        ) from error
    except (av.FFmpegError, OSError) as error:
        raise BrokenVideo(path, f"not a video that can be read ({error.strerror})") from error
    except (ValueError, RuntimeError, MemoryError) as error:
        raise BrokenVideo(path, f"not a video that can be read ({error})") from error
    with container:
        try:
            yield container
        except av.FFmpegError as error:
            raise BrokenVideo(path, f"cannot be read or converted ({error.strerror})") from error
        except (ValueError, LookupError, RuntimeError, MemoryError, OverflowError) as error:
            raise BrokenVideo(path, f"cannot be read ({type(error).__name__}: {error})") from error


def find_film(container: Any, path: Path, empty: Collection[int] = ()) -> Any:
    """The video stream that FFmpeg takes by itself: the largest, one marked as default before others.

    Args:
        container: just opened.
        path: its file.
        empty: indices of streams that are known to hold nothing.

    Raises:
        BrokenVideo: there is none, or only covers and previews, or nothing decodes it.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & _NO_FILM]
    if not films:
        beside = " (but a picture that goes with the sound)" if container.streams.video else ""
        raise BrokenVideo(path, f"no video stream{beside}")
    decodable = [s for s in films if s.codec_context is not None and s.index not in empty]
    if not decodable:
        raise BrokenVideo(path, "no decoder for its video stream")
    return max(decodable, key=_weight)


def _weight(stream: Any) -> int:
    pixels: int = (stream.width or 0) * (stream.height or 0)
    return pixels + _DEFAULT_BONUS * bool(stream.disposition & Disposition.default)
