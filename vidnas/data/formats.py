"""Lists of labelled videos, from folders or CSV files.

No path leaves the folder that a list lives in: not by `..`, not by an absolute path, not by a link.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from vidnas.data.classes import classify, read_classes
from vidnas.data.manifest import MANIFEST, stale_notice
from vidnas.data.rows import read_rows, write_rows, write_text
from vidnas.errors import VidnasError

# What counts as a video in a class folder.
SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)


@dataclass(frozen=True)
class Sample:
    """One video: its absolute path, the index of its class, and the group that a split must keep together."""

    path: Path
    label: int
    group: str | None = None


@dataclass(frozen=True)
class VideoList:
    """Labelled videos under one folder.

    Attributes:
        root: the folder that all paths lie under.
        samples: in the order of the file, or sorted by path for folders.
        classes: names in the order of the labels.
        notices: what was passed over while reading, one line each.
    """

    root: Path
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> tuple[int, ...]:
        """The label of each sample."""
        return tuple(sample.label for sample in self.samples)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of samples of each class."""
        found = Counter(self.labels)
        return tuple(found[label] for label in range(len(self.classes)))

    @cached_property
    def content_hash(self) -> str:
        """sha256 over relative paths, labels and class names (not over what the files hold)."""
        rows = [[self.relative(sample), sample.label] for sample in self.samples]
        return hashlib.sha256(json.dumps([list(self.classes), rows]).encode()).hexdigest()

    def relative(self, sample: Sample) -> str:
        """The path of a sample from the root, with forward slashes."""
        return sample.path.relative_to(self.root).as_posix()

    def subset(self, indices: Iterable[int]) -> "VideoList":
        """The samples at these places, in this order, with all classes."""
        return VideoList(self.root, tuple(self.samples[i] for i in indices), self.classes)


@dataclass(frozen=True)
class DataLists:
    """The two lists of a data set; `test` is None where the data set has only one."""

    train: VideoList
    test: VideoList | None


def load_dataset(path: str | Path, *, group_regex: str | None = None) -> DataLists:
    """Read a data set: `train.csv` and `test.csv`, or `train/` and `test/`, or class folders, or one CSV file.

    Args:
        path: a folder or a CSV file.
        group_regex: its first match group on the relative path is the group of a video.

    Raises:
        VidnasError: a list cannot be used, or a class has no training video.
    """
    path = Path(path)
    if (end := next((end for end in (".csv", "") if _is_list(path / f"train{end}")), None)) is not None:
        lists = _load_pair(path, end, group_regex)
    elif (path / "test.csv").is_file():
        raise VidnasError(f"{path}: test.csv without train.csv; give the file itself, or add train.csv")
    else:
        lists = DataLists(load_list(path, group_regex=group_regex), None)
    for name, count in zip(lists.train.classes, lists.train.counts, strict=True):
        if not count:
            raise VidnasError(f"{path}: class {name!r} has no training video; add some or take the class out")
    return lists


def _load_pair(folder: Path, end: str, group_regex: str | None) -> DataLists:
    train = load_list(folder / f"train{end}", group_regex=group_regex)
    unread = [folder / f"{name}{end}" for name in ("val", "valid", "validation")]
    notices = tuple(f"{path}: passed over; only train and test are read" for path in unread if path.exists())
    train = replace(train, notices=train.notices + notices)
    test_path = folder / f"test{end}"
    if not test_path.exists():
        return DataLists(train, None)
    return DataLists(train, load_list(test_path, classes=train.classes, group_regex=group_regex))


def load_list(path: str | Path, *, classes: Sequence[str] | None = None, group_regex: str | None = None) -> VideoList:
    """Read one list: a folder with one folder per class, or a CSV file.

    A CSV has a path (relative to its folder) and a label per line, separated by comma, tab or blank, with or
    without a header (`path,label,group`; without one the columns have this order). Labels are either all numbers
    from 0, named by `classes.txt` beside the file if there is one, or all names, sorted into classes.

    Args:
        path: the folder or the file.
        classes: the classes to map names to, as of a training list; labels outside them are errors.
        group_regex: its first match group on the relative path is the group of a video.

    Raises:
        VidnasError: an unfinished copy (`vidnas data cache`), nothing usable, a bad line, an unknown class, one path
            with two labels, a path that leaves the folder, a group expression that fails.
    """
    path = Path(path)
    if path.is_dir():
        videos = _read_folder(path, classes)
    elif path.is_file():
        videos = _read_csv(path, classes)
    else:
        raise VidnasError(f"{path}: no such file or folder; check the path")
    if len(videos.classes) < 2:
        raise VidnasError(f"{path}: only one class ({videos.classes[0]!r}); classification needs at least two")
    return videos if group_regex is None else _with_groups(videos, group_regex)


def _is_list(path: Path) -> bool:
    """Whether this is a CSV file, or a folder of class folders and not itself a class (of trains, say)."""
    return path.is_file() or (path.is_dir() and any(entry.is_dir() for entry in _visible(path)))


def _read_folder(folder: Path, classes: Sequence[str] | None) -> VideoList:
    root = folder.resolve()
    if (root / MANIFEST).is_file():
        raise VidnasError(f"{folder}: an unfinished copy of a data set; call the same `vidnas data cache` again")
    class_folders = [entry for entry in _visible(root) if entry.is_dir()]
    if not class_folders:
        raise VidnasError(f"{folder}: no class folders in it; put the videos of each class into a folder of its own")
    names = tuple(classes) if classes is not None else tuple(entry.name for entry in class_folders)
    samples: list[Sample] = []
    passed_over: Counter[str] = Counter(p.suffix for p in _visible(root) if p.is_file())
    for entry in class_folders:
        found = []
        for file in _files(entry, root):
            if file.suffix.lower() in SUFFIXES:
                found.append(file)
            else:
                passed_over[file.suffix] += 1
        if not found and classes is None:
            raise VidnasError(f"{entry}: no video in this class folder; add some or remove the folder")
        if found and entry.name not in names:
            raise VidnasError(f"{entry}: class {entry.name!r} is not one of the {len(names)} known classes")
        samples += [Sample(file, names.index(entry.name)) for file in found]
    if not samples:
        raise VidnasError(f"{folder}: no video in it")
    notices: tuple[str, ...] = ()
    if passed_over:
        kinds = ", ".join(sorted(suffix or "no suffix" for suffix in passed_over))
        notices = (f"{folder}: {passed_over.total()} files passed over: not a video in a class folder ({kinds})",)
    return VideoList(root, tuple(samples), names, notices)


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _files(folder: Path, root: Path) -> Iterator[Path]:
    """Files below a class folder, sorted."""
    if folder.is_symlink():
        raise VidnasError(f"{folder}: a link in place of a folder; move the videos there or list them in a CSV")
    for entry in _visible(folder):
        if entry.is_dir():
            yield from _files(entry, root)
        else:
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise VidnasError(f"{entry}: a link that leads out of {root}; copy the file there")
            yield entry


def _read_csv(file: Path, classes: Sequence[str] | None) -> VideoList:
    rows, notices = read_rows(file)
    root = file.parent.resolve()
    names, labels = classify(file, rows, classes)
    checked_folders: set[Path] = set()
    samples: dict[Path, Sample] = {}
    lines: dict[Path, int] = {}
    missing: list[str] = []
    repeats = 0
    for row, label in zip(rows, labels, strict=True):
        where = f"{file}, line {row.line}"
        path = _inside(root, row.path, where, checked_folders)
        if path not in samples:
            samples[path], lines[path] = Sample(path, label, row.group), row.line
            if not path.exists():
                missing.append(row.path)
        elif samples[path].label != label:
            raise VidnasError(f"{where}: {row.path} has another label in line {lines[path]}; keep one of the two")
        else:
            repeats += 1
    if len(missing) == len(samples):
        raise VidnasError(f"{file}: none of its files is there, e.g. {root / missing[0]}; paths start at {root}")
    if missing:
        notices.append(f"{file}: {len(missing)} of {len(samples)} files are not there, e.g. {missing[0]}")
    if stale := stale_notice(root, [path.relative_to(root).as_posix() for path in samples], _videos_in):
        notices.append(stale)
    if repeats:
        notices.append(f"{file}: {repeats} repeated lines passed over")
    return VideoList(root, tuple(samples.values()), names, tuple(notices))


def _videos_in(folder: Path) -> list[str]:
    """Paths of all videos of a data set, from its folder."""
    lists = load_dataset(folder)
    videos = (*lists.train.samples, *(lists.test.samples if lists.test else ()))
    return [sample.path.relative_to(folder.resolve()).as_posix() for sample in videos]


def _inside(root: Path, text: str, where: str, checked_folders: set[Path]) -> Path:
    """The absolute path of a line; `checked_folders` remembers folders known to lie under the root."""
    relative = PurePosixPath(text)
    if relative.is_absolute() or ".." in relative.parts:
        raise VidnasError(f"{where}: {text} leads out of {root}; write paths relative to the folder of the list")
    path = root / relative
    if path.parent not in checked_folders:
        if not path.parent.resolve().is_relative_to(root):
            raise VidnasError(f"{where}: {text} follows a link out of {root}; copy the files there")
        checked_folders.add(path.parent)
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise VidnasError(f"{where}: {text} is a link out of {root}; copy the file there")
    return path


def _with_groups(videos: VideoList, expression: str) -> VideoList:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise VidnasError(f"group expression {expression!r}: {error}") from error
    if not pattern.groups:
        raise VidnasError(f"group expression {expression!r}: put the part that names the group in parentheses")
    samples, unmatched = [], []
    for sample in videos.samples:
        match = pattern.search(videos.relative(sample))
        if match is None or not match[1]:
            unmatched.append(videos.relative(sample))
        else:
            samples.append(replace(sample, group=match[1]))
    if unmatched:
        raise VidnasError(
            f"group expression {expression!r}: no group in {len(unmatched)} of {len(videos)} paths, e.g. {unmatched[0]}"
        )
    return replace(videos, samples=tuple(samples))


def save_list(videos: VideoList, file: Path) -> None:
    """Write a CSV from which `load_list` reads an equal list.

    Labels are written as names if those sort into the classes, otherwise as numbers with the names in
    `classes.txt` beside the file.

    Raises:
        VidnasError: the file would lie where its paths would have to lead upwards, or beside other class names.
    """
    folder = file.parent.resolve()
    if not videos.root.is_relative_to(folder):
        raise VidnasError(f"{file}: a list does not reach out of its folder; write it into {videos.root} or above")
    used = sorted({videos.classes[label] for label in videos.labels})
    own = read_classes(folder / "classes.txt")
    named = tuple(used) == videos.classes and not any(name.isdecimal() for name in used)
    if own is not None and own != videos.classes:
        raise VidnasError(f"{folder / 'classes.txt'}: names other classes than {file.name} has; write it elsewhere")
    if own is None and not named:
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in videos.classes))
    grouped = any(sample.group is not None for sample in videos.samples)
    rows = [["path", "label", "group"][: 2 + grouped]]
    for sample in videos.samples:
        path = sample.path.relative_to(folder).as_posix()
        label = videos.classes[sample.label] if named else str(sample.label)
        rows.append([path, label, sample.group or ""][: 2 + grouped])
    write_rows(file, rows)
