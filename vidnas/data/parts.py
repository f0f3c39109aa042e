"""Which lists or folders of a data set are for training and for testing, whatever the spelling of their names."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.data.entries import FILE, FOLDER, is_video_name, kind_of, visible

_WORDS = {
    "train": "train|training|trn",
    "test": "tests?|testing|tst",
    "val": "val|valid|validation|validate|dev|devel|development|eval|evaluation",
}
_PATTERNS = {
    part: re.compile(
        rf"((videos?|data|set|split|rgb|depth|flow|frames|clips)[\W_]*)?({words})[\W_]*(set|lists?|data|split|videos?|files?|labels?|annotations?)?"
        # Possessive: digits fall into one number in one way, so that a long number takes no time.
        r"([\W_]*v?\d++)*+"
    )
    for part, words in _WORDS.items()
}
_MEND = "write train.csv and test.csv, or rename or move folders, so that one reading is left"


@dataclass(frozen=True)
class Parts:
    """Where a data set's lists are.

    Attributes:
        train: a CSV file or a folder of class folders.
        test: the same; None where there is none.
        train_notices: what the user should know about the training list, or what is passed over.
        test_notices: the same of the test list.
    """

    train: Path
    test: Path | None
    train_notices: tuple[str, ...]
    test_notices: tuple[str, ...]


def part_of(name: str) -> str | None:
    """`train`, `test` or `val`, if a file's stem or a folder's name means one of them."""
    return next((part for part, pattern in _PATTERNS.items() if pattern.fullmatch(name.casefold())), None)


def find_parts(folder: Path) -> Parts | None:
    """The lists of a folder, else its folders of training and test videos; None for one of class folders.

    Validation stands in for a training or a test list that is not there, and is passed over beside both.

    Raises:
        VidnasError: two candidates for one part, a test list without a training list, folders that may be parts or
            classes.
    """
    entries = {entry: kind_of(entry) for entry in visible(folder)}
    csv = [entry for entry, kind in entries.items() if kind == FILE and entry.suffix.casefold() == ".csv"]
    folders = [entry for entry, kind in entries.items() if kind == FOLDER]
    lists = _by_part(csv)
    split = {part: found for part, found in _by_part(folders).items() if any(map(_is_taken, found))}
    if "train" in lists or {"val", "test"} <= set(lists):
        unread = [] if "test" in lists else [path for path in split.get("test", []) if _has_folders(path)]
        return _choose(folder, lists, unread)
    of_classes = {part for part, found in split.items() if any(map(_has_folders, found))}
    if "train" in of_classes or {"val", "test"} <= of_classes:
        _check_rivals(folder, split, folders)
        return _choose(folder, split, [path for found in lists.values() for path in found])
    if "test" in lists:
        name = lists["test"][0].name
        raise VidnasError(f"{folder}: {name} without train.csv; give the file itself, or add train.csv")
    if split:
        _check_classes(folder, split, folders)
    return None


def find_part(folder: Path, part: str) -> Path | None:
    """The CSV file of a part in a folder, if there is one."""
    found = _by_part([entry for entry in visible(folder) if kind_of(entry) == FILE]) if folder.is_dir() else {}
    lists = [path for path in found.get(part, []) if path.suffix.casefold() == ".csv"]
    return lists[0] if lists else None


def _by_part(paths: Sequence[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        part = part_of(path.stem if path.suffix.casefold() == ".csv" else path.name)
        if part is not None:
            found.setdefault(part, []).append(path)
    return found


def _choose(folder: Path, found: Mapping[str, Sequence[Path]], of_other_kind: Sequence[Path]) -> Parts:
    """The one candidate of each part; `of_other_kind` are folders beside lists, or lists beside folders."""
    train_part, test_part = (part if part in found else "val" for part in ("train", "test"))
    chosen: dict[str, Path | None] = {}
    for part in (train_part, test_part):
        candidates = found.get(part, [])
        if len(candidates) > 1:
            names = " and ".join(path.name for path in candidates)
            raise VidnasError(
                f"{folder}: {names} may all be the {part} part; leave one, or give the lists by --data and --test"
            )
        chosen[part] = candidates[0] if candidates else None
    train, test = chosen[train_part], chosen[test_part]
    assert train is not None
    told = tuple(_spelt(path, what) for path, what in ((train, "training"), (test, "test")) if path is not None)
    unread = found.get("val", []) if (train_part, test_part) == ("train", "test") else []
    passed_over = [f"{path}: passed over; only train and test are read" for path in unread]
    passed_over += [f"{path}: passed over beside {train.name}; --test names it" for path in of_other_kind]
    return Parts(train, test, (*told[0], *passed_over), told[1] if test is not None else ())


def _spelt(path: Path, what: str) -> tuple[str, ...]:
    """A line that says how a name was understood, if it is not the plain one."""
    plain = "train" if what == "training" else "test"
    return () if path.name in (plain, f"{plain}.csv") else (f"{path}: read as the {what} list",)


def _check_rivals(folder: Path, split: Mapping[str, Sequence[Path]], folders: Sequence[Path]) -> None:
    """Refuse a folder for training beside others that might be classes like it."""
    known = {path for found in split.values() for path in found}
    rivals = [path for path in folders if path not in known and _has_video(path)]
    train = split["train" if "train" in split else "val"][0]
    inner = {entry.name for entry in visible(train)}
    alike = [path for path in rivals if not inner.isdisjoint(entry.name for entry in visible(path))]
    # Beside both parts, only what is divided like them may be meant as a class.
    strange = alike if len(split) > 1 else rivals
    if strange:
        raise VidnasError(
            f"{folder}: {train.name} may be the training part, or a class beside {strange[0].name}; {_MEND}"
        )


def _check_classes(folder: Path, split: Mapping[str, Sequence[Path]], folders: Sequence[Path]) -> None:
    """Refuse folders named like parts as classes, all but one called train beside other classes."""
    named = [path for found in split.values() for path in found]
    names = ", ".join(path.name for path in named)
    if not any(path not in named and _has_video(path) for path in folders):
        why = "hold no class folders" if "train" in split else "without a training part"
        raise VidnasError(f"{folder}: {names} {why}; put a folder per class into train and test, or write CSV lists")
    if len(named) > 1 or named[0].name.casefold() != "train":
        raise VidnasError(f"{folder}: {names} may be parts of the data set or classes beside others; {_MEND}")


def _is_taken(folder: Path) -> bool:
    return _has_folders(folder) or _has_video(folder)


def _has_folders(folder: Path) -> bool:
    return any(kind_of(entry) == FOLDER for entry in visible(folder))


def _has_video(folder: Path) -> bool:
    return any(is_video_name(name) for _, _, names in os.walk(folder) for name in names)
