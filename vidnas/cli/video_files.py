"""From the words of a command line to video files: a file stands for itself, a folder for all videos in it."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidnas.data.formats import SUFFIXES
from vidnas.errors import VidnasError


@dataclass(frozen=True)
class Found:
    """What a word stands for.

    Attributes:
        files: sorted by path.
        others: files of a folder that are hidden or no videos.
    """

    files: tuple[Path, ...]
    others: int = 0


def find_videos(word: str) -> Found:
    """The videos of a file or folder; folders are gone through to any depth, links to folders once.

    Raises:
        VidnasError: an address on a network, or a folder without a video.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", word):
        mend = "give its path" if word.startswith("file:") else "download it first, then give the file"
        raise VidnasError(f"{word}: an address, and vidnas reads files; {mend}")
    path = Path(word)
    if not path.is_dir():
        return Found((path,))
    every = tuple(_files(path, set()))
    videos = [file for file in every if _is_video(file.relative_to(path))]
    if not videos:
        raise VidnasError(f"{path}: no video in this folder ({len(every)} other files)")
    return Found(tuple(sorted(videos)), len(every) - len(videos))


def printable(text: str | Path) -> str:
    """A name that any UTF-8 output takes; bytes of it that are not UTF-8 as `\\xe9`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _files(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries: Sequence[Path] = sorted(folder.iterdir())
    except OSError as error:
        raise VidnasError(f"{folder}: cannot be read ({(error.strerror or str(error)).lower()})") from error
    for entry in entries:
        if entry.is_dir():
            yield from _files(entry, seen)
        elif entry.is_file():
            yield entry


def _is_video(path: Path) -> bool:
    hidden = any(part.startswith((".", "__MACOSX", "@eaDir")) for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden
