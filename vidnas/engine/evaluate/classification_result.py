"""The test of a classifier: accuracies, confusions, a table per class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vidnas.engine.evaluate.results import Table, TestResult
from vidnas.engine.tasks.classification import ClassificationTask
from vidnas.engine.tasks.task import Figure


@dataclass(frozen=True)
class ClassificationResult(TestResult):
    """Scores are a softmax averaged over views, targets (V,) the classes."""

    kind: ClassVar[str] = "classification"
    headline_figure: ClassVar[Figure] = ClassificationTask.headline
    target_column: ClassVar[str] = "label"

    @property
    def headline(self) -> float:
        """Top-1."""
        return self.top1

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(V,) the class with the highest score, the first of equals."""
        return self.scores.argmax(1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(V,) whether the prediction is right."""
        right: NDArray[np.bool_] = self.predicted == self.targets
        return right

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
        return float((best == self.targets[:, None]).any(1).mean())

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes) number of videos: row = right class, column = predicted."""
        matrix = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(matrix, (self.targets, self.predicted), 1)
        return matrix

    @property
    def per_class(self) -> NDArray[np.float64]:
        """(classes,) accuracy of each class; NaN for one without videos."""
        counts = self.confusion.sum(1)
        return np.divide(self.confusion.diagonal(), counts, out=np.full(len(counts), np.nan), where=counts > 0)

    @property
    def log_likelihood(self) -> float:
        """Mean over videos of the logarithm of the right class's score."""
        right = self.scores[np.arange(len(self.targets)), self.targets]
        return float(np.log(np.maximum(right, 1e-12)).mean())

    @property
    def mean_class_accuracy(self) -> float:
        """Average of the classes' accuracies."""
        return float(np.nanmean(self.per_class))

    def figures(self) -> dict[str, Any]:
        """Accuracies."""
        return {"top1": self.top1, "top5": self.top5, "mean_class_accuracy": self.mean_class_accuracy}

    def describe_figures(self) -> str:
        """Accuracies in half a line."""
        top5 = "" if self.top5 is None else f", top-5 {100 * self.top5:.1f}%"
        return f"top-1 {100 * self.top1:.1f}%{top5}, mean over classes {100 * self.mean_class_accuracy:.1f}%"

    def target_cells(self) -> Iterator[tuple[str, str]]:
        """Names of the right and of the predicted class."""
        for label, guess in zip(self.targets, self.predicted, strict=True):
            yield self.classes[label], self.classes[guess]

    @classmethod
    def read_targets(cls, cells: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
        """Labels from names."""
        return np.array([classes.index(cell) for cell in cells], np.int64)

    def tables(self) -> Mapping[str, Table]:
        """per_class.csv and confusion.csv."""
        counts, right = self.confusion.sum(1), self.confusion.diagonal()
        per_class = (
            [name, count, hits, f"{hits / count:.6g}" if count else ""]
            for name, count, hits in zip(self.classes, counts, right, strict=True)
        )
        confusion = ([name, *row] for name, row in zip(self.classes, self.confusion, strict=True))
        return {
            "per_class.csv": (["class", "videos", "correct", "accuracy"], per_class),
            "confusion.csv": (["class", *self.classes], confusion),
        }
