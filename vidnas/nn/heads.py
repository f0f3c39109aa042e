"""Head: pool, fc1, dropout, fc2; and what turns its logits into probabilities."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.arch.units import HeadPlan
from vidnas.base.errors import VidnasError
from vidnas.nn.initialise import UnitModule


def _mean_softmax(logits: Tensor) -> Tensor:
    """(N, positions, classes) -> logits (N, classes) of which the softmax is the mean of those of the positions."""
    return logits.log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])


def _mean_sigmoid(logits: Tensor) -> Tensor:
    """(N, positions, classes) -> logits (N, classes) of which the sigmoid is the mean of those of the positions."""
    return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)


# By the kind of the head: logits (N, classes) -> probabilities, and logits of positions -> logits of their mean.
PROBABILITIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "classification": lambda logits: logits.softmax(1),
    "multi_label": torch.sigmoid,
}
_MEANS: Mapping[str, Callable[[Tensor], Tensor]] = {"classification": _mean_softmax, "multi_label": _mean_sigmoid}


class ClassificationHead(UnitModule):
    """The last map (N, C, T, H, W) of each stream -> logits (N, num_classes), or fc1's features (N, hidden).

    Each map is pooled on its own, since streams may have other frames; what is left lies side by side in channels.

    A fixed pool has the size of the training clip's last map, so a larger test crop leaves several positions.
    In evaluation their scores are averaged: `logit_mean` averages logits; `softmax_mean` and `sigmoid_mean` average
    probabilities and return their logits, so that these give that mean. In training logits are averaged.
    """

    def __init__(self, plan: HeadPlan) -> None:
        super().__init__()
        spec, in_channels = plan.spec, plan.in_channels
        windows = [(window.frames, window.side, window.side) for window in plan.windows]
        self.pool_sizes = windows if spec.pool == "fixed" else None
        self.pool_steps = plan.steps
        self.mean_of_positions = None if spec.ensemble == "logit_mean" else _MEANS[spec.kind]
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
        if scores.shape[1] == 1 or self.training or self.mean_of_positions is None:
            return scores.mean(1)
        return self.mean_of_positions(scores)

    def _pool(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Positions as rows: (N, positions, channels of all maps)."""
        if self.pool_sizes is None:
            pooled = [x.mean((2, 3, 4))[:, None] for x in maps]
        else:
            of_streams = zip(maps, self.pool_sizes, self.pool_steps, strict=True)
            pooled = [_windows(x, size, step) for x, size, step in of_streams]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, 2)


def _windows(x: Tensor, size: tuple[int, int, int], step: int) -> Tensor:
    """Means of all windows of T x H x W positions, `step` frames apart: (N, windows, C)."""
    if any(have < need for have, need in zip(x.shape[2:], size, strict=True)):
        raise VidnasError(
            f"the clip leaves a last map of {tuple(x.shape[2:])}, smaller than the network's pool {size}: use at "
            "least the frames and crop that it was built for, or head.pool 'global'"
        )
    return F.avg_pool3d(x, size, stride=(step, 1, 1)).flatten(2).transpose(1, 2)
