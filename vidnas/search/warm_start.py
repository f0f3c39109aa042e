"""Alpha before the first step, from scores of random architectures that cost no training."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vidnas.search.distribution import as_indices
from vidnas.search.space.space import Choice


def warm_logits(
    choices: Sequence[Choice],
    scores: Sequence[float],
    costs: Sequence[float],
    sizes: Sequence[int],
    strength: float,
) -> Tensor:
    """Logits that prefer the options of good scores: `strength` times their effect in deviations of the scores.

    What the logarithm of the cost explains of the scores is taken off first, as most proxies merely grow with the
    network. Scores that are not finite do not count.

    Args:
        choices: architectures drawn uniformly, several times as many as there are options.
        scores: one per choice, higher is better.
        costs: one per choice.
        sizes: number of options of each variable.
        strength: 0 leaves alpha uniform.

    Returns:
        (variables, largest size); 0 beyond a variable's options, and everywhere where all scores are equal.
    """
    values = torch.tensor(scores, dtype=torch.float64)
    counted = values.isfinite()
    kept = [choice for choice, use in zip(choices, counted.tolist(), strict=True) if use]
    uniform = torch.zeros(len(sizes), max(sizes, default=1), dtype=torch.float64)
    if len(kept) < 2:
        return uniform
    residual = _without_trend(values[counted], torch.tensor(costs, dtype=torch.float64)[counted].log())
    spread = residual.std()
    # Rounding leaves a spread where the trend explains everything.
    if spread <= 1e-9 * values[counted].abs().max():
        return uniform
    return strength * main_effects(kept, residual / spread, sizes)


def main_effects(choices: Sequence[Choice], scores: Tensor, sizes: Sequence[int]) -> Tensor:
    """What each option adds to a score by least squares, (variables, largest size); 0 on average over a variable."""
    indices = as_indices(choices, len(sizes))
    width = max(sizes, default=1)
    columns = indices + width * torch.arange(len(sizes))
    design = torch.zeros(len(choices), len(sizes) * width, dtype=torch.float64).scatter_(1, columns, 1.0)
    # One-hot columns of a variable sum to a constant: of all solutions the one of least norm.
    fitted = torch.linalg.lstsq(design, (scores - scores.mean())[:, None], driver="gelsd").solution
    effects = fitted.reshape(len(sizes), width)
    used = torch.arange(width)[None] < torch.tensor(sizes)[:, None]
    return (effects - effects.sum(1, keepdim=True) / torch.tensor(sizes)[:, None]) * used


def _without_trend(values: Tensor, log_costs: Tensor) -> Tensor:
    """Residuals of a straight line."""
    x, y = log_costs - log_costs.mean(), values - values.mean()
    slope = (x * y).sum() / x.square().sum().clamp_min(1e-300)
    return y - slope * x
