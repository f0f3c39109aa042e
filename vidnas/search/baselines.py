"""Searches to compare with: random search, regularised evolution, REINFORCE. All work on a `Scorer`."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from vidnas.base.errors import VidnasError
from vidnas.search import parsec
from vidnas.search.budget import Budget, usage
from vidnas.search.derive import derive
from vidnas.search.distribution import Distribution
from vidnas.search.objective import CostPressure
from vidnas.search.protocols import Scorer
from vidnas.search.space.space import Choice

# Draws at a time, and how many times in a row none may fit before a budget counts as too tight for rejection.
_BLOCK = 1000
_MISSES = 40
# Streams of random numbers under one seed.
_REJECTED, _PERTURBED, _OFFSPRING = range(3)
# What a diverged architecture is rewarded with, in standard deviations from the mean.
_DIVERGED = -3.0


@dataclass(frozen=True)
class Evaluation:
    """A choice and its score; a diverged one has minus infinity."""

    choice: Choice
    score: float


@dataclass(frozen=True)
class EvolutionSettings:
    """How evolution selects.

    Attributes:
        population: number that are alive; the first ones are drawn at random.
        tournament: number of the living that a parent is the best of.
    """

    population: int = 50
    tournament: int = 10


@dataclass(frozen=True)
class ReinforceSettings:
    """How the policy is learned.

    Attributes:
        samples: architectures per step.
        lr: learning rate of Adam on the policy, without weight decay.
        decay: decay of the moving averages, per step.
        pressure: how each budget's cost enters, at the start; its unit is a standard deviation of the scores.
    """

    samples: int = 4
    lr: float = 0.025
    decay: float = 0.9
    pressure: CostPressure = field(default_factory=CostPressure)


@dataclass(frozen=True)
class ReinforceStep:
    """What REINFORCE evaluated, in order, and the policy that it ends with."""

    evaluated: list[Evaluation]
    distribution: Distribution


def random_search(scorer: Scorer, budgets: Sequence[Budget], queries: int, seed: int) -> list[Evaluation]:
    """Scores independent draws from all choices within the budgets, in one call.

    Raises:
        VidnasError: nothing in the space is within the budgets.
    """
    return _evaluate(scorer, list(islice(choices_within(budgets, seed), queries)))


def evolution(
    scorer: Scorer,
    budgets: Sequence[Budget],
    queries: int,
    seed: int,
    settings: EvolutionSettings = EvolutionSettings(),
    start: Sequence[Choice] = (),
) -> list[Evaluation]:
    """Regularised evolution: each child replaces the oldest (Real et al., arXiv 1802.01548).

    A child differs from its parent in one variable, drawn from all such changes that keep the budgets; where none does,
    a random choice takes its place. `start` is the oldest part of the first population; random choices fill it up.

    Raises:
        VidnasError: nothing in the space is within the budgets.
    """
    newcomers = choices_within(budgets, seed)
    evaluated = _evaluate(scorer, list(islice(chain(start, newcomers), min(settings.population, queries))))
    alive = deque(evaluated, maxlen=settings.population)
    while len(evaluated) < queries:
        rng = np.random.default_rng((seed, _OFFSPRING, len(evaluated)))
        fighters = rng.choice(len(alive), min(settings.tournament, len(alive)), replace=False)
        parent = max((alive[i] for i in fighters), key=lambda one: one.score)
        children = neighbours_within(budgets, parent.choice)
        child = children[rng.integers(len(children))] if children else next(newcomers)
        evaluated += _evaluate(scorer, [child])
        alive.append(evaluated[-1])
    return evaluated


def reinforce(
    scorer: Scorer,
    budgets: Sequence[Budget],
    queries: int,
    seed: int,
    settings: ReinforceSettings = ReinforceSettings(),
) -> ReinforceStep:
    """Policy gradient with a moving baseline on the same distribution and cost pressure as PARSEC's.

    Rewards are scores in units of their moving standard deviation, so that neither the step nor the pressure depends on
    the number of clips. The policy may sample what is over a budget; derive from it under the budgets. A step's
    repeated samples are scored once and count as one query.
    """
    distribution = Distribution(budgets[0].costs.sizes)
    adam = torch.optim.Adam([distribution.logits], lr=settings.lr, weight_decay=0.0)
    pressures = [settings.pressure] * len(budgets)
    mean, square, baseline = (_Moving(settings.decay) for _ in range(3))
    evaluated: list[Evaluation] = []
    step = 0
    while len(evaluated) < queries:
        samples = distribution.sample(settings.samples, seed, step)
        allowed, _ = parsec.distinct(samples)
        new = _evaluate(scorer, allowed[: queries - len(evaluated)])
        evaluated += new
        known = {one.choice: one.score for one in new}
        samples = [choice for choice in samples if choice in known]
        rewards = _standardised(torch.tensor([known[choice] for choice in samples]).double(), mean, square)
        for i, (pressure, budget) in enumerate(zip(pressures, budgets, strict=True)):
            costs = torch.as_tensor(budget.costs.costs(samples), dtype=torch.float64)
            rewards -= pressure.penalty(costs, budget.target, 1)
            pressures[i] = pressure.after(float(costs.mean()), budget.target)
        expected = baseline.value if step else float(rewards.mean())
        baseline.add(float(rewards.mean()))
        coefficients = (rewards - expected) / len(samples)
        gradient = parsec.alpha_gradient(samples, coefficients, distribution.sizes)
        # Unlike PARSEC's, these coefficients do not sum to 0, so the probabilities stay in the gradient.
        distribution.logits.grad = gradient + coefficients.sum() * distribution.probabilities()
        adam.step()
        step += 1
    return ReinforceStep(evaluated, distribution)


def choices_within(budgets: Sequence[Budget], seed: int, least: float = 0.0) -> Iterator[Choice]:
    """Endless independent draws, uniform among the choices within the budgets.

    Draws that do not fit are rejected. Where nearly none fits, the most probable choice within the budgets of a random
    distribution is taken instead, with random changes that use more of them, which is not exactly uniform.

    Args:
        budgets: that are to be kept.
        seed: of the draws.
        least: share of one of the budgets, whichever it is, that has to be used.

    Raises:
        VidnasError: nothing in the space is within the budgets, or uses that much of one.
    """
    sizes = np.asarray(budgets[0].costs.sizes)
    block = misses = 0
    while misses < _MISSES:
        rng = np.random.default_rng((seed, _REJECTED, block))
        drawn = [tuple(row) for row in rng.integers(sizes, size=(_BLOCK, len(sizes))).tolist()]
        used = usage(budgets, drawn)
        fits = np.flatnonzero((used >= least) & (used <= 1))
        yield from (drawn[i] for i in fits)
        block += 1
        misses = 0 if len(fits) else misses + 1
    distribution = Distribution(sizes.tolist())
    failed = 0
    while failed < _MISSES:
        rng = np.random.default_rng((seed, _PERTURBED, block))
        distribution.logits.copy_(torch.from_numpy(rng.gumbel(size=distribution.logits.shape)))
        choice = raised(derive(distribution, budgets).choice, budgets, least, _picking(rng))
        failed = failed + 1 if choice is None else 0
        if choice is not None:
            yield choice
        block += 1
    names = " or ".join(budget.costs.metric for budget in budgets)
    raise VidnasError(
        f"no network was found that uses {least:.0%} of its {names}; lower that, or search a larger space"
    )


def neighbours_within(budgets: Sequence[Budget], choice: Choice) -> list[Choice]:
    """All choices within the budgets that differ from this one in one variable."""
    changed = [
        (*choice[:v], option, *choice[v + 1 :])
        for v, size in enumerate(budgets[0].costs.sizes)
        for option in range(size)
        if option != choice[v]
    ]
    if not changed:
        return []
    return [changed[i] for i in np.flatnonzero(usage(budgets, changed) <= 1)]


def _picking(rng: np.random.Generator) -> Callable[[Sequence[Choice]], Choice]:
    return lambda choices: choices[int(rng.integers(len(choices)))]


def raised(
    choice: Choice, budgets: Sequence[Budget], least: float, pick: Callable[[Sequence[Choice]], Choice]
) -> Choice | None:
    """Variables changed one after another, to what uses more, until a share of a budget is used.

    Args:
        choice: within the budgets.
        budgets: that are kept throughout.
        least: share of one of the budgets, whichever it is.
        pick: which of the choices that use more comes next.

    Returns:
        None where no change leads there.
    """
    used = usage(budgets, [choice])[0]
    while used < least:
        near = neighbours_within(budgets, choice)
        uses = usage(budgets, near) if near else np.empty(0)
        more = [one for one, use in zip(near, uses, strict=True) if use > used]
        if not more:
            return None
        choice = pick(more)
        used = usage(budgets, [choice])[0]
    return choice


class _Moving:
    """An exponential moving average that is not drawn to its start."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._sum = self._weight = 0.0

    def add(self, value: float) -> None:
        self._sum = self.decay * self._sum + (1 - self.decay) * value
        self._weight = self.decay * self._weight + 1 - self.decay

    @property
    def value(self) -> float:
        return self._sum / self._weight


def _standardised(scores: Tensor, mean: _Moving, square: _Moving) -> Tensor:
    """Scores in moving standard deviations from their moving mean, which take these scores in first."""
    finite = scores[scores.isfinite()]
    if not len(finite):
        return torch.full_like(scores, _DIVERGED)
    mean.add(float(finite.mean()))
    square.add(float((finite - mean.value).square().mean()))
    deviation = max(square.value, 1e-24) ** 0.5
    return torch.where(scores.isfinite(), (scores - mean.value) / deviation, _DIVERGED)


def _evaluate(scorer: Scorer, choices: Sequence[Choice]) -> list[Evaluation]:
    if not choices:
        return []
    scores = torch.as_tensor(scorer(choices), dtype=torch.float64).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    return [Evaluation(choice, score) for choice, score in zip(choices, scores.tolist(), strict=True)]
