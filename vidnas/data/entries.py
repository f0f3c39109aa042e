"""What lies in a folder of videos: rubbish passed over, links followed where allowed, pipes and devices not opened."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.data.video_list import printable

# Control characters, and those that separate lines and paragraphs.
_NOT_PRINTED = {"Cc", "Zl", "Zp"}

# What counts as a video in a class folder.
SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
# What archivers, network drives and desktops leave behind; all else of the kind begins with a dot.
_RUBBISH = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db"}
    | {"desktop.ini"}
)
_KINDS = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
)
FILE, FOLDER, NOTHING = "file", "folder", "nothing"


def is_video_name(name: str | Path) -> bool:
    """By its suffix alone."""
    return Path(name).suffix.lower() in SUFFIXES


def visible(folder: Path) -> list[Path]:
    """Entries by name, without hidden ones and rubbish.

    Raises:
        VidnasError: the folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise VidnasError(f"{folder}: cannot be read ({error.strerror}); mend its permissions or remove it") from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name.casefold() not in _RUBBISH]


def kind_of(path: Path) -> str:
    """`file`, `folder`, `named pipe`, `socket` or `device` behind any links; `nothing` where there is none."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # the latter for a path that none can have
        return NOTHING
    return next((kind for test, kind in _KINDS if test(mode)), "device")


@dataclass
class Walk:
    """Goes through class folders and takes down what it passes over.

    Attributes:
        root: the folder of the data set, without links in it.
        follow_links: also go where links lead out of the root.
        others: files that are no videos, by suffix.
        special: pipes, sockets and devices, with what they are.
        dangling: links that lead nowhere.
        loops: links to a folder that the same class holds already, or that holds the class.
    """

    root: Path
    follow_links: bool
    others: Counter[str] = field(default_factory=Counter)
    special: list[tuple[Path, str]] = field(default_factory=list)
    dangling: list[Path] = field(default_factory=list)
    loops: list[Path] = field(default_factory=list)

    def folders(self) -> list[Path]:
        """Class folders, also those that are links; files beside them are taken down."""
        found = []
        for entry in visible(self.root):
            kind = self._kind(entry)
            if kind == FOLDER:
                self._check_link(entry)
                found.append(entry)
            elif kind == FILE:
                self.others[entry.suffix] += 1
        return found

    def videos(self, class_folder: Path) -> list[Path]:
        """All videos at any depth below a class folder, sorted within each folder.

        Raises:
            VidnasError: a link that leads out of the root, where that is not allowed.
        """
        return list(self._below(class_folder, {os.path.realpath(self.root)}))

    def _below(self, folder: Path, seen: set[str]) -> Iterator[Path]:
        real = os.path.realpath(folder)
        # Each folder is read once per class, so that links in circles end.
        if real in seen or self.root.is_relative_to(real):
            self.loops.append(folder)
            return
        seen.add(real)
        for entry in visible(folder):
            kind = self._kind(entry)
            if kind in (FILE, FOLDER):
                self._check_link(entry)
            if kind == FOLDER:
                yield from self._below(entry, seen)
            elif kind == FILE and is_video_name(entry):
                yield entry
            elif kind == FILE:
                self.others[entry.suffix] += 1

    def _kind(self, entry: Path) -> str:
        kind = kind_of(entry)
        if kind == NOTHING:
            self.dangling.append(entry)
        elif kind not in (FILE, FOLDER):
            self.special.append((entry, kind))
        return kind

    def _check_link(self, entry: Path) -> None:
        if not self.follow_links and entry.is_symlink() and leads_out(entry, self.root):
            raise VidnasError(
                f"{printable(entry)}: a link that leads out of {self.root}; --follow-links allows it, or copy what it "
                "leads to"
            )

    def notices(self, folder: Path) -> tuple[str, ...]:
        """A line for each kind of thing passed over."""
        lines = []
        if self.others:
            kinds = ", ".join(sorted(printable(suffix) or "no suffix" for suffix in self.others))
            lines.append(f"{self.others.total()} files passed over: not a video in a class folder ({kinds})")
        if self.special:
            path, kind = self.special[0]
            lines.append(f"{len(self.special)} passed over that are no files: {self._name(path)} is a {kind}")
        if self.dangling:
            lines.append(
                f"{len(self.dangling)} links that lead nowhere passed over, e.g. {self._name(self.dangling[0])}"
            )
        if self.loops:
            lines.append(f"{len(self.loops)} links in a circle passed over, e.g. {self._name(self.loops[0])}")
        return tuple(f"{folder}: {line}" for line in lines)

    def _name(self, path: Path) -> str:
        return printable(path.relative_to(self.root))


def leads_out(path: Path, root: Path) -> bool:
    """Whether a path, with its links followed, lies outside of a folder (itself without links)."""
    return not Path(os.path.realpath(path)).is_relative_to(root)


def real_paths(paths: Iterable[Path]) -> list[str]:
    """What paths lead to, with links followed: equal for one file under several names."""
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = os.path.join(folders[folder], name)
        found.append(os.path.realpath(real) if os.path.islink(real) else real)
    return found


def check_names(folder: Path, paths: list[str]) -> None:
    """Refuse names that are not UTF-8, which no list, result or page could hold.

    Args:
        folder: where they are.
        paths: relative to it.

    Raises:
        VidnasError: names the first of them.
    """
    bad = [path for path in paths if not _is_utf8(path)]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise VidnasError(
            f"{printable(folder)}: names that are not UTF-8: {', '.join(map(printable, bad[:3]))}{more}; rename them, "
            "e.g. with `convmv -f gbk -t utf8 -r --notest FOLDER` (gbk, latin1 or what the archive was made with)"
        )


def check_class_name(name: str, where: str) -> None:
    """Refuse a name that a list of classes, with one per line, could not hold.

    Raises:
        VidnasError: it begins or ends with a blank, or has a line end or another control character in it.
    """
    if name != name.strip() or any(unicodedata.category(character) in _NOT_PRINTED for character in name):
        raise VidnasError(
            f"{where}: class {name!r} begins or ends with a blank, or has a control character in it; rename it"
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
