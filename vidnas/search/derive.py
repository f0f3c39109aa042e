"""From a distribution to one architecture: the most probable one that the budgets allow."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from vidnas.base.errors import VidnasError
from vidnas.search.budget import Budget, usage
from vidnas.search.costs import CostTable
from vidnas.search.distribution import Distribution
from vidnas.search.factor_fronts import best_under, best_under_all
from vidnas.search.factors import Factor, FactorSum
from vidnas.search.space.space import Choice


@dataclass(frozen=True)
class Candidate:
    """A derived architecture.

    Attributes:
        choice: the architecture.
        cost: its cost in the unit of the first budget.
        log_prob: logarithm of its probability under the distribution.
        rank: its place among the most probable, 1 for the first; None if it came from elsewhere (elimination under a
            budget, evolution).
    """

    choice: Choice
    cost: float
    log_prob: float
    rank: int | None


def most_probable_choices(distribution: Distribution) -> Iterator[tuple[Choice, float]]:
    """All choices with their log-probabilities, most probable first, each once (best-first search)."""
    log_p = distribution.log_probabilities().numpy()
    # Per variable its options, most probable first, and what each loses against the first.
    order = [np.argsort(-row[:size], kind="stable") for row, size in zip(log_p, distribution.sizes, strict=True)]
    loss = [row[ranked[0]] - row[ranked] for row, ranked in zip(log_p, order, strict=True)]
    best = float(sum(row[ranked[0]] for row, ranked in zip(log_p, order, strict=True)))
    # Every rank vector is reached once: from the one whose last raised variable is one lower.
    heap = [(0.0, (0,) * len(order), 0)]
    while heap:
        lost, ranks, first = heapq.heappop(heap)
        yield tuple(int(ranked[r]) for ranked, r in zip(order, ranks, strict=True)), best - lost
        for v in range(first, len(order)):
            r = ranks[v] + 1
            if r < len(loss[v]):
                step = float(loss[v][r] - loss[v][r - 1])
                heapq.heappush(heap, (lost + step, (*ranks[:v], r, *ranks[v + 1 :]), v))


def derive(
    distribution: Distribution, budgets: Sequence[Budget], *, slack: float = 0.0, among: int = 1000
) -> Candidate:
    """The most probable choice with every cost <= target * (1 + slack).

    The `among` most probable are tried in order; if none fits, as with an unconverged distribution, elimination of the
    variables finds one. Costs that are no sums of factors (a benchmark's columns) are tried to the last one.

    Deviation: the papers take the most probable option of each variable, whatever it costs.

    Raises:
        VidnasError: nothing in the space costs so little.
    """
    additive = all(isinstance(budget.costs, CostTable) for budget in budgets)
    first = next(fitting_choices(distribution, budgets, slack=slack, among=among if additive else None), None)
    if first is not None:
        return first
    wanted = " and ".join(f"{budget.costs.metric} <= {budget.target * (1 + slack):.4g}" for budget in budgets)
    if not additive:
        raise VidnasError(f"no architecture of the benchmark has {wanted}; raise the target")
    tables = [budget.costs for budget in budgets if isinstance(budget.costs, CostTable)]
    limits = [budget.target * (1 + slack) for budget in budgets]
    for table, limit in zip(tables, limits, strict=True):
        check_reachable(table, limit)
    choice = best_under_all([table.terms for table in tables], log_probability(distribution), limits)
    if choice is None:
        raise VidnasError(f"no architecture of the space {tables[0].space.name} was found with {wanted}; raise one")
    return Candidate(choice, tables[0].cost(choice), float(distribution.log_prob([choice])), None)


def fitting_choices(
    distribution: Distribution, budgets: Sequence[Budget], *, slack: float = 0.0, among: int | None = None
) -> Iterator[Candidate]:
    """Those of the `among` most probable choices that keep every budget, most probable first; None means all."""
    listed = islice(most_probable_choices(distribution), among)
    rank = 0
    while batch := list(islice(listed, 100)):
        choices = [choice for choice, _ in batch]
        costs = budgets[0].costs.costs(choices).tolist()
        fits = usage(budgets, choices) <= 1 + slack
        for (choice, log_prob), cost, fit in zip(batch, costs, fits, strict=True):
            rank += 1
            if fit:
                yield Candidate(choice, cost, log_prob, rank)


def most_probable_under(distribution: Distribution, table: CostTable, limit: float) -> Choice:
    """The most probable choice with cost <= limit, as exact as `pareto_front`.

    Raises:
        VidnasError: nothing in the space costs so little.
    """
    check_reachable(table, limit)
    return best_under(table.terms, log_probability(distribution), limit)


def log_probability(distribution: Distribution) -> FactorSum:
    """log P of every choice, one factor per variable."""
    rows = distribution.log_probabilities().numpy()
    factors = (Factor((v,), row[:size]) for v, (row, size) in enumerate(zip(rows, distribution.sizes, strict=True)))
    return FactorSum.of(distribution.sizes, factors)


def check_reachable(table: CostTable, limit: float) -> None:
    """Refuse a limit that nothing in the space keeps.

    Raises:
        VidnasError: it is one; the least cost is given.
    """
    _, least = table.cheapest()
    if least > limit:
        raise VidnasError(
            f"no architecture of the space {table.space.name} has {table.metric} <= {limit:.4g}, the smallest has "
            f"{least:.4g}; raise the target or search a smaller space"
        )
