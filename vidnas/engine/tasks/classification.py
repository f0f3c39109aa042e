"""Classification: each video is of one class."""

from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidnas.engine.tasks.task import Figure
from vidnas.nn.heads import PROBABILITIES

# Targets that cross entropy passes over.
_PASSED_OVER = -100


class ClassificationTask:
    """Softmax and cross entropy; targets are (N,) int64, the class of each clip."""

    headline = Figure("top1", "top-1")
    hit_rate = headline

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross entropy; `smoothing` spreads this share of each target evenly over all classes."""
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)

    def log_likelihood(self, logits: Tensor, targets: Tensor, readable: Tensor, smoothing: float = 0.0) -> Tensor:
        """Minus the cross entropy, summed."""
        counted = targets.masked_fill(~readable, _PASSED_OVER)
        return -F.cross_entropy(logits, counted, reduction="sum", ignore_index=_PASSED_OVER, label_smoothing=smoothing)

    def distillation_loss(self, logits: Tensor, scores: Tensor) -> Tensor:
        """Cross entropy against probabilities, summed."""
        return F.cross_entropy(logits, scores, reduction="sum")

    def scores(self, logits: Tensor) -> Tensor:
        """Softmax."""
        return PROBABILITIES["classification"](logits)

    def hits(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Clips whose highest logit is that of their class."""
        return (logits.argmax(1) == targets).sum()

    def headline_of(self, scores: Tensor, targets: Tensor) -> float:
        """Top-1 accuracy."""
        return int(self.hits(scores, targets)) / len(targets)

    def figures(self, scores: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
        """`loss`, `top1` and `top5`; a class that shares the highest score counts as found."""
        right = scores[np.arange(len(targets)), targets]
        higher = (scores > right[:, None]).sum(1)
        return {
            "loss": float(-np.log(np.maximum(right, 1e-12)).mean()),
            "top1": float((higher < 1).mean()),
            "top5": float((higher < 5).mean()),
        }

    def likeness(self, targets: Tensor) -> Tensor:
        """Whether the class is the same."""
        return (targets[:, None] == targets[None]).double()
