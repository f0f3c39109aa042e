"""PARSEC's estimators against enumeration of a space of 24 architectures, in float64."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from vidnas.search import parsec
from vidnas.search.distribution import Distribution
from vidnas.search.objective import CostPressure, ascent_rate, hinge, starting_beta

SIZES = (2, 3, 4)
ALL = list(product(*(range(size) for size in SIZES)))


def problem(seed: int = 0, scale: float = 1.0) -> tuple[Distribution, Tensor]:
    """Random alpha and random scores of all 24 architectures."""
    generator = torch.Generator().manual_seed(seed)
    distribution = Distribution(SIZES)
    distribution.logits.copy_(torch.randn(distribution.logits.shape, generator=generator, dtype=torch.float64))
    return distribution, scale * torch.randn(len(ALL), generator=generator, dtype=torch.float64)


def autograd(distribution: Distribution, loss: object) -> Tensor:
    """Gradient on the logits of `loss(log P of all architectures)`."""
    leaf = Distribution(SIZES)
    leaf.logits = distribution.logits.clone().requires_grad_()
    loss(leaf.log_prob(ALL)).backward()  # type: ignore[operator]
    assert leaf.logits.grad is not None
    return leaf.logits.grad


def tuples(number: int) -> Tensor:
    """All K-tuples of architectures, (24^K, K)."""
    return torch.cartesian_prod(*[torch.arange(len(ALL))] * number).reshape(-1, number)


def expected_gradient(distribution: Distribution, scores: Tensor, number: int) -> Tensor:
    """Exact mean of the gradient estimate with K samples, over all 24^K draws."""
    drawn = tuples(number)
    chance = distribution.log_prob(ALL)[drawn].sum(1).exp()
    coefficients = torch.softmax(scores[drawn], 1) - 1 / number
    # The mean is linear in the coefficients: each architecture's total share gives it.
    shares = torch.zeros(len(ALL), dtype=torch.float64)
    shares.index_add_(0, drawn.flatten(), (chance[:, None] * coefficients).flatten())
    return parsec.alpha_gradient(ALL, shares, SIZES)


def test_gradient_over_the_whole_space_is_that_of_the_marginal_likelihood() -> None:
    """With every architecture weighed by its posterior, less its prior, the estimate is exact."""
    distribution, scores = problem()
    log_p = distribution.log_prob(ALL)
    posterior = torch.softmax(log_p + scores, 0)
    estimate = parsec.alpha_gradient(ALL, posterior - log_p.exp(), SIZES)
    exact = autograd(distribution, lambda log_p: -torch.logsumexp(log_p + scores, 0))
    torch.testing.assert_close(estimate, exact, rtol=0, atol=1e-14)


def test_gradient_of_given_samples_is_the_weighted_score_function() -> None:
    """What alpha_gradient sums by frequency equals autograd through sum_k (omega_k - 1/K) log P(A_k)."""
    distribution, scores = problem(1)
    picked = torch.tensor([3, 17, 17, 0, 22, 5, 17])
    choices = [ALL[a] for a in picked]
    coefficients = parsec.omega(scores[picked], 1.0) - 1 / len(picked)
    exact = autograd(distribution, lambda log_p: -(coefficients * log_p[picked]).sum())
    torch.testing.assert_close(parsec.alpha_gradient(choices, coefficients, SIZES), exact, rtol=0, atol=1e-14)


def test_duplicates_evaluated_once_give_the_same_gradient() -> None:
    choices = [ALL[a] for a in (3, 17, 17, 0, 3, 3)]
    different, inverse = parsec.distinct(choices)
    assert different == [ALL[3], ALL[17], ALL[0]]
    assert [different[i] for i in inverse] == choices


def test_bias_falls_as_one_over_k() -> None:
    distribution, scores = problem()
    exact = autograd(distribution, lambda log_p: -torch.logsumexp(log_p + scores, 0))
    bias = [float((expected_gradient(distribution, scores, k) - exact).norm()) * k for k in (2, 3, 4)]
    # Bias times K settles: it would grow in proportion to K if the estimate aimed elsewhere.
    assert max(bias) / min(bias) < 1.35


def test_omega() -> None:
    scores = torch.tensor([-3.0, -1.0, -2.0])
    torch.testing.assert_close(parsec.omega(scores, 2.0), torch.softmax(scores.double() / 2, 0), rtol=0, atol=1e-15)
    # Far below the range of exp: sums over large batches.
    assert parsec.omega(torch.tensor([-1e6, -1e6 - 1]), 1.0).tolist() == pytest.approx([0.73105858, 0.26894142])
    assert parsec.omega(torch.tensor([-1.0, -math.inf, math.nan]), 1.0).tolist() == [1, 0, 0]
    assert parsec.omega(torch.tensor([-math.inf] * 4), 1.0).tolist() == [0.25] * 4


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_auto_temperature_is_the_smallest_with_enough_samples(share: float) -> None:
    scores = 40 * torch.randn(13, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tau = parsec.temperature(scores, "auto", min_effective=share)
    assert tau > 1
    assert parsec.effective_sample_size(parsec.omega(scores, tau)) == pytest.approx(share * 13, rel=1e-6)
    assert parsec.effective_sample_size(parsec.omega(scores, tau * 0.99)) < share * 13


def test_auto_temperature_is_one_where_that_is_enough_or_nothing_helps() -> None:
    assert parsec.temperature(torch.tensor([0.0, 0.1, 0.2, 0.1]), "auto") == 1
    assert parsec.temperature(torch.tensor([5.0]), "auto") == 1
    assert parsec.temperature(torch.full((13,), -50.0), "auto") == 1
    assert parsec.temperature(torch.tensor([-3.0, -math.inf, -math.inf, math.nan]), "auto", min_effective=0.5) == 1


def test_auto_temperature_with_diverged_samples() -> None:
    """Two of eight are left: at most two can be effective, however hot."""
    scores = torch.tensor([-10.0, -400.0] + [-math.inf] * 6)
    tau = parsec.temperature(scores, "auto", min_effective=0.5)
    assert math.isfinite(tau)
    assert parsec.effective_sample_size(parsec.omega(scores, tau)) == pytest.approx(2, rel=1e-3)


def test_other_temperatures() -> None:
    scores = torch.tensor([-300.0, -200.0])
    assert parsec.temperature(scores, "paper", batch_size=64) == 1
    assert parsec.temperature(scores, "mean", batch_size=64) == 64
    # Scores that are log accuracies weigh in proportion to accuracy.
    accuracies = torch.tensor([0.2, 0.5, 0.3])
    weights = parsec.omega(accuracies.log(), parsec.temperature(accuracies.log(), "accuracy", batch_size=64))
    assert weights.tolist() == pytest.approx([0.2, 0.5, 0.3])


def test_adaptive_samples() -> None:
    assert [parsec.adaptive_samples(entropy) for entropy in (70.1, 40.0, 16.0, 15.9, 3.0, 0.0)] == [18, 10, 4, 4, 4, 4]


def test_weights_of_a_step_on_the_network_drop_what_does_not_count() -> None:
    scores = torch.tensor([0.0, -1.0, -20.0, -3.0])
    weights = parsec.weight_step_weights(scores, 1.0)
    exact = parsec.omega(scores, 1.0)
    assert weights[2] == 0
    assert exact[2] < 1e-3 / 4
    assert torch.equal(weights[[0, 1, 3]], exact[[0, 1, 3]])


def test_hinge() -> None:
    costs = torch.tensor([1.0, 2.0, 3.0])
    assert hinge(costs, 2.0).tolist() == [0, 0, 0.5]
    assert hinge(torch.tensor([2_000_000_001]), 2e9).item() == pytest.approx(5e-10, rel=1e-6)


def test_penalty_is_per_clip() -> None:
    costs = torch.tensor([1.0, 3.0])
    pressure = CostPressure("fixed", beta=0.5)
    assert pressure.penalty(costs, 2.0, batch_size=64).tolist() == [0, 0.5 * 64 * 0.5]
    assert not pressure.coefficients(costs, 2.0).any()
    assert pressure.after(9.0, 2.0) == pressure


def test_log_mean_is_the_gradient_of_the_log_of_the_mean_cost() -> None:
    """Over the whole space, costs weighed by the prior: -beta grad log E[c] enters as coefficients."""
    distribution, _ = problem(3)
    generator = torch.Generator().manual_seed(4)
    costs = 3 * torch.rand(len(ALL), generator=generator, dtype=torch.float64)
    over = hinge(costs, 1.0)
    beta = 0.7
    exact = autograd(distribution, lambda log_p: beta * torch.log((log_p.exp() * over).sum()))
    # Draws in proportion to the prior, many enough that frequencies are exact: each architecture n_a times.
    counts = (distribution.log_prob(ALL).exp() * 20_000).round().long()
    choices = [ALL[a] for a in range(len(ALL)) for _ in range(int(counts[a]))]
    coefficients = CostPressure("log_mean", beta).coefficients(costs.repeat_interleave(counts), 1.0)
    assert float(coefficients.sum()) == pytest.approx(0, abs=1e-9)
    # Counts are rounded to 1 in 20,000 draws.
    torch.testing.assert_close(parsec.alpha_gradient(choices, coefficients, SIZES), exact, rtol=0, atol=2e-3)
    assert not CostPressure("log_mean", beta).coefficients(torch.tensor([0.5, 0.9]), 1.0).any()


def test_dual_ascent() -> None:
    pressure = CostPressure("dual", beta=1.0)
    assert pressure.after(3.0, 2.0).beta == pytest.approx(math.exp(0.05 * 0.5))
    # Fast while nothing is settled.
    assert pressure.after(3.0, 2.0, ascent_rate(1.0)).beta == pytest.approx(math.exp(0.2 * 0.5))
    assert pressure.after(3.0, 2.0, ascent_rate(0.0)) == pressure.after(3.0, 2.0)
    assert pressure.after(1.0, 2.0).beta < 1
    assert pressure.after(2.0, 2.0).beta == 1
    for _ in range(3000):
        pressure = pressure.after(10.0, 2.0)
    assert pressure.beta == 100
    for _ in range(3000):
        pressure = pressure.after(0.0, 2.0)
    assert pressure.beta == 0.01


def test_dual_ascent_starts_at_the_spread_of_the_scores_per_clip() -> None:
    scores = torch.tensor([-70.0, -64.0, -58.0])
    assert starting_beta(scores, 64) == pytest.approx(6 / 64)
    assert starting_beta(torch.cat([scores, torch.tensor([math.nan, -math.inf])]), 64) == pytest.approx(6 / 64)
    # It stays within what dual ascent allows, and one score says nothing.
    assert starting_beta(torch.tensor([-3.0, -3.0]), 64) == 0.01
    assert starting_beta(torch.tensor([-3.0, -1e9]), 1) == 100
    assert starting_beta(torch.tensor([-3.0, math.nan]), 64) == 1
