"""How the cost of an architecture enters the search: hinges, penalties, and the multipliers that find the target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

CostMode = Literal["dual", "fixed", "log_mean"]
BETA_MIN, BETA_MAX = 0.01, 100.0
# Step sizes of dual ascent while all is open, and when all is settled.
FAST_ASCENT, SLOW_ASCENT = 0.2, 0.05


def hinge(costs: Tensor, target: float) -> Tensor:
    """c(A) = max(cost / T - 1, 0), (K,) float64 (AutoX3D eq. 2)."""
    return (costs.double() / target - 1).clamp(min=0)


def starting_beta(scores: Tensor, clips: int) -> float:
    """A beta for dual ascent to start from: the standard deviation of the first scores, per clip.

    Twice the target then weighs as much as a standard deviation between architectures. A beta far above the shadow
    price drives a search to cheap architectures until it has come down, which short searches do not recover from.

    Args:
        scores: (K,), summed over `clips`.
        clips: number of clips.
    """
    finite = scores.double()[scores.isfinite()]
    beta = float(finite.std()) / clips if len(finite) > 1 else 1.0
    return min(max(beta, BETA_MIN), BETA_MAX)


def ascent_rate(entropy_share: float) -> float:
    """Step size of dual ascent by H / H0.

    A slow ascent lets a distribution settle above the target before the price of that has grown; it is then driven to
    what is cheap, with no samples left to find what lies between. A fast one swings round the target in the end.
    """
    return SLOW_ASCENT + (FAST_ASCENT - SLOW_ASCENT) * entropy_share


@dataclass(frozen=True)
class CostPressure:
    """How hard the cost presses.

    Attributes:
        mode: `dual` moves beta until the mean cost is the target; `fixed` keeps it; `log_mean` adds
            beta * log E[c(A)] to the loss with a fixed beta (FP-NAS, arXiv 2011.10949).
        beta: the factor of the hinge, per clip.
    """

    mode: CostMode = "dual"
    beta: float = 1.0

    def penalty(self, costs: Tensor, target: float, batch_size: int) -> Tensor:
        """beta * B * c_k, to be taken off scores that sum over B clips, (K,) float64; 0 for `log_mean`."""
        over = hinge(costs, target)
        return torch.zeros_like(over) if self.mode == "log_mean" else self.beta * batch_size * over

    def coefficients(self, costs: Tensor, target: float) -> Tensor:
        """What `log_mean` adds to the samples' coefficients: -beta (c_k / sum c - 1 / K), (K,) float64, sum 0."""
        over = hinge(costs, target)
        if self.mode != "log_mean" or not over.any():
            return torch.zeros_like(over)
        return -self.beta * (over / over.sum() - 1 / len(over))

    def after(self, mean_cost: float, target: float, rate: float = SLOW_ASCENT) -> "CostPressure":
        """The pressure after a step whose samples cost `mean_cost`: beta *= exp(rate (cost / T - 1)).

        Deviation: the papers' hinge has a constant factor. It holds the target only above the shadow price, which
        nobody knows beforehand; dual ascent finds it.
        """
        if self.mode != "dual":
            return self
        return replace(self, beta=_ascended(self.beta, rate * (mean_cost / target - 1)))


@dataclass(frozen=True)
class UsePressure:
    """How hard a search is pressed to use its budget, where less of it than a share is not wanted.

    Deviation: the papers' hinge presses from above alone. Cheap architectures learn first, so a distribution moves to
    them, below a target that lies above the middle of its space; what is derived within reach of the target then stands
    in weights that were hardly trained.

    Attributes:
        use: share of the budget, of one of several.
        beta: factor of what is missing, per clip, moved by dual ascent until the mean cost uses that share.
    """

    use: float
    beta: float = 1.0

    def unused(self, costs: Sequence[Tensor], targets: Sequence[float]) -> Tensor:
        """What is missing of the share in the budget that is used most, negative above it, (K,) float64.

        Args:
            costs: of each budget, (K,).
            targets: of each budget.
        """
        shares = [cost.double() / target for cost, target in zip(costs, targets, strict=True)]
        return 1 - torch.stack(shares).amax(0) / self.use

    def penalty(self, unused: Tensor, batch_size: int) -> Tensor:
        """beta * B * max(unused, 0), to be taken off scores that sum over B clips, (K,) float64."""
        return self.beta * batch_size * unused.clamp(min=0)

    def after(self, mean_unused: float, rate: float) -> "UsePressure":
        """The pressure after a step: beta *= exp(rate * unused), as that from above."""
        return replace(self, beta=_ascended(self.beta, rate * mean_unused))


def _ascended(beta: float, step: float) -> float:
    return min(max(beta * math.exp(step), BETA_MIN), BETA_MAX)
