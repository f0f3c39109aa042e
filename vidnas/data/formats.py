"""Lists of labelled videos, from folders or CSV files.

No path leaves the folder that a list lives in: not by `..`, not by an absolute path, and by a link only where that is
asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from vidnas.base.errors import VidnasError
from vidnas.base.files import ANOTHER_PLACE, replace_file
from vidnas.data.class_folders import read_class_folders
from vidnas.data.classes import KnownClasses, classify, counted_names, is_name, read_classes, spelling_notice
from vidnas.data.entries import FILE, FOLDER, NOTHING, SUFFIXES, check_names, kind_of, leads_out, real_paths
from vidnas.data.groups import with_groups
from vidnas.data.manifest import check_finished, stale_notice
from vidnas.data.parts import find_parts
from vidnas.data.rows import format_rows, read_rows
from vidnas.data.video_list import SEPARATOR, Sample, VideoList

__all__ = [
    "SUFFIXES",
    "DataLists",
    "KnownClasses",
    "Sample",
    "VideoList",
    "list_texts",
    "load_dataset",
    "load_list",
    "save_list",
]


@dataclass(frozen=True)
class DataLists:
    """The two lists of a data set; `test` is None where the data set has only one."""

    train: VideoList
    test: VideoList | None


def load_dataset(path: str | Path, *, group_regex: str | None = None, follow_links: bool = False) -> DataLists:
    """Read a data set: `train.csv` and `test.csv`, or `train/` and `test/`, or class folders, or one CSV file.

    Other usual spellings of these names do as well.

    Args:
        path: a folder or a CSV file.
        group_regex: its first match group on the relative path is the group of a video.
        follow_links: also follow links that lead out of the folder of a list.

    Raises:
        VidnasError: a list cannot be used, or a class has no training video.
    """
    path = Path(path)
    parts = find_parts(path) if path.is_dir() else None
    if parts is None:
        lists = DataLists(load_list(path, group_regex=group_regex, follow_links=follow_links), None)
    else:
        if parts.train.is_dir():
            check_finished(path)
        train = load_list(parts.train, group_regex=group_regex, follow_links=follow_links)
        train = replace(train, notices=parts.train_notices + train.notices)
        lists = DataLists(train, None)
        if parts.test is not None:
            known = KnownClasses(train.classes, str(parts.train), train.numbered, train.multi_label)
            test = load_list(parts.test, classes=known, group_regex=group_regex, follow_links=follow_links)
            lists = DataLists(train, replace(test, notices=parts.test_notices + test.notices))
    for label, (name, count) in enumerate(zip(lists.train.classes, lists.train.counts, strict=True)):
        if not count:
            from_one = label == 0 and lists.train.numbered
            hint = ", or subtract 1 from each label if they count from 1" if from_one else ""
            raise VidnasError(f"{path}: class {name!r} has no training video; add some or take the class out{hint}")
    if spelt := spelling_notice(lists.train.classes):
        lists = replace(lists, train=replace(lists.train, notices=(*lists.train.notices, f"{path}: {spelt}")))
    return lists


def load_list(
    path: str | Path,
    *,
    classes: KnownClasses | None = None,
    group_regex: str | None = None,
    follow_links: bool = False,
) -> VideoList:
    """Read one list: a folder with one folder per class, or a CSV file.

    A CSV has a path (relative to its folder) and a label per line, separated by comma, tab or blank, with or
    without a header (`path,label,group`; without one the columns have this order). Labels are either all numbers
    from 0, named by `classes.txt` beside the file if there is one, or all names, sorted into classes. Where any label
    has a `;` in it the list is a multi-label one: `run;jump` is of two classes, `run;` of one, and `;` of none.

    Args:
        path: the folder or the file.
        classes: the classes to map labels to, as of a training list; labels outside them are errors.
        group_regex: its first match group on the relative path is the group of a video.
        follow_links: also follow links that lead out of the folder.

    Raises:
        VidnasError: an unfinished copy (`vidnas data cache`), nothing usable, a bad line, an unknown class, numbers
            that nothing gives a meaning, one path with two labels, several labels per video where `classes` has one
            (or the reverse), a path that leaves the folder, names that are not UTF-8, a group expression that fails.
    """
    path = Path(path)
    check_names(path.parent, [str(path)])
    kind = kind_of(path)
    if kind == FOLDER:
        videos = read_class_folders(path, classes, follow_links)
    elif kind == FILE:
        videos = _read_csv(path, classes, follow_links)
    elif kind == NOTHING:
        raise VidnasError(f"{path}: no such file or folder; check the path")
    else:
        raise VidnasError(f"{path}: is a {kind}; give a folder or a CSV file")
    if classes is not None:
        _check_same_task(path, videos, classes)
    _check_one_label(path, videos)
    if len(videos.classes) < 2:
        raise VidnasError(f"{path}: only one class ({videos.classes[0]!r}); classification needs at least two")
    return videos if group_regex is None else with_groups(videos, group_regex)


def _check_same_task(path: Path, videos: VideoList, known: KnownClasses) -> None:
    """Refuse several labels per video beside a list or network that has one, and the reverse."""
    if videos.multi_label and not known.multi_label:
        raise VidnasError(
            f"{path}: has several labels per video (a `;` in a label), and {known.origin} one; leave one label in each "
            "line, or use lists of several labels in training too"
        )
    if known.multi_label and not videos.multi_label:
        raise VidnasError(
            f"{path}: has one label per video, and {known.origin} several; write all labels of each video in a CSV, as "
            "`a.mp4,run;jump`, and `run;` where one is all"
        )


def _check_one_label(path: Path, videos: VideoList) -> None:
    """Refuse one file under two names with two labels."""
    first: dict[str, Sample] = {}
    for sample, real in zip(videos.samples, real_paths(sample.path for sample in videos.samples), strict=True):
        other = first.setdefault(real, sample)
        if other.label != sample.label:
            names = " and ".join(f"{videos.relative(s)} ({videos.label_text(s.label)})" for s in (other, sample))
            raise VidnasError(f"{path}: one file under two names with two labels: {names}; keep one of the two")


def _read_csv(file: Path, known: KnownClasses | None, follow_links: bool) -> VideoList:
    rows, notices = read_rows(file)
    root = file.parent.resolve()
    found = classify(file, rows, known)
    notices += found.notices
    inside = _Inside(root, follow_links)
    samples: dict[Path, Sample] = {}
    lines: dict[Path, int] = {}
    missing: list[str] = []
    special: list[str] = []
    repeats = 0
    for row, label in zip(rows, found.labels, strict=True):
        where = f"{file}, line {row.line}"
        path = inside.path(row.path, where)
        if path not in lines:
            lines[path] = row.line
            kind = kind_of(path)
            if kind in (FILE, NOTHING):
                samples[path] = Sample(path, label, row.group)
            else:
                special.append(f"{row.path} (line {row.line}) is a {kind}")
            if kind == NOTHING:
                missing.append(row.path)
        elif path in samples and samples[path].label != label:
            all_in_one = f", or write all labels in one line, separated by `{SEPARATOR}`" if found.multi_label else ""
            raise VidnasError(
                f"{where}: {row.path} has another label in line {lines[path]}; keep one of the two{all_in_one}"
            )
        else:
            repeats += 1
    if len(missing) == len(samples):
        what = f"{special[0]}, not a file" if special else f"none of its files is there, e.g. {root / missing[0]}"
        raise VidnasError(f"{file}: {what}; paths start at {root}")
    if missing:
        notices.append(f"{file}: {len(missing)} of {len(samples)} files are not there, e.g. {missing[0]}")
    if special:
        notices.append(f"{file}: {len(special)} lines passed over that name no file: {special[0]}")
    if stale := stale_notice(root, [path.relative_to(root).as_posix() for path in samples], _videos_in):
        notices.append(stale)
    if repeats:
        notices.append(f"{file}: {repeats} repeated lines passed over")
    kept = tuple(samples.values())
    return VideoList(root, kept, found.classes, tuple(notices), found.numbered, found.multi_label)


def _videos_in(folder: Path) -> list[str]:
    """Paths of all videos of a data set, from its folder; only names are read, so links do no harm."""
    lists = load_dataset(folder, follow_links=True)
    videos = (*lists.train.samples, *(lists.test.samples if lists.test else ()))
    return [sample.path.relative_to(folder.resolve()).as_posix() for sample in videos]


class _Inside:
    """Makes paths of lines absolute, and refuses those that leave the folder of the list.

    Args:
        root: that folder, without links.
        follow_links: links may lead anywhere.
    """

    def __init__(self, root: Path, follow_links: bool) -> None:
        self.root = root
        self.follow_links = follow_links
        self.checked_folders: set[Path] = set()

    def path(self, text: str, where: str) -> Path:
        """The absolute path of a line."""
        relative = PurePosixPath(text)
        if relative.is_absolute() or ".." in relative.parts:
            raise VidnasError(
                f"{where}: {text} leads out of {self.root}; write paths relative to the folder of the list"
            )
        path = self.root / relative
        if self.follow_links:
            return path
        mend = "--follow-links allows it, or copy what it leads to"
        if path.parent not in self.checked_folders:
            if leads_out(path.parent, self.root):
                raise VidnasError(f"{where}: {text} follows a link out of {self.root}; {mend}")
            self.checked_folders.add(path.parent)
        if path.is_symlink() and leads_out(path, self.root):
            raise VidnasError(f"{where}: {text} is a link out of {self.root}; {mend}")
        return path


def save_list(videos: VideoList, file: Path) -> None:
    """Write a CSV from which `load_list` reads an equal list.

    Labels are written as names if those sort into the classes, otherwise as numbers with the names in
    `classes.txt` beside the file.

    Raises:
        VidnasError: the file would lie where its paths would have to lead upwards, or beside other class names.
    """
    for path, text in list_texts(videos, file).items():
        replace_file(path, text, mend=ANOTHER_PLACE)


def list_texts(videos: VideoList, file: Path) -> dict[Path, str]:
    """What `save_list` writes, by file, without writing it.

    Raises:
        VidnasError: see there.
    """
    folder = file.parent.resolve()
    if not videos.root.is_relative_to(folder):
        raise VidnasError(f"{file}: a list does not reach out of its folder; write it into {videos.root} or above")
    parted = next((name for name in videos.classes if SEPARATOR in name), None)
    if videos.multi_label and parted is not None:
        raise VidnasError(f"{file}: class {parted!r} has a {SEPARATOR!r} in it, which separates labels; rename it")
    used = sorted({videos.classes[label] for sample in videos.samples for label in sample.labels})
    own = read_classes(folder / "classes.txt")
    named = tuple(used) == videos.classes and all(map(is_name, used))
    # A class whose name has the separator in it is told from two classes by classes.txt.
    named = named and not any(SEPARATOR in name for name in used)
    numbers_told = own is not None and counted_names(own) is not None and not named
    if own is not None and (own != videos.classes or numbers_told):
        raise VidnasError(f"{folder / 'classes.txt'}: names other classes than {file.name} has; write it elsewhere")
    texts = {}
    if own is None and not named:
        # Numbers that are parts of names would be taken for those of labels.
        counted = counted_names(videos.classes) is not None
        lines = [f"{label} {name}\n" if counted else f"{name}\n" for label, name in enumerate(videos.classes)]
        texts[folder / "classes.txt"] = "".join(lines)
    grouped = any(sample.group is not None for sample in videos.samples)
    rows = [["path", "label", "group"][: 2 + grouped]]
    for sample in videos.samples:
        path = sample.path.relative_to(folder).as_posix()
        labels = [videos.classes[label] if named else str(label) for label in sample.labels]
        rows.append([path, _joined(labels, multi_label=videos.multi_label), sample.group or ""][: 2 + grouped])
    texts[file] = format_rows(rows)
    return texts


def _joined(labels: Sequence[str], *, multi_label: bool) -> str:
    """The label field of a video; in a multi-label list it always has a separator, by which such a list is known."""
    if not multi_label:
        (label,) = labels
        return label
    return SEPARATOR.join(labels) if len(labels) > 1 else "".join(labels) + SEPARATOR
