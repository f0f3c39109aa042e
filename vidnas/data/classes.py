"""Class names and labels of the rows of a list."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.data.entries import check_class_name
from vidnas.data.rows import Row

# What pandas and others write where a value is missing.
_MISSING = frozenset({"nan", "none", "null", "na", "n/a", "<na>", "nat", "#n/a", "#na"})
_NO_LABEL = re.compile(r"[+-]\d+|[+-]?(\d+\.\d*|\.\d+|\d+(?=e))(e[+-]?\d+)?|[+-]?inf", re.IGNORECASE)


@dataclass(frozen=True)
class KnownClasses:
    """Classes that the labels of another list are mapped to.

    Attributes:
        names: in the order of the labels.
        origin: the list or network that they come from, as a message names it.
        numbered: whether labels were numbers there, which count through `names`.
    """

    names: tuple[str, ...]
    origin: str
    numbered: bool = False

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
        labels: of each row.
        numbered: whether the rows have numbers.
        notices: what the user should know.
    """

    classes: tuple[str, ...]
    labels: tuple[int, ...]
    numbered: bool
    notices: tuple[str, ...] = ()


def classify(file: Path, rows: Sequence[Row], known: KnownClasses | None) -> Labels:
    """Class names, and the label of each row as their index.

    Labels are all numbers from 0, named by `classes.txt` beside the list if there is one, or all names.

    Args:
        file: the list.
        rows: its rows.
        known: the classes to map to; None takes those of `classes.txt`, or the names found, sorted.

    Raises:
        VidnasError: numbers among names, numbers that nothing gives a meaning, numbers that seem to count from 1, a
            number too large, a name that is not a class, a missing value.
    """
    own = read_classes(file.parent / "classes.txt")
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
        names, notices = _named_by_file(file, rows, own)
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
    return Labels(classes, tuple(index[name] for name in names), numbered, notices)


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


def _named_by_file(file: Path, rows: Sequence[Row], own: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Names that `classes.txt` gives to numbers, and a line where these may count from 1."""
    numbers = [int(row.label) for row in rows]
    highest = rows[numbers.index(max(numbers))]
    from_one = min(numbers) == 1
    if int(highest.label) >= len(own):
        hint = "; they seem to count from 1: subtract 1 from each" if from_one else ""
        raise VidnasError(
            f"{file}, line {highest.line}: label {highest.label} of {len(own)} classes in classes.txt; labels count "
            f"from 0{hint}"
        )
    notices: tuple[str, ...] = ()
    if from_one:
        notices = (
            f"{file}: no label is 0, which is {own[0]!r} in classes.txt; if labels count from 1, subtract 1 from each",
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
            f"{file}: labels count from 1, and they must from 0; subtract 1 from each, or write class names in their "
            "place"
        )
    highest = rows[numbers.index(max(numbers))]
    if int(highest.label) >= len(rows):
        raise VidnasError(
            f"{file}, line {highest.line}: label {highest.label} in a list of {len(rows)} videos; labels count from "
            "0 without gaps unless classes.txt names the classes"
        )
    return tuple(str(number) for number in range(int(highest.label) + 1))


def read_classes(file: Path) -> tuple[str, ...] | None:
    """Class names in the order of the labels, one per line; None without the file."""
    if not file.is_file():
        return None
    try:
        names = tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise VidnasError(f"{file}: cannot be read as class names, one per line") from error
    for number, name in enumerate(names, 1):
        if not name:
            raise VidnasError(f"{file}, line {number}: no class name; write one per line, in the order of the labels")
        if name in names[: number - 1]:
            raise VidnasError(f"{file}, line {number}: class {name!r} for the second time; rename or remove it")
    return names or None
