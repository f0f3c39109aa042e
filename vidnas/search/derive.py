"""From a distribution to one architecture: the most probable one that the budgets allow."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vidnas.base.errors import VidnasError
from vidnas.search.budget import Budget, usage
from vidnas.search.costs import CostTable
from vidnas.search.distribution import Distribution
from vidnas.search.space import Choice
from vidnas.search.stream_space import KINDS, GroupChoice

Floats = NDArray[np.float64]
# Partial architectures kept per number of channels in the search under a budget.
WIDTH = 500
# Reweightings of several limits that are tried.
_ROUNDS = 30


@dataclass(frozen=True)
class Derived:
    """A derived architecture.

    Attributes:
        choice: the architecture.
        cost: in the unit of the first budget.
        log_prob: under the distribution.
        rank: its place among the most probable, 1 for the first; None if it came from elsewhere (dynamic programming,
            evolution).
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


def derive(distribution: Distribution, budgets: Sequence[Budget], *, slack: float = 0.0, among: int = 1000) -> Derived:
    """The most probable choice with every cost <= target * (1 + slack).

    The `among` most probable are tried in order; if none fits, as with an unconverged distribution, dynamic programming
    over the groups finds one. Costs that are not sums over groups (a benchmark's columns) are tried to the last one.

    Deviation: the papers take the most probable option of each variable, whatever it costs.

    Raises:
        VidnasError: nothing in the space costs so little.
    """
    additive = all(isinstance(budget.costs, CostTable) for budget in budgets)
    first = next(fitting_choices(distribution, budgets, slack=slack, among=among if additive else None), None)
    if first is not None:
        return first
    wanted = ", ".join(f"{budget.costs.metric} <= {budget.target * (1 + slack):.4g}" for budget in budgets)
    if not additive:
        raise VidnasError(f"no architecture of the benchmark has {wanted}; raise the target")
    tables = [budget.costs for budget in budgets if isinstance(budget.costs, CostTable)]
    limits = [budget.target * (1 + slack) for budget in budgets]
    choice = (
        most_probable_under(distribution, tables[0], limits[0])
        if len(tables) == 1
        else _most_probable_under_all(distribution, tables, limits)
    )
    return Derived(choice, tables[0].cost(choice), float(distribution.log_prob([choice])), None)


def fitting_choices(
    distribution: Distribution, budgets: Sequence[Budget], *, slack: float = 0.0, among: int | None = None
) -> Iterator[Derived]:
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
                yield Derived(choice, cost, log_prob, rank)


def _most_probable_under_all(
    distribution: Distribution, tables: Sequence[CostTable], limits: Sequence[float]
) -> Choice:
    """A probable choice that keeps several limits.

    Their weighted sum of cost / limit is one additive cost, and keeping it at 1 is necessary; the weight of a limit
    that is broken grows. The most probable of the choices found that keep all is returned, not always the best.

    Raises:
        VidnasError: a limit is below what the space has, or no choice that keeps all was found.
    """
    for table, limit in zip(tables, limits, strict=True):
        _check_reachable(table, limit)
    weights = np.full(len(tables), 1 / len(tables))
    found: list[tuple[float, Choice]] = []
    for number in range(_ROUNDS):
        terms = tuple(
            sum(w * term / limit for w, term, limit in zip(weights, group, limits, strict=True))
            for group in zip(*(table.terms for table in tables), strict=True)
        )
        mixed = replace(tables[0], metric="mixed cost", terms=terms)
        least = mixed.cheapest()[1]
        if least > 1:
            break
        # Where the limits pull apart no weights may do alone, so room is made step by step.
        choice = most_probable_under(distribution, mixed, max(least, 1 - number / _ROUNDS))
        ratios = np.array([table.cost(choice) / limit for table, limit in zip(tables, limits, strict=True)])
        if (ratios <= 1).all():
            found.append((float(distribution.log_prob([choice])), choice))
        weights = weights * ratios ** (1 / (1 + number / 3))
        weights = weights / weights.sum()
    if not found:
        wanted = " and ".join(f"{table.metric} <= {limit:.4g}" for table, limit in zip(tables, limits, strict=True))
        raise VidnasError(f"no architecture of the space {tables[0].space.name} was found with {wanted}; raise one")
    return max(found)[1]


def most_probable_under(distribution: Distribution, table: CostTable, limit: float) -> Choice:
    """The most probable choice with cost <= limit, by dynamic programming along the groups.

    Exact while no more than `WIDTH` partial architectures per number of channels are worth keeping, else the best of
    those that are kept, spread over the costs; whatever it returns fits the limit.

    Raises:
        VidnasError: nothing in the space costs so little.
    """
    _check_reachable(table, limit)
    limit *= 1 + 1e-12  # sums of milliseconds round differently from both ends
    log_p = _group_log_probabilities(distribution, table)
    remaining = _least_remaining(table)
    # Per number of channels: cost and log-probability of the partial architectures kept, and their links.
    fronts: list[tuple[Floats, Floats]] = [(np.zeros(1), np.zeros(1))]
    links: list[list[NDArray[np.int64]]] = []
    for g, term in enumerate(table.terms):
        links.append([])
        following = []
        for c in range(term.shape[3]):
            costs, logs, back = [], [], []
            for before, (cost, log) in enumerate(fronts):
                own = np.indices((term.shape[1], term.shape[2], term.shape[4])).reshape(3, -1)
                option_cost = term[before, own[0], own[1], c, own[2]].astype(np.float64)
                option_log = log_p[g][own[0], own[1], c, own[2]]
                keep = _front(option_cost, option_log)
                own, option_cost, option_log = own[:, keep], option_cost[keep], option_log[keep]
                costs.append((cost[:, None] + option_cost).ravel())
                logs.append((log[:, None] + option_log).ravel())
                kept, number = len(cost), len(keep)
                back.append(
                    np.stack(
                        [
                            np.full(kept * number, before),
                            np.repeat(np.arange(kept), number),
                            *np.tile(own, (1, kept)),
                        ]
                    )
                )
            cost, log = np.concatenate(costs), np.concatenate(logs)
            fits = np.flatnonzero(cost + remaining[g + 1][c] <= limit)
            keep = fits[_thin(cost[fits], _front(cost[fits], log[fits]))]
            following.append((cost[keep], log[keep]))
            links[-1].append(np.concatenate(back, axis=1)[:, keep])
        fronts = following
    state = max((c for c in range(len(fronts)) if len(fronts[c][1])), key=lambda c: fronts[c][1].max())
    position = int(fronts[state][1].argmax())
    groups = []
    for columns in reversed(links):
        before, position, kernel, expansion, attention = (int(i) for i in columns[state][:, position])
        groups.append(GroupChoice(kernel, expansion, state, attention))
        state = before
    return table.space.choice_of([groups[::-1]])


def _check_reachable(table: CostTable, limit: float) -> None:
    _, least = table.cheapest()
    if least > limit:
        raise VidnasError(
            f"no architecture of the space {table.space.name} has {table.metric} <= {limit:.4g}, the smallest has "
            f"{least:.4g}; raise the target or search a smaller space"
        )


def _group_log_probabilities(distribution: Distribution, table: CostTable) -> list[Floats]:
    """Per group the log-probability of (kernel, expansion, channels, attention)."""
    space = table.space
    rows = distribution.log_probabilities().numpy()
    result = []
    for g, group in enumerate(space.streams[0].groups):
        total = np.zeros([len(group.choices(kind)) for kind in KINDS])
        for row, variable in zip(rows, space.variables, strict=True):
            if variable.group == g:
                shape = [1] * len(KINDS)
                shape[KINDS.index(variable.kind)] = variable.size
                total = total + row[: variable.size].reshape(shape)
        result.append(total)
    return result


def _least_remaining(table: CostTable) -> list[Floats]:
    """Per group border and number of channels there, the least that the groups behind it can cost."""
    least = [np.zeros(table.terms[-1].shape[3])]
    for term in reversed(table.terms):
        least.append((term + least[-1][:, None]).min(axis=(1, 2, 3, 4)))
    return least[::-1]


def _front(cost: Floats, log: Floats) -> NDArray[np.int64]:
    """Positions of those that no cheaper one beats in log-probability, cheapest first."""
    order = np.lexsort((-log, cost))
    ranked = log[order]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(ranked)[:-1]])
    return order[ranked > best_before]


def _thin(cost: Floats, front: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `WIDTH` of a front: the most probable of each of as many equal intervals of cost."""
    if len(front) <= WIDTH:
        return front
    ranked = cost[front]
    bins = ((ranked - ranked[0]) / (ranked[-1] - ranked[0]) * (WIDTH - 1)).astype(np.int64)
    return front[np.flatnonzero(np.diff(bins, append=WIDTH))]
