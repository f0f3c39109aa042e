"""The bytes of a file, mapped once per process, under a lock that lasts as long as the map."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO
from weakref import WeakValueDictionary

import numpy as np

from vidnas.base.errors import VidnasError

# What tells one file from another.
FileMark = tuple[int, int, int]
# The maps in use.
_MAPPED: "WeakValueDictionary[FileMark, np.ndarray]" = WeakValueDictionary()


def mark(status: os.stat_result) -> FileMark:
    """Of the file that has this status."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def mapped(file: Path, known: FileMark) -> np.ndarray:
    """The file's bytes, mapped once per process for as long as somebody reads them.

    Raises:
        VidnasError: the file is not the one of the mark any more.
    """
    content = _MAPPED.get(known)
    if content is None:
        try:
            with file.open("rb") as opened:
                same = mark(os.fstat(opened.fileno())) == known
                # The map keeps the file open, and with it the lock.
                _lock(opened, shared=True)
                # Nothing can be mapped of an empty file.
                content = np.memmap(opened, np.uint8, "r") if known[1] else np.empty(0, np.uint8)
        except FileNotFoundError:
            same = False
        if content is None or not same:
            raise VidnasError(f"{file}: was removed or replaced while it was in use; give the same command again")
        _MAPPED[known] = content
    return content


def is_mapped(file: Path) -> bool:
    """Whether a process maps a file. Where the system has no such locks it does not remove a mapped file anyway."""
    with file.open("rb") as opened:
        return not _lock(opened, shared=False)


def _lock(opened: IO[bytes], *, shared: bool) -> bool:
    """Lock a file against who wants it otherwise, without waiting; returns whether that went well."""
    if sys.platform == "win32":
        return True
    import fcntl

    with suppress(OSError):
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return True
    return False
