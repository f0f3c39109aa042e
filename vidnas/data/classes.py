"""Class names and labels of the rows of a list."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from vidnas.data.rows import Row
from vidnas.errors import VidnasError


def classify(file: Path, rows: Sequence[Row], classes: Sequence[str] | None) -> tuple[tuple[str, ...], list[int]]:
    """Class names, and the label of each row as their index.

    Labels are all numbers from 0, named by `classes.txt` beside the list if there is one, or all names.

    Args:
        file: the list.
        rows: its rows.
        classes: the classes to map to; None takes those of `classes.txt`, or the names found, sorted.

    Raises:
        VidnasError: numbers among names, a number too large, a name that is not a class.
    """
    numbered = rows[0].label.isdecimal()
    for row in rows:
        if row.label.isdecimal() != numbered:
            others = "numbers" if numbered else "names"
            raise VidnasError(
                f"{file}, line {row.line}: label {row.label!r} among {others}; write class names only, or numbers "
                "from 0 only with the names in classes.txt"
            )
    own = read_classes(file.parent / "classes.txt")
    if numbered:
        numbers = own or classes or _count_classes(file, rows)
        for row in rows:
            if int(row.label) >= len(numbers):
                raise VidnasError(
                    f"{file}, line {row.line}: label {row.label} of {len(numbers)} classes; labels count from 0"
                )
        names = [numbers[int(row.label)] for row in rows]
    else:
        numbers = own or sorted({row.label for row in rows})
        names = [row.label for row in rows]
    known = tuple(classes or numbers)
    index = {name: label for label, name in enumerate(known)}
    for row, name in zip(rows, names, strict=True):
        if name not in index:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise VidnasError(
                f"{file}, line {row.line}: class {name!r} is not one of the {len(known)} known classes{hint}"
            )
    return known, [index[name] for name in names]


def _count_classes(file: Path, rows: Sequence[Row]) -> tuple[str, ...]:
    """Names for numbered classes that have none."""
    highest = max(rows, key=lambda row: int(row.label))
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
