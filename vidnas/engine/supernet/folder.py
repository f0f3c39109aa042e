"""What a search leaves in its folder: where it lies, and how it is written in step with the state to go on from."""

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vidnas.base.errors import VidnasError
from vidnas.engine.run.state import State, save_state
from vidnas.search.archive import Archive, Entry, cut


@dataclass(frozen=True)
class SearchFolder:
    """Paths of one search."""

    root: Path

    @property
    def archive(self) -> Path:
        """One JSON line per scored sample."""
        return self.root / "archive.jsonl"

    @property
    def curves(self) -> Path:
        """One JSON line per step."""
        return self.root / "curves.jsonl"

    @property
    def state(self) -> Path:
        """What resuming needs; after the end, the trained supernet."""
        return self.root / "last.ckpt"

    @property
    def space(self) -> Path:
        """The search space."""
        return self.root / "space.json"

    @property
    def latency(self) -> Path:
        """The latency table, where a budget is in milliseconds."""
        return self.root / "latency.json"

    @property
    def result(self) -> Path:
        """What was derived, and the probabilities."""
        return self.root / "result.json"

    @property
    def derived(self) -> Path:
        """The derived architecture."""
        return self.root / "searched.json"

    @property
    def time(self) -> Path:
        """How long it took; apart from the result, which is the same however often a search was interrupted."""
        return self.root / "time.json"


class SearchJournal:
    """Writes archive, curves and state; use as a context manager.

    Args:
        folder: where they lie.
        lines: of archive and curves that the state gone on from has counted; later ones are dropped.
        writes: False on all processes but the first, which write nothing.

    Raises:
        VidnasError: a file is shorter than counted, or cannot be written.
    """

    def __init__(self, folder: SearchFolder, lines: Mapping[str, int], *, writes: bool = True) -> None:
        self.folder = folder
        self.writes = writes
        if not writes:
            return
        with ExitStack() as opened:
            self._archive = opened.enter_context(Archive(folder.archive, lines=lines["archive"]))
            folder.curves.touch()
            self._curves_lines = cut(folder.curves, lines["curves"])
            self._curves = opened.enter_context(folder.curves.open("a", buffering=1, encoding="utf-8"))
            self._opened = opened.pop_all()

    def add(self, line: Mapping[str, Any], entries: Iterable[Entry]) -> None:
        """Write down a step: its samples, then its line of the curves.

        Raises:
            VidnasError: the disk is full or gone.
        """
        if not self.writes:
            return
        self._archive.append(entries)
        try:
            self._curves.write(json.dumps(line) + "\n")
        except OSError as error:
            raise VidnasError(
                f"{self.folder.curves}: cannot be written ({error.strerror}); make room and resume the run"
            ) from error
        self._curves_lines += 1

    def save(self, state: State) -> None:
        """Write the state with the lines that belong to it.

        Raises:
            VidnasError: the disk is full or gone.
        """
        if self.writes:
            lines = {"archive": self._archive.lines, "curves": self._curves_lines}
            save_state({**state, "lines": lines}, self.folder.state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writes:
            self._opened.close()
