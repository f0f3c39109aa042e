"""The lines of a list of videos as text: separator, header, quotes."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidnas.errors import VidnasError

COLUMNS = ("path", "label", "group")


@dataclass(frozen=True)
class Row:
    """One line of a list; `group` is None where there is no such column or nothing in it."""

    line: int
    path: str
    label: str
    group: str | None


def read_rows(file: Path) -> tuple[list[Row], list[str]]:
    """Read a list separated by commas, tabs or blanks (whichever of them, in this order, its first line holds).

    A first line with the fields `path` and `label` is a header; without one the columns are path, label, group.
    Fields with commas or tabs are quoted; in a list separated by blanks the path is the first column and may
    itself hold blanks.

    Returns:
        The rows, and a notice for columns passed over.

    Raises:
        VidnasError: not a text file, no line, a header without path or label, a line without path or label.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise VidnasError(f"{file}: cannot be read as a list of videos ({reason})") from error
    lines = list(_split(file, text))
    if not lines:
        raise VidnasError(f"{file}: the list is empty; write one line with path and label per video")
    notices = []
    columns: tuple[str, ...] = COLUMNS
    head = tuple(field.casefold() for field in lines[0][1])
    if "path" in head or "label" in head:
        if not {"path", "label"} <= set(head):
            raise VidnasError(
                f"{file}, line {lines[0][0]}: the header must name the columns path and label, it names "
                f"{', '.join(head)}"
            )
        columns, lines = head, lines[1:]
        others = [name or "(no name)" for name in head if name not in COLUMNS]
        if others:
            notices.append(f"{file}: columns passed over: {', '.join(others)}")
    elif len(lines[0][1]) > len(COLUMNS):
        notices.append(f"{file}: {len(lines[0][1]) - len(COLUMNS)} columns after path, label and group passed over")
    if not lines:
        raise VidnasError(f"{file}: nothing after the header; write one line with path and label per video")
    return [_row(file, line, fields, columns) for line, fields in lines], notices


def _row(file: Path, line: int, fields: list[str], columns: tuple[str, ...]) -> Row:
    named = dict(zip(columns, fields, strict=False))
    for column in ("path", "label"):
        if not named.get(column):
            raise VidnasError(f"{file}, line {line}: no {column}; a line is path and label, e.g. `a.mp4,0`")
    return Row(line, named["path"], named["label"], named.get("group") or None)


def _split(file: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and stripped fields of the lines that are not blank."""
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    separator = next((mark for mark in "\t," if mark in first), None)
    if separator is None:
        # Only the path may hold blanks, so fields are counted from the end.
        count = len(first.split()) if {"path", "label"} <= set(first.casefold().split()) else 2
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line.rsplit(maxsplit=count - 1)
        return
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield reader.line_num, [field.strip() for field in fields]
    except csv.Error as error:
        raise VidnasError(f"{file}, line {reader.line_num}: {error}") from error


def write_rows(file: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a list that `read_rows` reads back, its header first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(file, text.getvalue())


def write_text(file: Path, text: str) -> None:
    """Write a file that is either the old one or the new one, whatever happens on the way."""
    unfinished = file.with_name(file.name + ".part")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
    except UnicodeEncodeError as error:
        raise VidnasError(f"{file}: a file name that is not UTF-8 cannot be written into a list; rename it") from error
    unfinished.replace(file)
