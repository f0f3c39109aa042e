"""A planted architecture in a table of 44 variables: the search on alpha against a known optimum."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vidnas.search.alpha import AlphaSearch, AlphaSettings, AlphaStep
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.derive import derive, most_probable_under
from vidnas.search.distribution import Distribution
from vidnas.search.space.space import Choice

CLIPS = 64
# How far over the budget the derived architecture may be.
SLACK = 0.02


class Planted:
    """Quality falls with every variable's distance from a planted architecture; 44 variables in AutoX3D's space.

    The budget is 60% of the planted architecture's cost, so the best that is allowed is another one; dynamic
    programming finds it, as quality is a sum over variables.
    """

    def __init__(self, table: CostTable, seed: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = table.space.sizes
        planted = Distribution(sizes).sample(1, seed, 0)[0]
        self.quality = [
            -rng.uniform(0.5, 1.5) * np.abs(np.arange(size) - place) / (size - 1)
            for size, place in zip(sizes, planted, strict=True)
        ]
        self.target = 0.6 * table.cost(planted)
        oracle = Distribution(sizes)
        for v, values in enumerate(self.quality):
            oracle.logits[v, : len(values)] = torch.from_numpy(values)
        self.best = self.of(most_probable_under(oracle, table, self.target))
        self.mean = sum(float(values.mean()) for values in self.quality)

    def of(self, choice: Choice) -> float:
        """Quality of an architecture, at most 0."""
        return sum(float(values[i]) for values, i in zip(self.quality, choice, strict=True))

    def regret(self, choice: Choice) -> float:
        """0 for the best that the budget allows, 1 for an average architecture."""
        return (self.best - self.of(choice)) / (self.best - self.mean)

    def score(self, choices: Sequence[Choice]) -> list[float]:
        """Summed log-likelihoods, as a supernet would give them for `CLIPS` clips."""
        return [CLIPS * 0.05 * self.of(choice) for choice in choices]


def run(search: AlphaSearch, problem: Planted, steps: int, *, permute: bool = False) -> AlphaStep:
    """All steps; with `permute` the samples of a step get each other's scores, so that scores mean nothing."""
    rng = np.random.default_rng(0)

    def scorer(choices: Sequence[Choice]) -> list[float]:
        scores = problem.score(choices)
        return list(rng.permutation(scores)) if permute else scores

    for step in range(steps):
        last = search.step(step, scorer, CLIPS)
    return last


@dataclass(frozen=True)
class Outcome:
    """Where a search ended.

    Attributes:
        regret: of the derived architecture.
        cost_share: mean cost F of samples from the distribution, as a share of the target T.
        entropy_share: H / H0.
        cpu_sec: of the steps.
    """

    regret: float
    cost_share: float
    entropy_share: float
    cpu_sec: float


def solve(
    table: CostTable, seed: int, steps: int, settings: AlphaSettings | None = None, *, permute: bool = False
) -> Outcome:
    """Search the planted problem of a seed."""
    problem = Planted(table, seed)
    budgets = [Budget(table, problem.target)]
    search = AlphaSearch(budgets, settings or AlphaSettings(), seed)
    start = time.process_time()
    run(search, problem, steps, permute=permute)
    seconds = time.process_time() - start
    distribution = search.distribution
    return Outcome(
        regret=problem.regret(derive(distribution, budgets, slack=SLACK).choice),
        cost_share=float(np.mean(table.costs(distribution.sample(500, 1, 0)))) / problem.target,
        entropy_share=distribution.entropy() / distribution.initial_entropy,
        cpu_sec=seconds,
    )
