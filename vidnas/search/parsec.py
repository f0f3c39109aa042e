"""PARSEC's estimators on plain tensors: weights of the sampled architectures, temperature, gradient of alpha.

Scores are log-likelihoods summed over a batch, s_k = sum_b log p(y_b | x_b, w, A_k), one per sampled architecture
A_1..A_K, drawn independently (AutoX3D sec. 4.1, eq. 1; PARSEC, arXiv 1902.05116).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vidnas.search.distribution import as_indices
from vidnas.search.space.space import Choice

TemperatureMode = Literal["auto", "paper", "mean", "accuracy"]


def omega(scores: Tensor, temperature: float) -> Tensor:
    """Weights of the samples, softmax(s / tau), (K,) float64; they sum to 1.

    A score of minus infinity (a diverged architecture) weighs nothing; if all diverged, all weigh the same.
    """
    scaled = scores.double() / temperature
    scaled = torch.nan_to_num(scaled, nan=-math.inf, neginf=-math.inf)
    return torch.softmax(scaled, 0) if scaled.isfinite().any() else torch.full_like(scaled, 1 / len(scaled))


def effective_sample_size(weights: Tensor) -> float:
    """1 / sum w^2: K for equal weights, 1 when one sample has all the weight."""
    return float(1 / weights.double().square().sum())


def temperature(
    scores: Tensor, mode: TemperatureMode = "auto", *, batch_size: int = 1, min_effective: float = 0.5
) -> float:
    """The tau that scores are divided by.

    Args:
        scores: (K,).
        mode: `paper` is 1, as PARSEC prints it; `mean` is the batch size, so that scores are mean log-likelihoods;
            `accuracy` is 1 too, for scores that are log accuracies, so that omega is proportional to accuracy
            (Auto-TSNet); `auto` is the smallest tau >= 1 at which the effective sample size is at least
            `min_effective` of the K samples.
        batch_size: number of clips that a score sums over.
        min_effective: fraction of K, in (0, 1].
    """
    if mode == "mean":
        return float(batch_size)
    if mode != "auto":
        return 1.0
    # Samples without a finite score weigh nothing at any temperature, so they cannot count.
    finite = scores.double()[scores.isfinite()]
    needed = min(min_effective * len(scores), len(finite))
    if len(finite) < 2 or effective_sample_size(omega(finite, 1.0)) >= needed:
        return 1.0
    spread = float(finite.max() - finite.min())
    low, high = 0.0, math.log(1e9 * max(1.0, spread))
    # The effective sample size grows with tau. Every round leaves one of 64 intervals; six make it exact to 1e-9.
    for _ in range(6):
        log_taus = torch.linspace(low, high, 65, dtype=torch.float64)
        weights = torch.softmax(finite / log_taus.exp()[:, None], 1)
        too_few = int((1 / weights.square().sum(1) < needed).sum())
        first = min(max(too_few, 1), 64)
        low, high = log_taus[first - 1].item(), log_taus[first].item()
    return math.exp(high)


def alpha_gradient(choices: Sequence[Choice], coefficients: Tensor, sizes: Sequence[int]) -> Tensor:
    """-sum_k coefficient_k grad log P(A_k | alpha) for coefficients that sum to 0, (variables, largest size).

    With coefficients omega_k - 1 / K this is PARSEC's gradient of -log P(y | X, w, alpha) with a free control variate:
    E[grad log P] = 0, so the -1 / K changes nothing but the variance. Per logit it is minus the omega-weighted
    frequency of the option plus its plain frequency among the samples; the probabilities cancel.
    """
    indices = as_indices(choices, len(sizes))
    gradient = torch.zeros(len(sizes), max(sizes, default=1), dtype=torch.float64)
    weights = coefficients.double()[:, None].expand(indices.shape)
    gradient.scatter_add_(1, indices.T, weights.T.contiguous())
    return -gradient


def distinct(choices: Sequence[Choice]) -> tuple[list[Choice], list[int]]:
    """The different choices in order of first appearance, and for each choice its place among them."""
    places: dict[Choice, int] = {}
    inverse = [places.setdefault(choice, len(places)) for choice in choices]
    return list(places), inverse


def adaptive_samples(entropy: float, per_nat: float = 0.25, minimum: int = 4) -> int:
    """K in proportion to the entropy that is left (FP-NAS, arXiv 2011.10949), at least `minimum`."""
    return max(minimum, math.ceil(per_nat * entropy))


def weight_step_weights(scores: Tensor, tau: float, *, negligible: float = 1e-3) -> Tensor:
    """Weights of the K architectures in a step on the network's weights, (K,); exactly 0 for those to skip.

    The cost has no part in them. Those below `negligible` / K are dropped, the others keep their weight.
    """
    weights = omega(scores, tau)
    return torch.where(weights > negligible / len(weights), weights, torch.zeros_like(weights))
