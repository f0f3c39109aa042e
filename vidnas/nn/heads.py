"""Classification head: pool, fc1, dropout, fc2."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.arch.units import HeadPlan
from vidnas.base.errors import VidnasError
from vidnas.nn.initialise import UnitModule


class ClassificationHead(UnitModule):
    """The last map (N, C, T, H, W) of each stream -> logits (N, num_classes), or fc1's features (N, hidden).

    Each map is pooled on its own, since streams may have other frames; what is left lies side by side in channels.

    A fixed pool has the size of the training clip's last map, so a larger test crop leaves several positions.
    In evaluation their scores are averaged: `logit_mean` averages logits; `softmax_mean` averages probabilities
    and returns their logarithm, so that softmax(output) is that mean. In training logits are averaged.
    """

    def __init__(self, plan: HeadPlan) -> None:
        super().__init__()
        spec, in_channels = plan.spec, plan.in_channels
        windows = [(window.frames, window.side, window.side) for window in plan.windows]
        self.pool_sizes = windows if spec.pool == "fixed" else None
        self.average_probabilities = spec.ensemble == "softmax_mean"
        self.fc1 = nn.Linear(in_channels, spec.hidden, bias=False)
        self.dropout = nn.Dropout(spec.dropout)
        self.fc2 = nn.Linear(spec.hidden, spec.num_classes) if spec.num_classes else None

    def start(self, *, zero_init_residual: bool) -> None:
        if self.fc2 is not None:
            nn.init.normal_(self.fc2.weight, std=0.01)

    def forward(self, *maps: Tensor) -> Tensor:
        x = self.dropout(torch.relu(self.fc1(self._pool(maps))))
        if self.fc2 is None:
            return x.mean(1)
        scores = self.fc2(x)
        if scores.shape[1] == 1 or self.training or not self.average_probabilities:
            return scores.mean(1)
        return scores.log_softmax(-1).logsumexp(1) - math.log(scores.shape[1])

    def _pool(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Positions as rows: (N, positions, channels of all maps)."""
        if self.pool_sizes is None:
            pooled = [x.mean((2, 3, 4))[:, None] for x in maps]
        else:
            pooled = [_windows(x, size) for x, size in zip(maps, self.pool_sizes, strict=True)]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, 2)


def _windows(x: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Means of all windows of T x H x W positions: (N, windows, C)."""
    if any(have < need for have, need in zip(x.shape[2:], size, strict=True)):
        raise VidnasError(
            f"the clip leaves a last map of {tuple(x.shape[2:])}, smaller than the network's pool {size}: use at "
            "least the frames and crop that it was built for, or head.pool 'global'"
        )
    return F.avg_pool3d(x, size, stride=1).flatten(2).transpose(1, 2)
