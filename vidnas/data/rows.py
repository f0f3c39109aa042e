"""The lines of a list of videos as text: separator, header, quotes."""

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vidnas.base.errors import VidnasError
from vidnas.data.entries import FILE, is_video_name, kind_of
from vidnas.data.header import COLUMNS, Columns, find_columns, plain

Line = tuple[int, list[str]]


@dataclass(frozen=True)
class Row:
    """One line of a list; `group` is None where there is no such column or nothing in it."""

    line: int
    path: str
    label: str
    group: str | None


def read_rows(file: Path) -> tuple[list[Row], list[str]]:
    """Read a list separated by commas, tabs or blanks (whichever of them, in this order, its first line holds).

    A first line with the fields `path` and `label`, or usual other names of these, is a header; without one the
    columns are path, label, group. Fields with commas or tabs are quoted; in a list separated by blanks the path is
    the first column and may itself hold blanks.

    Returns:
        The rows, and notices: how a header was understood, and columns passed over.

    Raises:
        VidnasError: not a text file, no line, a header without path or label, a first line that seems to be a header
            and is not understood, a line without path or label.
    """
    text = read_text(file, "a list of videos")

    def names_video(field: str) -> bool:
        return is_video_name(field) or (bool(field) and kind_of(file.parent / field) == FILE)

    lines = list(_split(file, text, names_video))
    if not lines:
        raise VidnasError(f"{file}: the list is empty; write one line with path and label per video")
    notices = []
    columns = _header(lines, names_video)
    if columns is not None:
        number, head = lines.pop(0)
        if columns.path is None or columns.label is None:
            raise VidnasError(
                f"{file}, line {number}: the header must name the columns path and label, it names {', '.join(head)}"
            )
        notices += [f"{file}: {line}" for line in columns.notices(head)]
    else:
        columns = Columns(0, 1, 2)
        _check_first(file, lines, names_video)
        _check_order(file, lines, names_video)
        if len(lines[0][1]) > len(COLUMNS):
            extra = len(lines[0][1]) - len(COLUMNS)
            notices.append(f"{file}: {extra} columns after path, label and group passed over")
    if not lines:
        raise VidnasError(f"{file}: nothing after the header; write one line with path and label per video")
    if all(len(fields) == 1 and len(PurePosixPath(fields[0]).parts) > 1 for _, fields in lines):
        lines = [(line, [path, PurePosixPath(path).parent.name]) for line, (path,) in lines]
        notices.append(f"{file}: no labels; each video is of the class that its folder is called by")
    return [_row(file, line, fields, columns) for line, fields in lines], notices


def read_text(file: Path, what: str) -> str:
    """The text of a file in UTF-8, as all are.

    Args:
        file: its path.
        what: it is meant to be, for the message.

    Raises:
        VidnasError: it cannot be read, or is in another encoding.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise VidnasError(f"{file}: cannot be read as {what} ({error.strerror})") from error
    # Every other byte of plain UTF-16 is zero.
    halves = content[0:8:2], content[1:8:2]
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or any(half and not any(half) for half in halves):
        raise VidnasError(
            f"{file}: is UTF-16 text; save it as UTF-8 (a spreadsheet: as CSV UTF-8; `iconv -f UTF-16 -t UTF-8`)"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise VidnasError(
            f"{file}, line {line}: cannot be read as {what} (not UTF-8 text); save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _header(lines: Sequence[Line], names_video: Callable[[str], bool]) -> Columns | None:
    """Where the columns are, if the first line is a header that says so."""
    head = lines[0][1]
    columns = find_columns(head)
    complete = columns.path is not None and columns.label is not None
    literal = {"path", "label"} & {plain(field) for field in head}
    return columns if (complete or literal) and not any(map(names_video, head)) else None


def _check_first(file: Path, lines: Sequence[Line], names_video: Callable[[str], bool]) -> None:
    """Refuse a first line without a video where most other lines have one in the same column."""
    number, head = lines[0]
    others = [fields for _, fields in lines[1:]]
    if not others or any(map(names_video, head)):
        return
    for column in range(len(head)):
        videos = sum(column < len(fields) and names_video(fields[column]) for fields in others)
        if 2 * videos > len(others):
            raise VidnasError(
                f"{file}, line {number}: {', '.join(head)}: names no video, as the other lines do; if it is a header, "
                "call its columns path and label, otherwise mend the path"
            )


def _check_order(file: Path, lines: Sequence[Line], names_video: Callable[[str], bool]) -> None:
    """Refuse lines that have the label before the path."""
    turned = [line for line, fields in lines if len(fields) > 1 and names_video(fields[1]) > names_video(fields[0])]
    if 2 * len(turned) > len(lines):
        raise VidnasError(
            f"{file}, line {turned[0]}: the label stands before the path; put the path first, or say so in a first "
            "line with `label` and `path`, separated as the others are"
        )


def _row(file: Path, line: int, fields: list[str], columns: Columns) -> Row:
    def field(column: int | None) -> str:
        return fields[column] if column is not None and column < len(fields) else ""

    for name, column in (("path", columns.path), ("label", columns.label)):
        if not field(column):
            raise VidnasError(f"{file}, line {line}: no {name}; a line is path and label, e.g. `a.mp4,0`")
    return Row(line, field(columns.path), field(columns.label), field(columns.group) or None)


def _split(file: Path, text: str, names_video: Callable[[str], bool]) -> Iterator[Line]:
    """Line numbers and stripped fields of the lines that are not blank."""
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    separator = next((mark for mark in "\t,;|" if mark in first), None)
    if separator == ";" and not _separates(first, names_video):
        separator = "|" if "|" in first else None
    if separator is None:
        # Only the path may hold blanks, so fields are counted from the end.
        if _header([(1, first.split())], names_video):
            count = len(first.split())
        else:
            count = 1 if kind_of(file.parent / first.strip()) == FILE else 2
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line.rsplit(maxsplit=count - 1)
        return
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        for fields in reader:
            if any(mark in field for field in fields for mark in "\n\r\0"):
                raise VidnasError(
                    f"{file}, line {reader.line_num}: a field with a line end or a zero in it; is a quote not closed?"
                )
            if any(field.strip() for field in fields):
                yield reader.line_num, [field.strip() for field in fields]
    except csv.Error as error:
        raise VidnasError(f"{file}, line {reader.line_num}: {error}") from error


def _separates(first: str, names_video: Callable[[str], bool]) -> bool:
    """Whether the semicolons of a line are between its fields, not between the labels of a video."""
    fields = [field.strip() for field in first.split(";")]
    alone = "|" not in first and len(first.split()) == 1
    return alone or any(map(names_video, fields)) or _header([(1, fields)], names_video) is not None


def format_rows(rows: Sequence[Sequence[str]]) -> str:
    """The text of a list that `read_rows` reads back, its header first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
