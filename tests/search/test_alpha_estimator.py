"""The gradient that `AlphaSearch.update` steps along, over all draws of a space of 24 architectures, in float64."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
import torch
from torch import Tensor

from vidnas.search import parsec
from vidnas.search.alpha import AlphaSearch, AlphaSettings
from vidnas.search.budget import Budget
from vidnas.search.distribution import Distribution
from vidnas.search.objective import CostPressure
from vidnas.search.space.space import Choice
from vidnas.search.tabular import ColumnCosts

SIZES = (2, 3, 4)
ALL = list(product(*(range(size) for size in SIZES)))


class ByProbabilities(AlphaSearch):
    """Without the control variate: what is subtracted are the probabilities, not the samples' frequencies."""

    def gradient(self, samples: Sequence[Choice], coefficients: Tensor) -> Tensor:
        return super().gradient(samples, coefficients + 1 / len(samples)) + self.distribution.probabilities()


class Uncentred(AlphaSearch):
    """A mistake: coefficients that do not sum to 0, where `parsec.alpha_gradient` relies on it."""

    def gradient(self, samples: Sequence[Choice], coefficients: Tensor) -> Tensor:
        return super().gradient(samples, coefficients + 1 / len(samples))


class Problem:
    """Random alpha, random scores of all architectures, and a budget that no architecture exceeds."""

    def __init__(
        self, seed: int, kind: type[AlphaSearch] = AlphaSearch, temperature: parsec.TemperatureMode = "paper"
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        free = Budget(ColumnCosts("macs", np.ones(SIZES)), 1.0)
        settings = AlphaSettings(temperature=temperature, pressure=CostPressure("fixed", 1.0))
        self.search = kind([free], settings, seed)
        logits = self.search.distribution.logits
        self.alpha = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
        logits.copy_(self.alpha)
        self.scores = torch.randn(len(ALL), generator=generator, dtype=torch.float64)
        self.log_p = self.search.distribution.log_prob(ALL)

    def gradient(self, drawn: Sequence[int]) -> Tensor:
        """Of alpha, from a real update on these architectures; alpha is then put back."""
        samples = [ALL[a] for a in drawn]
        different, _ = parsec.distinct(samples)
        self.search.update(0, samples, [float(self.scores[ALL.index(c)]) for c in different], batch_size=1)
        logits = self.search.distribution.logits
        logits.copy_(self.alpha)
        assert logits.grad is not None
        return logits.grad

    def moments(self, number: int) -> tuple[Tensor, float]:
        """Exact mean and total variance of the gradient over all draws of `number`, whose order does not matter."""
        draws = list(combinations_with_replacement(range(len(ALL)), number))
        orders = [math.factorial(number) / math.prod(map(math.factorial, Counter(draw).values())) for draw in draws]
        chance = self.log_p[torch.tensor(draws)].sum(1).exp() * torch.tensor(orders, dtype=torch.float64)
        assert float(chance.sum()) == pytest.approx(1, abs=1e-12)
        gradients = torch.stack([self.gradient(draw) for draw in draws])
        mean = torch.einsum("n,nvi->vi", chance, gradients)
        return mean, float(chance @ (gradients - mean).square().sum((1, 2)))

    def expected(self, number: int) -> Tensor:
        """The mean of -sum_k omega_k grad log P(A_k), by autograd over all 24^K tuples."""
        drawn = torch.cartesian_prod(*[torch.arange(len(ALL))] * number)
        leaf = Distribution(SIZES)
        leaf.logits = self.alpha.clone().requires_grad_()
        chance = self.log_p[drawn].sum(1).exp()
        weights = torch.softmax(self.scores[drawn], 1)
        (-(chance[:, None] * weights * leaf.log_prob(ALL)[drawn]).sum()).backward()
        assert leaf.logits.grad is not None
        return leaf.logits.grad


@pytest.mark.parametrize(("number", "seed"), [(2, 0), (2, 1), (3, 2)])
def test_the_control_variate_changes_no_mean_and_lowers_the_variance(number: int, seed: int) -> None:
    problem, without = Problem(seed), Problem(seed, ByProbabilities)
    mean, variance = problem.moments(number)
    plain_mean, plain_variance = without.moments(number)
    # Sums of some thousand terms in float64.
    torch.testing.assert_close(mean, problem.expected(number), rtol=0, atol=1e-13)
    torch.testing.assert_close(plain_mean, mean, rtol=0, atol=1e-13)
    assert variance < 0.9 * plain_variance


def test_coefficients_that_do_not_sum_to_zero_are_noticed() -> None:
    mean, _ = Problem(0, Uncentred).moments(2)
    assert (mean - Problem(0).expected(2)).abs().max() > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_the_variance_is_less_than_half_at_13_samples(seed: int) -> None:
    """At the default temperature, where no fewer than half of the samples count; a colder one gains less.

    By 300 draws of 13, the same for both, which leaves an error of some percent.
    """
    problem, without = Problem(seed, temperature="auto"), Problem(seed, ByProbabilities, "auto")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(problem.log_p.exp(), 13 * 300, True, generator=generator).reshape(300, 13).tolist()
    ours, plain = (torch.stack([p.gradient(draw) for draw in drawn]) for p in (problem, without))
    assert plain.var(0).sum() / ours.var(0).sum() > 2
