"""The test of a network for several labels per video: average precisions, a table per class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from vidnas.data.video_list import SEPARATOR
from vidnas.engine.evaluate.results import Table, TestResult
from vidnas.engine.tasks.multi_label import (
    MultiLabelTask,
    average_precisions,
    mean_log_likelihood,
    mean_of_known,
    micro_average_precision,
)
from vidnas.engine.tasks.task import Figure

# From here on a class counts as predicted.
THRESHOLD = 0.5


@dataclass(frozen=True)
class MultiLabelResult(TestResult):
    """Scores are sigmoids averaged over views, targets (V, classes) float32, 1 for each class that a video shows."""

    kind: ClassVar[str] = "multi_label"
    headline_figure: ClassVar[Figure] = MultiLabelTask.headline
    target_column: ClassVar[str] = "labels"

    @property
    def headline(self) -> float:
        """Mean of the classes' average precisions."""
        return mean_of_known(self.per_class)

    @cached_property
    def per_class(self) -> NDArray[np.float64]:
        """(classes,) average precision of each class; NaN for one without videos."""
        return average_precisions(torch.from_numpy(self.scores), torch.from_numpy(self.targets))

    @cached_property
    def micro(self) -> float:
        """Average precision of all pairs of a video and a class together."""
        return micro_average_precision(torch.from_numpy(self.scores), torch.from_numpy(self.targets))

    @property
    def hit1(self) -> float:
        """Share of videos that show the class with the highest score."""
        best = self.scores.argmax(1)
        return float((self.targets[np.arange(len(best)), best] > 0).mean())

    @property
    def log_likelihood(self) -> float:
        """Mean over videos of the Bernoulli log-likelihoods, summed over classes."""
        return mean_log_likelihood(self.scores, self.targets)

    @property
    def correct(self) -> None:
        """A video is right in some of its classes."""
        return None

    def figures(self) -> dict[str, Any]:
        """Average precisions, and the share of videos whose best class is right."""
        return {"map": self.headline, "map_micro": self.micro, "hit1": self.hit1}

    def describe_figures(self) -> str:
        """Average precisions in half a line."""
        return f"mAP {100 * self.headline:.1f}%, micro {100 * self.micro:.1f}%, hit@1 {100 * self.hit1:.1f}%"

    def target_cells(self) -> Iterator[tuple[str, str]]:
        """Names of the classes that a video shows, and of those with a score of one half or more."""
        for target, scores in zip(self.targets > 0, self.scores >= THRESHOLD, strict=True):
            yield self._names(target), self._names(scores)

    def _names(self, chosen: NDArray[np.bool_]) -> str:
        return SEPARATOR.join(name for name, one in zip(self.classes, chosen, strict=True) if one)

    @classmethod
    def read_targets(cls, cells: Sequence[str], classes: Sequence[str]) -> NDArray[np.float32]:
        """Targets from names."""
        targets = np.zeros((len(cells), len(classes)), np.float32)
        for row, cell in zip(targets, cells, strict=True):
            row[[classes.index(name) for name in cell.split(SEPARATOR) if name]] = 1
        return targets

    def tables(self) -> Mapping[str, Table]:
        """per_class.csv."""
        rows = (
            [name, int(count), "" if np.isnan(precision) else f"{precision:.6g}"]
            for name, count, precision in zip(self.classes, self.targets.sum(0), self.per_class, strict=True)
        )
        return {"per_class.csv": (["class", "videos", "average_precision"], rows)}
