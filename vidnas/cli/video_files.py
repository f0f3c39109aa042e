"""From the words of a command line to video files: a file stands for itself, a folder for all videos in it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vidnas.data.entries import FOLDER, is_video_name, kind_of, visible
from vidnas.data.video_list import printable
from vidnas.errors import VidnasError


@dataclass(frozen=True)
class Found:
    """What a word stands for.

    Attributes:
        files: sorted by path.
        others: entries of a folder that are hidden or no videos.
    """

    files: tuple[Path, ...]
    others: int = 0


def find_videos(word: str) -> Found:
    """The videos of a file or folder; folders are gone through to any depth, those behind links once.

    Raises:
        VidnasError: an address on a network, or a folder without a video.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", word):
        mend = "give its path" if word.startswith("file:") else "download it first, then give the file"
        raise VidnasError(f"{printable(word)}: an address, and vidnas reads files; {mend}")
    path = Path(word)
    if kind_of(path) != FOLDER:
        return Found((path,))
    entries = tuple(_entries(path, set()))
    videos = sorted(entry for entry in entries if entry is not None and is_video_name(entry))
    others = len(entries) - len(videos)
    if not videos:
        raise VidnasError(f"{printable(path)}: no video in this folder ({others} other files)")
    return Found(tuple(videos), others)


def _entries(folder: Path, seen: set[str]) -> Iterator[Path | None]:
    """What lies below a folder but folders; None for each entry that is hidden."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    shown = visible(folder)
    yield from [None] * (len(os.listdir(folder)) - len(shown))
    for entry in shown:
        if kind_of(entry) == FOLDER:
            yield from _entries(entry, seen)
        else:
            yield entry
