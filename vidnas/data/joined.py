"""Files joined end to end, of which FFmpeg reads the first part alone: found by the header of the second."""

import mmap
import re
from collections.abc import Collection
from pathlib import Path

# How a file of each kind begins, in containers where FFmpeg stops at the beginning of a second one, or takes it for a
# frame of the first.
_BEGINNINGS = {
    "apng": rb"\x89PNG\r\n\x1a\n",
    "asf": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    "flv": rb"FLV\x01[\0-\x05]\0\0\0\x09",
    "ivf": rb"DKIF\0\0 \0",
    # The first element of the header names no more than versions and the kind of document.
    "matroska": rb"\x1a\x45\xdf\xa3.{1,8}?\x42[\x82\x85-\x87\xf2\xf3\xf7]",
    "nut": rb"nut/multimedia container\0",
    "rm": rb"\.RMF\0\0\0[\x10\x12]",
    "wtv": rb"\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e\x00\x07\xe9\x5e\xad\x8d",
    "yuv4mpegpipe": rb"YUV4MPEG2 ",
}
# Of these a packet or two are found beyond it.
_READ_TOO_FAR = {"nut", "rm"}
# Of these FFmpeg reads on, but may leave out tracks that the first one has not.
_READ_ON = "matroska"


def unread_share(path: Path, formats: Collection[str], last_position: int) -> float | None:
    """The share of a file that begins with the header of another one, of which no packet was read.

    Args:
        path: the file.
        formats: names of its container.
        last_position: bytes before the last packet that was read.
    """
    start = 0 if _READ_TOO_FAR.intersection(formats) else last_position
    place = _second_beginning(path, formats, start)
    return None if place is None else 1 - place / path.stat().st_size


def may_lack_tracks(path: Path, formats: Collection[str]) -> bool:
    """Whether a file is one of several joined, read on from one to the next with the tracks of the first alone."""
    return _READ_ON in formats and _second_beginning(path, formats, 0) is not None


def has_second_film(path: Path) -> bool:
    """Whether an MP4 or MOV holds a second index, of which FFmpeg reads nothing."""
    headers = 0
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8:
            length, kind = int.from_bytes(head[:4]), head[4:8]
            if length == 1 and len(head) == 16:
                length = int.from_bytes(head[8:])
            if length < 8:  # up to the end, or no box
                break
            headers += kind == b"moov"
            file.seek(length - len(head), 1)
    return headers > 1


def _second_beginning(path: Path, formats: Collection[str], start: int) -> int | None:
    """Where the header of another file stands, at `start` or later."""
    pattern = next((_BEGINNINGS[name] for name in formats if name in _BEGINNINGS), None)
    if pattern is None:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = re.compile(pattern, re.DOTALL).search(content, max(start, 1))
        return None if found is None else found.start()
