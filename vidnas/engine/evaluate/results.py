"""What a test gives: scores per video, and all that follows from them; what differs per task is in subclasses."""

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.cost import format_macs
from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, replace_file, write_json
from vidnas.engine.tasks.task import Figure

# A header and its rows.
Table = tuple[Sequence[str], Iterable[Sequence[Any]]]


@dataclass(frozen=True)
class TestResult(ABC):
    """Scores of a network on a list of videos.

    Figures are over the videos that could be read; the others are in `broken`, never left out in silence.

    Attributes:
        classes: class names in the order of the scores.
        paths: the videos scored, as the list names them.
        targets: what the videos show, (V, ...) as the task has it.
        scores: (V, classes) probabilities averaged over views.
        broken: path and cause of each video that could not be read.
        views: clips x crops per video.
        clip: what one view is, frames x size.
        precision: that the network computed in; None where an older result does not say.
        macs_per_view: multiply-adds of one view, all head positions counted.
        wall_sec: seconds that the test took.
        list_hash: content hash of the list.
    """

    __test__ = False  # not a test case, whatever its name tells pytest

    # The head's kind, the figure that networks are compared by, and what the second column of scores.csv is called.
    kind: ClassVar[str]
    headline_figure: ClassVar[Figure]
    target_column: ClassVar[str]

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    targets: NDArray[Any]
    scores: NDArray[np.float64]
    broken: tuple[tuple[str, str], ...]
    views: str
    clip: str
    precision: str | None
    macs_per_view: int
    wall_sec: float
    list_hash: str

    @property
    @abstractmethod
    def headline(self) -> float:
        """The figure that networks are compared by, in [0, 1]."""

    @property
    @abstractmethod
    def log_likelihood(self) -> float:
        """Mean over videos of the logarithm of the probability of what they show."""

    @property
    @abstractmethod
    def correct(self) -> NDArray[np.bool_] | None:
        """(V,) whether each video is right; None where that is no matter of yes or no."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """All figures but the log-likelihood, as builtins by name."""

    @abstractmethod
    def describe_figures(self) -> str:
        """The figures in half a line."""

    @abstractmethod
    def target_cells(self) -> Iterable[tuple[str, str]]:
        """What each video shows and what was predicted, as scores.csv has them."""

    @classmethod
    @abstractmethod
    def read_targets(cls, cells: Sequence[str], classes: Sequence[str]) -> NDArray[Any]:
        """Targets from the first of `target_cells`.

        Raises:
            ValueError: a class that is none of these.
        """

    @abstractmethod
    def tables(self) -> Mapping[str, Table]:
        """Tables beside the scores, by the name of their file."""

    def on(self, paths: Collection[str]) -> Self:
        """The same test on these of its videos alone.

        Raises:
            VidnasError: it has none of them.
        """
        places = [place for place, path in enumerate(self.paths) if path in paths]
        if not places:
            raise VidnasError("no video could be read in all tests that are compared; see `vidnas data check`")
        return replace(
            self, paths=tuple(self.paths[i] for i in places), targets=self.targets[places], scores=self.scores[places]
        )

    @property
    def macs_per_video(self) -> int:
        """Multiply-adds of all views."""
        clips, crops = map(int, self.views.split("x"))
        return self.macs_per_view * clips * crops

    def describe(self) -> str:
        """A few lines for people: figures, what they were measured on, what it cost."""
        lines = [
            f"{self.describe_figures()} ({len(self.paths)} videos, {len(self.classes)} classes)",
            describe_cost(self.views, self.macs_per_view, self.clip),
        ]
        if self.broken:
            lines.append(f"{len(self.broken)} videos could not be read and are not counted:")
            lines += [f"  {path}: {cause}" for path, cause in self.broken]
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Figures as builtins."""
        return {
            "task": self.kind,
            **self.figures(),
            "log_likelihood": self.log_likelihood,
            "videos": len(self.paths),
            "classes": list(self.classes),
            "broken": [{"path": path, "cause": cause} for path, cause in self.broken],
            "views": self.views,
            "clip": self.clip,
            "precision": self.precision,
            "macs_per_view": self.macs_per_view,
            "macs_per_video": self.macs_per_video,
            "wall_sec": self.wall_sec,
            "list": self.list_hash,
        }

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote, to the bit; `vidnas.engine.evaluate.saved.load_result` finds the class for it.

        Raises:
            VidnasError: a file is missing, or not as `save` writes it.
        """
        summary, path = read_json(folder / "result.json"), folder / "scores.csv"
        try:
            classes = tuple(summary["classes"])
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))[1:]
            if len(rows) != summary["videos"]:
                raise ValueError("lines are missing")
            return cls(
                classes=classes,
                paths=tuple(row[0] for row in rows),
                targets=cls.read_targets([row[1] for row in rows], classes),
                scores=np.array([row[3:] for row in rows], np.float64).reshape(len(rows), len(classes)),
                broken=tuple((one["path"], one["cause"]) for one in summary["broken"]),
                **{name: summary[name] for name in ("views", "clip", "macs_per_view", "wall_sec")},
                precision=summary.get("precision"),
                list_hash=summary["list"],
            )
        except (OSError, IndexError, KeyError, ValueError, TypeError) as error:
            raise VidnasError(f"{path}: not as `vidnas test` writes it; remove the folder and test anew") from error

    def save(self, folder: Path) -> None:
        """Write scores.csv (one line per video), the task's tables and, when all is there, result.json."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = (
            [path, *cells, *map(repr, row)]
            for path, cells, row in zip(self.paths, self.target_cells(), self.scores.tolist(), strict=True)
        )
        _write_csv(folder / "scores.csv", ["path", self.target_column, "predicted", *self.classes], rows)
        for name, (header, lines) in self.tables().items():
            _write_csv(folder / name, header, lines)
        write_json(folder / "result.json", self.summary())


def describe_cost(views: str, macs_per_view: int, clip: str) -> str:
    """`10x3 views x 2.727 GMACs @ 13x182x182 = 81.818 GMACs per video`."""
    clips, crops = map(int, views.split("x"))
    total = format_macs(macs_per_view * clips * crops)
    return f"{views} views x {format_macs(macs_per_view)} @ {clip} = {total} per video"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    replace_file(path, text.getvalue())
