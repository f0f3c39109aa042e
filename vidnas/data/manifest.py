"""What a small copy of a data set was made of: one JSON line per video, so that a killed build loses nothing.

The first line says how the videos were written and where they came from (a path relative to the copy, which is only
ever looked at for sizes and times of change), and which lists were written; by it the file is known as ours, since
others write a manifest.jsonl too. Every other line is one source video: its path in the data set, size and
time of change, and what became of it. The last line about a path counts, and a line cut short by a kill counts not.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vidnas.base.errors import VidnasError
from vidnas.base.files import ANOTHER_PLACE, replace_file
from vidnas.data.stamp import MISSING, Stamp

MANIFEST = "manifest.jsonl"
VERSION = 2
_NAMED = 3
_HEAD_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Entry:
    """One source video.

    Attributes:
        path: in the data set, with forward slashes.
        size: of the source in bytes.
        mtime_ns: time of the source's last change.
        file: what was written, from the folder of the copy; None where the source cannot be used.
        bytes: size of that file.
        cause: why the source cannot be used.
        notice: what the user should know of a source that can be.
    """

    path: str
    size: int
    mtime_ns: int
    file: str | None = None
    bytes: int = 0
    cause: str | None = None
    notice: str | None = None

    @property
    def stamp(self) -> Stamp:
        """Of the source when it was read."""
        return Stamp(self.size, self.mtime_ns)


@dataclass(frozen=True)
class Manifest:
    """How a copy was made, and of what.

    Attributes:
        source: folder of the data set, relative to the copy.
        settings: of the videos written.
        lists: stamps of the data set's own lists by path, also of those that it could have and has not.
        entries: source videos by path.
        written: sha256 of the copy's own lists by name.
    """

    source: str
    settings: Mapping[str, str | int]
    lists: Mapping[str, Stamp]
    entries: Mapping[str, Entry]
    written: Mapping[str, str]

    def save(self, folder: Path) -> None:
        """Write all of it anew."""
        lists = {name: [stamp.size, stamp.mtime_ns] for name, stamp in self.lists.items()}
        head = {
            "vidnas_copy": VERSION,
            "source": self.source,
            "settings": dict(self.settings),
            "lists": lists,
            "written": dict(self.written),
        }
        lines = [head, *(_as_line(entry) for entry in self.entries.values())]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        replace_file(folder / MANIFEST, text, mend=ANOTHER_PLACE)


def add_entry(folder: Path, entry: Entry) -> None:
    """Append one line, in one write."""
    with (folder / MANIFEST).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(_as_line(entry)) + "\n")


def is_copy(folder: Path) -> bool:
    """Whether the folder has a manifest of ours, whatever its state."""
    return _head(folder) is not None


def check_finished(folder: Path) -> None:
    """Refuse the folder of a copy that has no lists yet.

    Raises:
        VidnasError: it is one.
    """
    if is_copy(folder):
        raise VidnasError(f"{folder}: an unfinished copy of a data set; call the same `vidnas data cache` again")


def _head(folder: Path) -> dict[str, Any] | None:
    """The first line of a manifest of ours."""
    try:
        with (folder / MANIFEST).open(encoding="utf-8") as stream:
            head = json.loads(stream.readline(_HEAD_CHARACTERS))
    except (OSError, ValueError):
        return None
    return head if isinstance(head, dict) and "vidnas_copy" in head else None


def text_hash(text: str) -> str:
    """By which a list that was written is known."""
    return hashlib.sha256(text.encode()).hexdigest()


def foreign_lists(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of these files that are there and not as the manifest says that they were written."""
    head = _head(folder) or {}
    written = head.get("written")
    known = written if isinstance(written, dict) else {}
    foreign = []
    for name in names:
        file = folder / name
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != known.get(name):
            foreign.append(name)
    return foreign


def load_manifest(folder: Path) -> Manifest | None:
    """What the folder's manifest says; None where there is none, or one of somebody else's.

    Raises:
        VidnasError: it cannot be read, or a path in it leads out of the folder.
    """
    file = folder / MANIFEST
    if not is_copy(folder):
        return None
    try:
        # What a kill left of the last line has no end of line.
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
        head = lines[0]
        if head["vidnas_copy"] != VERSION:
            raise VidnasError(f"{file}: of another version ({head['vidnas_copy']}); make the copy anew with --rebuild")
        entries = {entry.path: entry for entry in (Entry(**line) for line in lines[1:])}
        lists = {str(name): Stamp(*map(int, stamp)) for name, stamp in head["lists"].items()}
        names = [*lists, *entries, *(entry.file for entry in entries.values() if entry.file is not None)]
        astray = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
        manifest = Manifest(str(head["source"]), dict(head["settings"]), lists, entries, dict(head["written"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise VidnasError(f"{file}: cannot be read as a manifest; make the copy anew with --rebuild") from error
    if astray:
        raise VidnasError(f"{file}: {astray[0]!r} leads out of the folder; make the copy anew with --rebuild")
    return manifest


def stale_notice(folder: Path, files: Iterable[str], list_videos: Callable[[Path], Iterable[str]]) -> str | None:
    """One line where videos of a copy, or its lists, are not what the source has now; None where all is well.

    Where none of the videos is at hand nothing can be said.

    Args:
        folder: of the copy.
        files: paths of the videos in question, from the folder.
        list_videos: paths of the videos that a data set without lists of its own has now, from its folder.
    """
    manifest = load_manifest(folder)
    if manifest is None or not (source := folder / manifest.source).is_dir():
        return None
    wanted = set(files)
    # A video that was of no use is in no list, but may have been mended.
    entries = [entry for entry in manifest.entries.values() if entry.file is None or entry.file in wanted]
    before = {entry.path: entry.stamp for entry in entries}
    now = {path: Stamp.of(source / path) for path in before}
    if all(stamp == MISSING for stamp in now.values()):
        return None
    before |= manifest.lists
    now |= {name: Stamp.of(source / name) for name in manifest.lists}
    added: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    for path, stamp in now.items():
        if stamp != before[path]:
            kind = removed if stamp == MISSING else added if before[path] == MISSING else changed
            kind.append(path)
    if not any(name.endswith(".csv") and stamp != MISSING for name, stamp in manifest.lists.items()):
        try:
            added += sorted(set(list_videos(source)) - set(manifest.entries))
        except VidnasError as error:
            return f"{folder}: out of date: {error}"
    kinds = {"changed": changed, "added": added, "removed": removed}
    differences = ", ".join(f"{_named(paths)} {what}" for what, paths in kinds.items() if paths)
    if not differences:
        return None
    return (
        f"{folder}: out of date: {differences} in {os.path.normpath(source)} since; call the same "
        "`vidnas data cache` again"
    )


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def _as_line(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if value is not None}
