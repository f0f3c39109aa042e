"""By which a changed file is known: its size and time of change."""

from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """A file as it was: size in bytes and time of change in nanoseconds; -1 for one that is not there."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """The stamp of a file as it is now."""
        try:
            status = path.stat()
        except OSError:
            return MISSING
        return cls(status.st_size, status.st_mtime_ns)


MISSING = Stamp(-1, -1)


class FileStamp(NamedTuple):
    """The stamp of a file together with its path."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileStamp":
        """The file as it is now."""
        return cls(str(path), *Stamp.of(path))
