"""Multi-label: each video shows any number of classes, each of which is a question of its own."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidnas.engine.tasks.task import Figure
from vidnas.nn.heads import PROBABILITIES


class MultiLabelTask:
    """Sigmoid and binary cross entropy; targets are (N, classes) float32, 1 for each class that a clip shows."""

    headline = Figure("map", "mAP")
    hit_rate = Figure("hit1", "hit@1")

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Binary cross entropy, mean over clips and classes; `smoothing` draws targets towards one half."""
        return F.binary_cross_entropy_with_logits(logits, _smoothed(targets, smoothing))

    def log_likelihood(self, logits: Tensor, targets: Tensor, readable: Tensor, smoothing: float = 0.0) -> Tensor:
        """Bernoulli log-likelihoods, summed over clips and classes."""
        read, wanted = logits[readable], _smoothed(targets[readable], smoothing)
        return -F.binary_cross_entropy_with_logits(read, wanted.to(read.dtype), reduction="sum")

    def distillation_loss(self, logits: Tensor, scores: Tensor) -> Tensor:
        """Binary cross entropy against probabilities, summed over clips and classes."""
        return F.binary_cross_entropy_with_logits(logits, scores, reduction="sum")

    def scores(self, logits: Tensor) -> Tensor:
        """Sigmoid."""
        return PROBABILITIES["multi_label"](logits)

    def hits(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Clips that show the class with the highest logit."""
        return (targets.gather(1, logits.argmax(1, keepdim=True)) > 0).sum()

    def headline_of(self, scores: Tensor, targets: Tensor) -> float:
        """Mean over classes of the average precision."""
        return mean_of_known(average_precisions(scores, targets))

    def figures(self, scores: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
        """`loss`, `map` and `hit1`."""
        found, wanted = torch.from_numpy(scores), torch.from_numpy(targets)
        return {
            "loss": -mean_log_likelihood(scores, targets) / targets.shape[1],
            "map": self.headline_of(found, wanted),
            "hit1": int(self.hits(found, wanted)) / len(targets),
        }

    def likeness(self, targets: Tensor) -> Tensor:
        """Classes that two clips share, as a part of those that either has; 1 where neither has any."""
        both = targets.double() @ targets.double().T
        each = targets.double().sum(1)
        either = each[:, None] + each[None] - both
        return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def average_precisions(scores: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """(classes,) average precision of each class, the area below precision against recall; NaN where none shows it."""
    # Imported where it is needed: it takes longer than the rest of a small test.
    from torchmetrics.functional.classification import binary_average_precision

    return np.array(
        [
            float(binary_average_precision(own.double(), wanted.long())) if wanted.any() else np.nan
            for own, wanted in zip(scores.T, targets.T > 0, strict=True)
        ]
    )


def micro_average_precision(scores: Tensor, targets: Tensor) -> float:
    """Average precision of all pairs of a clip and a class together; 0 where none is right."""
    joined = average_precisions(scores.reshape(-1, 1), targets.reshape(-1, 1))
    return mean_of_known(joined)


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Mean of those that are numbers; 0 where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def mean_log_likelihood(scores: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean over videos of the Bernoulli log-likelihoods, summed over classes, from probabilities."""
    right = np.where(targets > 0, scores, 1 - scores)
    return float(np.log(np.maximum(right, 1e-12)).sum(1).mean())


def _smoothed(targets: Tensor, smoothing: float) -> Tensor:
    return targets * (1 - smoothing) + smoothing / 2 if smoothing else targets
