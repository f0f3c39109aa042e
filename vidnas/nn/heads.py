"""Classification head: pool, fc1, dropout, fc2."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.arch.units import HeadPlan
from vidnas.base.errors import VidnasError


class ClassificationHead(nn.Module):
    """(N, C, T, H, W) -> logits (N, num_classes), or fc1's features (N, hidden) where num_classes is 0.

    A fixed pool has the size of the training clip's last map, so a larger test crop leaves several positions.
    In evaluation their scores are averaged: `logit_mean` averages logits; `softmax_mean` averages probabilities
    and returns their logarithm, so that softmax(output) is that mean. In training logits are averaged.
    """

    def __init__(self, plan: HeadPlan) -> None:
        super().__init__()
        spec, in_channels = plan.spec, plan.in_channels
        self.pool_size = _pool_size(plan) if spec.pool == "fixed" else None
        self.average_probabilities = spec.ensemble == "softmax_mean"
        self.fc1 = nn.Linear(in_channels, spec.hidden, bias=False)
        self.dropout = nn.Dropout(spec.dropout)
        self.fc2 = nn.Linear(spec.hidden, spec.num_classes) if spec.num_classes else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(torch.relu(self.fc1(self._pool(x))))
        if self.fc2 is None:
            return x.mean(1)
        scores = self.fc2(x)
        if scores.shape[1] == 1 or self.training or not self.average_probabilities:
            return scores.mean(1)
        return scores.log_softmax(-1).logsumexp(1) - math.log(scores.shape[1])

    def _pool(self, x: Tensor) -> Tensor:
        """Positions as rows: (N, positions, C)."""
        if self.pool_size is None:
            return x.mean((2, 3, 4))[:, None]
        if any(have < need for have, need in zip(x.shape[2:], self.pool_size, strict=True)):
            raise VidnasError(
                f"the clip leaves a last map of {tuple(x.shape[2:])}, smaller than the network's pool "
                f"{self.pool_size}: use at least the frames and crop that it was built for, or head.pool 'global'"
            )
        return F.avg_pool3d(x, self.pool_size, stride=1).flatten(2).transpose(1, 2)


def _pool_size(plan: HeadPlan) -> tuple[int, int, int]:
    """T, H, W of the last map at the training clip; those of several streams lie side by side, so are of one size."""
    (window,) = set(plan.windows)
    return (window.frames, window.side, window.side)
