"""Class names and labels of the rows of a list."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.data.entries import check_class_name
from vidnas.data.rows import Row, read_text
from vidnas.data.video_list import SEPARATOR, Label

# What pandas and others write where a value is missing.
_MISSING = frozenset({"nan", "none", "null", "na", "n/a", "<na>", "nat", "#n/a", "#na"})
# What UCF101 calls the file, with lines as `1 ApplyEyeMakeup`.
_UCF101 = "classInd.txt"
_NO_LABEL = re.compile(r"[+-]\d+|[+-]?(\d+\.\d*|\.\d+|\d+(?=e))(e[+-]?\d+)?|[+-]?inf", re.IGNORECASE)


@dataclass(frozen=True)
class KnownClasses:
    """Classes that the labels of another list are mapped to.

    Attributes:
        names: in the order of the labels.
        origin: the list or network that they come from, as a message names it.
        numbered: whether labels were numbers there, which count through `names`.
        multi_label: whether a video may have several of them.
    """

    names: tuple[str, ...]
    origin: str
    numbered: bool = False
    multi_label: bool = False

    def number(self, label: int) -> str | None:
        """The name that a number stands for, or None where nothing says so."""
        if self.numbered:
            return self.names[label] if label < len(self.names) else None
        # Classes may themselves be called by numbers, in whatever order.
        called = [name for name in self.names if name.isdecimal() and int(name) == label]
        return called[0] if len(called) == 1 else None

    @property
    def are_numbers(self) -> bool:
        """Whether numbers mean something among these classes."""
        return self.numbered or all(name.isdecimal() for name in self.names)

    @property
    def has_zero(self) -> bool:
        """Whether counting starts at 0 in them."""
        return self.number(0) is not None


@dataclass(frozen=True)
class Labels:
    """What `classify` finds.

    Attributes:
        classes: names in the order of the labels.
        labels: of each row; in a multi-label list all of a row, in order.
        numbered: whether the rows have numbers.
        notices: what the user should know.
        multi_label: whether a row may have several.
    """

    classes: tuple[str, ...]
    labels: tuple[Label, ...]
    numbered: bool
    notices: tuple[str, ...] = ()
    multi_label: bool = False


def classify(file: Path, rows: Sequence[Row], known: KnownClasses | None) -> Labels:
    """Class names, and the label of each row as their index, or all labels of each row.

    Rows have one label each, or any number, separated by `;`, where one of them has a `;` that is in no name of a
    class; a field of `;` alone has none.

    Args:
        file: the list.
        rows: its rows.
        known: the classes to map to; None takes those of `classes.txt`, or the names found, sorted.

    Raises:
        VidnasError: as `_classify`; a list without any label; a class with a `;` in its name in a multi-label list.
    """
    whole = {*(_class_file(file.parent)[1] or ()), *(known.names if known else ())}
    if not any(SEPARATOR in row.label and row.label not in whole for row in rows):
        return _classify(file, rows, known)
    pieces = [[label for piece in row.label.split(SEPARATOR) if (label := piece.strip())] for row in rows]
    single = [replace(row, label=label) for row, own in zip(rows, pieces, strict=True) for label in own]
    if not single:
        raise VidnasError(f"{file}: no video has a label; write the classes of each, as `a.mp4,run;jump`")
    found = _classify(file, single, known)
    for name in found.classes:
        if SEPARATOR in name:
            raise VidnasError(f"{file}: class {name!r} has a {SEPARATOR!r} in it, which separates labels; rename it")
    each = iter([label for label in found.labels if isinstance(label, int)])
    labels = tuple(tuple(sorted({next(each) for _ in own})) for own in pieces)
    return replace(found, labels=labels, multi_label=True)


def _classify(file: Path, rows: Sequence[Row], known: KnownClasses | None) -> Labels:
    """Class names, and the label of each row as their index.

    Labels are all numbers from 0, named by `classes.txt` beside the list if there is one, or all names. Its lines are
    names in this order, or numbers from 0 or 1 with their names, which labels then follow.

    Args:
        file: the list.
        rows: its rows.
        known: the classes to map to; None takes those of `classes.txt`, or the names found, sorted.

    Raises:
        VidnasError: numbers among names, numbers that nothing gives a meaning, numbers that seem to count from 1, a
            number too large, a name that is not a class, a missing value.
    """
    source, written = _class_file(file.parent)
    own, first = _as_meant(written, [row.label for row in rows])
    names_allowed = {*(own or ()), *(known.names if known else ())}
    _check_values(file, rows, names_allowed)
    numbered = rows[0].label.isdecimal()
    for row in rows:
        if row.label.isdecimal() != numbered:
            others = "numbers" if numbered else "names"
            raise VidnasError(
                f"{file}, line {row.line}: label {row.label!r} among {others}; write class names only, or numbers "
                "from 0 only with the names in classes.txt"
            )
    notices: tuple[str, ...] = ()
    if not numbered:
        names = [row.label for row in rows]
        classes = known.names if known else own or tuple(sorted(set(names)))
    elif own is not None:
        names, notices = _named_by_file(file, rows, own, first, source)
        classes = known.names if known else own
    elif known is not None:
        names, classes = _named_by_number(file, rows, known), known.names
    else:
        classes = _count_classes(file, rows)
        names = [classes[int(row.label)] for row in rows]
    for name in classes:
        check_class_name(name, str(file))
    index = {name: label for label, name in enumerate(classes)}
    for row, name in zip(rows, names, strict=True):
        if name not in index:
            raise VidnasError(f"{file}, line {row.line}: {_unknown(name, classes, known)}")
    # Numbers that do not count from 0 mean nothing beside another list.
    return Labels(classes, tuple(index[name] for name in names), numbered and not first, notices)


def is_name(label: str) -> bool:
    """Whether a label in a list can only be meant as a name."""
    return not (label.isdecimal() or label.casefold() in _MISSING or _NO_LABEL.fullmatch(label))


def _check_values(file: Path, rows: Sequence[Row], allowed: set[str]) -> None:
    for row in rows:
        if row.label in allowed:
            continue
        if row.label.casefold() in _MISSING:
            raise VidnasError(
                f"{file}, line {row.line}: label {row.label!r} reads as a missing value; write the class, take the "
                "line out, or, if a class is called so, write all class names into classes.txt"
            )
        if _NO_LABEL.fullmatch(row.label):
            raise VidnasError(
                f"{file}, line {row.line}: label {row.label!r} is no class; numbers are whole ones from 0 (pandas adds "
                "`.0` to a column in which values are missing)"
            )


def _named_by_file(
    file: Path, rows: Sequence[Row], own: Sequence[str], first: int, source: str
) -> tuple[list[str], tuple[str, ...]]:
    """Names that `classes.txt` gives to numbers, which count from `first`, and a line where these may count from 1."""
    numbers = [int(row.label) - first for row in rows]
    lowest, highest = (rows[numbers.index(extreme(numbers))] for extreme in (min, max))
    if min(numbers) < 0:
        raise VidnasError(
            f"{file}, line {lowest.line}: label {lowest.label}, and classes count from {first} in {source}"
        )
    from_one = min(numbers) == 1 and not first
    if max(numbers) >= len(own):
        hint = "; they seem to count from 1: subtract 1 from each, or number the names, as `1 run`" if from_one else ""
        raise VidnasError(
            f"{file}, line {highest.line}: label {highest.label} of {len(own)} classes in {source}; labels count "
            f"from {first}{hint}"
        )
    notices: tuple[str, ...] = ()
    if from_one:
        notices = (
            f"{file}: no label is 0, which is {own[0]!r} in {source}; if labels count from 1, subtract 1 from each",
        )
    return [own[number] for number in numbers], notices


def _named_by_number(file: Path, rows: Sequence[Row], known: KnownClasses) -> list[str]:
    """Names that the known classes give to numbers."""
    mend = f"write classes.txt beside {file.name}, with one name per line in the order of the numbers"
    if not known.are_numbers:
        first = ", ".join(known.names[:3]) + (", ..." if len(known.names) > 3 else "")
        raise VidnasError(
            f"{file}, line {rows[0].line}: labels are numbers here and names in {known.origin} ({first}), and nothing "
            f"says which is which; {mend}"
        )
    numbers = [int(row.label) for row in rows]
    if known.has_zero and min(numbers) == 1:
        raise VidnasError(
            f"{file}: no label is 0, though labels count from 0 in {known.origin}; if they count from 1 here, "
            f"subtract 1 from each, otherwise {mend}"
        )
    names = []
    for row, number in zip(rows, numbers, strict=True):
        name = known.number(number)
        if name is None:
            hint = "; labels count from 0" if known.has_zero else ""
            raise VidnasError(
                f"{file}, line {row.line}: label {row.label} of {len(known.names)} classes of {known.origin}{hint}"
            )
        names.append(name)
    return names


def _unknown(name: str, classes: Sequence[str], known: KnownClasses | None) -> str:
    near = difflib.get_close_matches(name, classes, n=1)
    if near:
        hint = f"; did you mean {near[0]!r}?"
    elif known is not None and known.numbered and all(other.isdecimal() for other in classes):
        hint = (
            f"; labels are names here and numbers in {known.origin}: write classes.txt beside it, with one name per "
            "line in the order of the numbers"
        )
    else:
        hint = ""
    return f"class {name!r} is not one of the {len(classes)} known classes{hint}"


def _count_classes(file: Path, rows: Sequence[Row]) -> tuple[str, ...]:
    """Names for numbered classes that have none."""
    numbers = [int(row.label) for row in rows]
    if min(numbers) == 1:
        raise VidnasError(
            f"{file}: labels count from 1, and they must from 0; subtract 1 from each, write class names in their "
            "place, or name them in classes.txt, with lines as `1 run`"
        )
    highest = rows[numbers.index(max(numbers))]
    if int(highest.label) >= len(rows):
        raise VidnasError(
            f"{file}, line {highest.line}: label {highest.label} in a list of {len(rows)} videos; labels count from "
            "0 without gaps unless classes.txt names the classes"
        )
    return tuple(str(number) for number in range(int(highest.label) + 1))


def spelling_notice(classes: Sequence[str]) -> str | None:
    """One line where names of classes differ in nothing but case, or in how accents are encoded."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    # In ASCII, as two ways to encode an accent look the same.
    pairs = [" and ".join(map(ascii, names)) for names in alike.values() if len(names) > 1]
    if not pairs:
        return None
    more = f", and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return (
        f"{', '.join(pairs[:3])}{more} differ only in case or in how accents are encoded, and count as different "
        "classes; if they are not, give them one name"
    )


def counted_names(names: Sequence[str]) -> tuple[int, tuple[str, ...]] | None:
    """What lines as `1 run`, `2 walk` count from, 0 or 1, and the names in them; None for other lines."""
    fields = [name.split(maxsplit=1) for name in names]
    if not all(len(field) == 2 and field[0].isdecimal() for field in fields):
        return None
    first = int(fields[0][0])
    in_order = [int(number) for number, _ in fields] == list(range(first, first + len(fields)))
    found = tuple(name for _, name in fields)
    return (first, found) if first in (0, 1) and in_order and len(set(found)) == len(found) else None


def _class_file(folder: Path) -> tuple[str, tuple[str, ...] | None]:
    """The name and the lines of the file that names the classes of lists in a folder; None without one."""
    names = read_classes(folder / "classes.txt")
    if names is None and (theirs := read_classes(folder / _UCF101)) and counted_names(theirs):
        return _UCF101, theirs
    return "classes.txt", names


def _as_meant(names: tuple[str, ...] | None, labels: Sequence[str]) -> tuple[tuple[str, ...] | None, int]:
    """Names of classes, without numbers before them where labels mean these or lack them; what numbers count from."""
    counted = counted_names(names) if names else None
    if names is None or counted is None or set(labels) <= set(names):
        return names, 0
    return counted[1], counted[0]


def read_classes(file: Path) -> tuple[str, ...] | None:
    """Class names in the order of the labels, one per line; None without the file."""
    if not file.is_file():
        return None
    names = tuple(line.strip() for line in read_text(file, "class names, one per line").rstrip().splitlines())
    for number, name in enumerate(names, 1):
        if not name:
            raise VidnasError(f"{file}, line {number}: no class name; write one per line, in the order of the labels")
        if name in names[: number - 1]:
            raise VidnasError(f"{file}, line {number}: class {name!r} for the second time; rename or remove it")
    return names or None
