"""One step of the search on alpha: sample, score, weigh, move."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vidnas.search import parsec
from vidnas.search.budget import Budget
from vidnas.search.distribution import Distribution
from vidnas.search.objective import CostPressure, UsePressure, ascent_rate, starting_beta
from vidnas.search.protocols import Scorer
from vidnas.search.space.space import Choice


@dataclass(frozen=True)
class AlphaSettings:
    """How alpha is learned.

    Attributes:
        samples: K architectures per step; None makes it a quarter of the entropy that is left, at least 4.
        lr: learning rate of Adam on alpha, without weight decay.
        temperature: how the temperature is found that scores are divided by; `parsec.temperature` explains the modes.
        min_effective: effective sample size that `auto` keeps, as a fraction of K.
        pressure: how each budget's cost enters, at the start; None is dual ascent from `starting_beta`.
        use: share of a budget below which dual ascent from `starting_beta` presses as well; 0 leaves it alone.
    """

    samples: int | None = 13
    lr: float = 0.025
    temperature: parsec.TemperatureMode = "auto"
    min_effective: float = 0.5
    pressure: CostPressure | None = None
    use: float = 0.0


@dataclass(frozen=True)
class AlphaStep:
    """What one step saw and did; lists run over the distinct choices.

    Attributes:
        choices: the distinct sampled architectures.
        counts: how often each was drawn.
        scores: summed log-likelihoods, without the cost.
        costs: their costs in the unit of the first budget.
        weights: the share of omega of each.
        temperature: tau.
        entropy: entropy of the distribution in nats, before the step.
        betas: factors of the hinges, one per budget, before the step.
        mean_costs: mean cost per budget, over all samples, repeated ones included.
    """

    step: int
    choices: tuple[Choice, ...]
    counts: tuple[int, ...]
    scores: tuple[float, ...]
    costs: tuple[float, ...]
    weights: tuple[float, ...]
    temperature: float
    entropy: float
    betas: tuple[float, ...]
    mean_costs: tuple[float, ...]


def alpha_lr_by_rule(steps: int) -> float:
    """Learning rate of alpha for a search of so many steps: enough to converge, but no more than 0.05."""
    return min(0.05, 45 / max(steps, 1))


class AlphaSearch:
    """The distribution, its optimiser and the pressure of the costs: all that a search on alpha has to remember.

    Args:
        budgets: at least one; all are to be kept.
        settings: how alpha is learned.
        seed: seed of the samples.
    """

    def __init__(self, budgets: Sequence[Budget], settings: AlphaSettings, seed: int) -> None:
        self.budgets = tuple(budgets)
        self.settings = settings
        self.seed = seed
        self.distribution = Distribution(budgets[0].costs.sizes)
        self.pressures = (settings.pressure or CostPressure(),) * len(self.budgets)
        self._use = UsePressure(settings.use) if settings.use else None
        self._adam = torch.optim.Adam([self.distribution.logits], lr=settings.lr, weight_decay=0.0)

    def sample(self, step: int) -> list[Choice]:
        """The K architectures of a step, the same whenever it is asked."""
        entropy = self.distribution.entropy()
        number = self.settings.samples or parsec.adaptive_samples(entropy)
        return self.distribution.sample(number, self.seed, step)

    def step(self, step: int, scorer: Scorer, batch_size: int) -> AlphaStep:
        """Sample, score the distinct ones, and move alpha; `batch_size` is the clips that a score sums over."""
        samples = self.sample(step)
        choices, _ = parsec.distinct(samples)
        return self.update(step, samples, scorer(choices), batch_size)

    def update(
        self, step: int, samples: Sequence[Choice], distinct_scores: Sequence[float], batch_size: int
    ) -> AlphaStep:
        """Move alpha by the scores of the distinct samples, in the order of `parsec.distinct`."""
        choices, inverse = parsec.distinct(samples)
        distinct_costs = [torch.as_tensor(b.costs.costs(choices), dtype=torch.float64) for b in self.budgets]
        # Log accuracies are not sums over the batch, so the cost is not scaled by it either.
        summed = 1 if self.settings.temperature == "accuracy" else batch_size
        scores = torch.tensor(distinct_scores, dtype=torch.float64)[inverse]
        if step == 0:
            self._start(starting_beta(scores, summed))
        pressed = [
            (pressure, costs[inverse], budget.target)
            for pressure, costs, budget in zip(self.pressures, distinct_costs, self.budgets, strict=True)
        ]
        entropy = self.distribution.entropy()
        rate = ascent_rate(entropy / max(self.distribution.initial_entropy, 1e-12))
        judged = scores.clone()
        for pressure, costs, target in pressed:
            judged -= pressure.penalty(costs, target, summed)
        if self._use is not None:
            unused = self._use.unused([costs for _, costs, _ in pressed], [target for *_, target in pressed])
            judged -= self._use.penalty(unused, summed)
            self._use = self._use.after(float(unused.mean()), rate)
        tau = parsec.temperature(
            judged,
            self.settings.temperature,
            batch_size=batch_size,
            min_effective=self.settings.min_effective,
        )
        weights = parsec.omega(judged, tau)
        coefficients = weights - 1 / len(samples)
        for pressure, costs, target in pressed:
            coefficients = coefficients + pressure.coefficients(costs, target)
        record = AlphaStep(
            step=step,
            choices=tuple(choices),
            counts=tuple(torch.bincount(torch.tensor(inverse)).tolist()),
            scores=tuple(distinct_scores),
            costs=tuple(distinct_costs[0].tolist()),
            weights=tuple(torch.zeros(len(choices)).double().index_add_(0, torch.tensor(inverse), weights).tolist()),
            temperature=tau,
            entropy=entropy,
            betas=tuple(pressure.beta for pressure in self.pressures),
            mean_costs=tuple(float(costs.mean()) for _, costs, _ in pressed),
        )
        self.distribution.logits.grad = self.gradient(samples, coefficients)
        self._adam.step()
        self.pressures = tuple(
            pressure.after(mean, target, rate)
            for (pressure, _, target), mean in zip(pressed, record.mean_costs, strict=True)
        )
        return record

    def _start(self, beta: float) -> None:
        """Where dual ascent begins."""
        if self.settings.pressure is None:
            self.pressures = (CostPressure(beta=beta),) * len(self.budgets)
        if self._use is not None:
            self._use = replace(self._use, beta=beta)

    def gradient(self, samples: Sequence[Choice], coefficients: torch.Tensor) -> torch.Tensor:
        """What Adam takes a step along, from coefficients that sum to 0, (variables, largest size)."""
        return parsec.alpha_gradient(samples, coefficients, self.distribution.sizes)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and builtins only: alpha, Adam's moments, the betas."""
        return {
            "alpha": self.distribution.state_dict(),
            "adam": self._adam.state_dict(),
            "betas": [pressure.beta for pressure in self.pressures],
            "use_beta": self._use and self._use.beta,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken: the same samples and the same alpha follow."""
        self.distribution.load_state_dict(state["alpha"])
        self._adam.load_state_dict(state["adam"])
        self.pressures = tuple(
            replace(pressure, beta=beta) for pressure, beta in zip(self.pressures, state["betas"], strict=True)
        )
        if self._use is not None:
            self._use = replace(self._use, beta=state["use_beta"])
