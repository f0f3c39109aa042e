"""What a test gives: scores per video, and every figure that follows from them."""

import csv
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.cost import format_macs
from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, replace_file, write_json


@dataclass(frozen=True)
class TestResult:
    """Scores of a network on a list of videos.

    Accuracies are over the videos that could be read; the others are in `broken`, never left out in silence.

    Attributes:
        classes: class names in the order of their labels.
        paths: the videos scored, as the list names them.
        labels: (V,) their labels.
        scores: (V, classes) softmax averaged over views.
        broken: path and cause of each video that could not be read.
        views: clips x crops per video.
        clip: what one view is, frames x size.
        macs_per_view: multiply-adds of one view, all head positions counted.
        wall_sec: seconds that the test took.
        list_hash: content hash of the list.
    """

    __test__ = False  # not a test case, whatever its name tells pytest

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    broken: tuple[tuple[str, str], ...]
    views: str
    clip: str
    macs_per_view: int
    wall_sec: float
    list_hash: str

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(V,) the class with the highest score, the first of equals."""
        return self.scores.argmax(1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(V,) whether the prediction is right."""
        return self.predicted == self.labels

    @property
    def top1(self) -> float:
        """Share of videos whose highest score is the right class."""
        return self.top_k(1)

    @property
    def top5(self) -> float | None:
        """Share of videos with the right class among the five highest; None with five classes or fewer."""
        return self.top_k(5) if len(self.classes) > 5 else None

    def top_k(self, k: int) -> float:
        """Share of videos with the right class among the k highest scores (k up to the number of classes)."""
        best = np.argsort(-self.scores, axis=1, kind="stable")[:, : min(k, len(self.classes))]
        return float((best == self.labels[:, None]).any(1).mean())

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes) number of videos: row = right class, column = predicted."""
        matrix = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(matrix, (self.labels, self.predicted), 1)
        return matrix

    @property
    def per_class(self) -> NDArray[np.float64]:
        """(classes,) accuracy of each class; NaN for one without videos."""
        counts = self.confusion.sum(1)
        return np.divide(self.confusion.diagonal(), counts, out=np.full(len(counts), np.nan), where=counts > 0)

    @property
    def log_likelihood(self) -> float:
        """Mean over videos of the logarithm of the right class's score."""
        right = self.scores[np.arange(len(self.labels)), self.labels]
        return float(np.log(np.maximum(right, 1e-12)).mean())

    @property
    def mean_class_accuracy(self) -> float:
        """Average of the classes' accuracies."""
        return float(np.nanmean(self.per_class))

    @property
    def macs_per_video(self) -> int:
        """Multiply-adds of all views."""
        clips, crops = map(int, self.views.split("x"))
        return self.macs_per_view * clips * crops

    def describe(self) -> str:
        """A few lines for people: accuracy, what it was measured on, what it cost."""
        top5 = "" if self.top5 is None else f", top-5 {100 * self.top5:.1f}%"
        lines = [
            f"top-1 {100 * self.top1:.1f}%{top5}, mean over classes {100 * self.mean_class_accuracy:.1f}% "
            f"({len(self.paths)} videos, {len(self.classes)} classes)",
            describe_cost(self.views, self.macs_per_view, self.clip),
        ]
        if self.broken:
            lines.append(f"{len(self.broken)} videos could not be read and are not counted:")
            lines += [f"  {path}: {cause}" for path, cause in self.broken]
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Figures as builtins."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "mean_class_accuracy": self.mean_class_accuracy,
            "log_likelihood": self.log_likelihood,
            "videos": len(self.paths),
            "classes": list(self.classes),
            "broken": [{"path": path, "cause": cause} for path, cause in self.broken],
            "views": self.views,
            "clip": self.clip,
            "macs_per_view": self.macs_per_view,
            "macs_per_video": self.macs_per_video,
            "wall_sec": self.wall_sec,
            "list": self.list_hash,
        }

    @classmethod
    def load(cls, folder: Path) -> "TestResult":
        """What `save` wrote, to the bit.

        Raises:
            VidnasError: a file is missing, or not as `save` writes it.
        """
        summary, path = read_json(folder / "result.json"), folder / "scores.csv"
        try:
            classes = tuple(summary["classes"])
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))[1:]
            if len(rows) != summary["videos"]:
                raise ValueError("lines are missing")
            places = {name: label for label, name in enumerate(classes)}
            return cls(
                classes=classes,
                paths=tuple(row[0] for row in rows),
                labels=np.array([places[row[1]] for row in rows], np.int64),
                scores=np.array([row[3:] for row in rows], np.float64).reshape(len(rows), len(classes)),
                broken=tuple((one["path"], one["cause"]) for one in summary["broken"]),
                **{name: summary[name] for name in ("views", "clip", "macs_per_view", "wall_sec")},
                list_hash=summary.get("list", ""),
            )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise VidnasError(f"{path}: not as `vidnas test` writes it; remove the folder and test anew") from error

    def save(self, folder: Path) -> None:
        """Write scores.csv (one line per video), per_class.csv, confusion.csv and, when all is there, result.json."""
        folder.mkdir(parents=True, exist_ok=True)
        _write_csv(
            folder / "scores.csv",
            ["path", "label", "predicted", *self.classes],
            (
                [path, self.classes[label], self.classes[guess], *map(repr, row)]
                for path, label, guess, row in zip(
                    self.paths, self.labels, self.predicted, self.scores.tolist(), strict=True
                )
            ),
        )
        counts = self.confusion.sum(1)
        _write_csv(
            folder / "per_class.csv",
            ["class", "videos", "correct", "accuracy"],
            (
                [name, count, right, f"{right / count:.6g}" if count else ""]
                for name, count, right in zip(self.classes, counts, self.confusion.diagonal(), strict=True)
            ),
        )
        _write_csv(
            folder / "confusion.csv",
            ["class", *self.classes],
            ([name, *row] for name, row in zip(self.classes, self.confusion, strict=True)),
        )
        write_json(folder / "result.json", self.summary())


def describe_cost(views: str, macs_per_view: int, clip: str) -> str:
    """`10x3 views x 2.727 GMACs @ 13x182x182 = 81.818 GMACs per video`."""
    clips, crops = map(int, views.split("x"))
    total = format_macs(macs_per_view * clips * crops)
    return f"{views} views x {format_macs(macs_per_view)} @ {clip} = {total} per video"


def _write_csv(path: Path, header: list[str], rows: Any) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    replace_file(path, text.getvalue())
