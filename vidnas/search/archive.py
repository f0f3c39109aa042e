"""The archive of a search: one JSON line per scored sample, so that nothing that was computed is lost."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from vidnas.base.errors import VidnasError
from vidnas.search.alpha import AlphaStep
from vidnas.search.space.space import Choice


@dataclass(frozen=True)
class Entry:
    """One scored sample.

    Attributes:
        step: step of the search.
        choice: the architecture.
        score: log-likelihood summed over `clips`.
        clips: number of clips scored.
        cost: its cost in the unit of the target.
        count: how often the step drew it.
        weight: its share of omega in the step.
    """

    step: int
    choice: Choice
    score: float
    clips: int
    cost: float
    count: int = 1
    weight: float = 0.0


def entries(step: AlphaStep, clips: int) -> list[Entry]:
    """The lines that one step of the search leaves."""
    rows = zip(step.choices, step.scores, step.costs, step.counts, step.weights, strict=True)
    return [Entry(step.step, choice, score, clips, cost, count, weight) for choice, score, cost, count, weight in rows]


class Archive:
    """Appends entries to a file; use as a context manager.

    Attributes:
        lines: whole lines in the file; a checkpoint remembers it and a resumed run cuts the file back to it.
    """

    def __init__(self, path: Path, *, lines: int | None = None) -> None:
        """Open for appending, after cutting the file back.

        Args:
            path: the file; made if missing.
            lines: keep this many; default all whole ones (a torn last line, of a killed run, is dropped).

        Raises:
            VidnasError: the file is shorter than `lines`, or cannot be written.
        """
        self.path = path
        try:
            path.touch()
            self.lines = cut(path, lines)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise VidnasError(
                f"{path}: cannot write the archive ({error.strerror}); free the disk or move the run"
            ) from error

    def append(self, new: Iterable[Entry]) -> None:
        """Write, past any buffer of ours.

        Raises:
            VidnasError: the disk is full or gone.
        """
        rows = [json.dumps(asdict(entry), separators=(",", ":")) + "\n" for entry in new]
        try:
            left = memoryview("".join(rows).encode())
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise VidnasError(
                f"{self.path}: cannot write the archive ({error.strerror}); make room and resume the run"
            ) from error
        self.lines += len(rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def cut(path: Path, lines: int | None = None) -> int:
    """Cut a file back to `lines` whole lines, or to all its whole lines; returns how many remain."""
    kept = end = 0
    with path.open("rb") as file:
        for line in file:
            if kept == lines or not line.endswith(b"\n"):
                break
            kept, end = kept + 1, end + len(line)
    if lines is not None and kept < lines:
        raise VidnasError(f"{path}: has {kept} lines where the checkpoint counted {lines}; it was changed or lost")
    with path.open("r+b") as file:
        file.truncate(end)
    return kept


def read(path: Path) -> Iterator[Entry]:
    """All entries in order; a torn last line is left out.

    Raises:
        VidnasError: the file cannot be read, or a line is not an entry; the message has its number.
    """
    names = {field.name for field in fields(Entry)}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    data = json.loads(line)
                    entry = Entry(**{**data, "choice": tuple(data["choice"])})
                except (ValueError, TypeError, KeyError) as error:
                    raise VidnasError(
                        f"{path}, line {number}: not an entry of an archive with {', '.join(sorted(names))}"
                    ) from error
                yield entry
    except OSError as error:
        raise VidnasError(f"{path}: cannot read the archive ({error.strerror})") from error
