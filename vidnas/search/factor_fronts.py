"""The best of a cost and an additive score at once, over all choices: Pareto fronts by variable elimination."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from vidnas.search.factors import (
    Array,
    Factor,
    FactorSum,
    Options,
    Step,
    aligned,
    elimination,
    joint_sum,
    least_messages,
    settle,
    state,
)

Floats = NDArray[np.float64]
# Partial choices kept per state of a message.
WIDTH = 500
# Reweightings of several limits that are tried, and the smallest cost / limit that is told apart.
_ROUNDS = 30
_LEAST_RATIO = 1e-9
# From so many on candidates are looked through in intervals of cost before they are sorted.
_MANY, _BINS = 2000, 1000


@dataclass(frozen=True, slots=True)
class _Partial:
    """Partial choices that nothing cheaper beats, cheapest first.

    Attributes:
        cost: cost of each.
        score: score of each, rising.
        origin: per partial choice the place of what its step settles, then its place in every message of the step.
    """

    cost: Floats
    score: Floats
    origin: NDArray[np.int64]


@dataclass(frozen=True)
class Front:
    """Choices that score higher than all cheaper ones.

    Attributes:
        costs: rising.
        scores: rising.
    """

    costs: Floats
    scores: Floats
    _sizes: tuple[int, ...]
    _steps: tuple[Step, ...]
    _messages: tuple[NDArray[np.object_], ...]

    def choice(self, place: int) -> Options:
        """The choice at a place of the front."""
        options = [0] * len(self._sizes)
        places = {len(self._steps) - 1: place}
        for number in reversed(range(len(self._steps))):
            step = self._steps[number]
            settled, *origins = self._messages[number][state(options, step.scope)].origin[places[number]].tolist()
            settle(options, step, settled, self._sizes)
            places |= zip(step.messages, origins, strict=True)
        return tuple(options)


def pareto_front(costs: FactorSum, scores: FactorSum, limit: float = np.inf) -> Front:
    """The front of cost against score among the choices with cost <= limit, of which there must be one.

    Exact while no more than `WIDTH` partial choices per state of a message are worth keeping, else of those that are
    kept, spread over the costs; whatever it holds keeps the limit.
    """
    sizes = costs.sizes
    steps = elimination(sizes, tuple(factor.variables for factor in (*costs.factors, *scores.factors)))
    # Sums round differently in another order.
    limit = (limit - costs.constant) + 1e-12 * abs(limit)
    room = [limit - rest for rest in _least_outside(sizes, steps, costs.factors)]
    silent = [Factor((), np.zeros(()))] * len(costs.factors)
    messages: list[NDArray[np.object_]] = []
    for step, rooms in zip(steps, room, strict=True):
        own_costs = joint_sum(sizes, step, costs.factors)
        own_scores = joint_sum(sizes, step, [*silent, *scores.factors])
        # Of every message the partial choices that meet each state of the step.
        entering = [
            np.broadcast_to(aligned(Factor(steps[m].scope, messages[m]), step.joint), own_costs.shape).reshape(
                (*rooms.shape, -1)
            )
            for m in step.messages
        ]
        message = np.empty(rooms.shape, dtype=object)
        for cell in np.ndindex(message.shape):
            own = _Partial(own_costs[cell].ravel(), own_scores[cell].ravel(), np.arange(own_costs[cell].size)[:, None])
            met = [partials[cell].tolist() for partials in entering]
            message[cell] = _joined(own, met, float(rooms[cell]))
        messages.append(message)
    last: _Partial = messages[-1].item()
    return Front(last.cost + costs.constant, last.score + scores.constant, sizes, steps, tuple(messages))


def best_under(costs: FactorSum, scores: FactorSum, limit: float) -> Options:
    """The choice of the highest score with cost <= limit, of which there must be one; as exact as `pareto_front`."""
    front = pareto_front(costs, scores, limit)
    return front.choice(len(front.costs) - 1)


def best_under_all(costs: Sequence[FactorSum], scores: FactorSum, limits: Sequence[float]) -> Options | None:
    """A choice of a high score that keeps every limit, each of which some choice keeps.

    Of one limit the best, as `best_under` finds it. Of several as `few_best_under_all`, not always the best of all;
    None where none was found.
    """
    if len(costs) == 1:
        return best_under(costs[0], scores, limits[0])
    return next(iter(few_best_under_all(costs, scores, limits, 1)), None)


def few_best_under_all(
    costs: Sequence[FactorSum], scores: FactorSum, limits: Sequence[float], number: int
) -> list[Options]:
    """Some choices of high scores that keep every limit, the best first; of one limit the last of `pareto_front`.

    Of several their weighted sum of cost / limit is one cost, and keeping it at 1 is necessary; the weight of a limit
    that is broken grows. The best of all fronts that keep all limits are returned.

    Args:
        costs: what is limited.
        scores: what is to be high.
        limits: of each cost; some choice keeps each of them.
        number: of choices, at most.
    """
    if len(costs) == 1:
        front = pareto_front(costs[0], scores, limits[0])
        return [front.choice(place) for place in _last(front, number)]
    weights = np.full(len(costs), 1 / len(costs))
    found: dict[Options, float] = {}
    for round_ in range(_ROUNDS):
        shares = zip(weights, costs, limits, strict=True)
        mixed = reduce(operator.add, (weight / limit * cost for weight, cost, limit in shares))
        least = mixed.least()[1]
        if least > 1:
            break
        # Where the limits pull apart no weights may do alone, so room is made step by step.
        front = pareto_front(mixed, scores, max(least, 1 - round_ / _ROUNDS))
        choices = [front.choice(place) for place in _last(front, number)]
        ratios = np.stack([cost.values(choices) / limit for cost, limit in zip(costs, limits, strict=True)])
        fitting = [choice for choice, ratio in zip(choices, ratios.T, strict=True) if ratio.max() <= 1]
        found |= {choice: scores.values([choice])[0] for choice in fitting}
        # What is left of a budget may round to just below nothing.
        weights = weights * np.maximum(ratios[:, 0], _LEAST_RATIO) ** (1 / (1 + round_ / 3))
        weights = weights / weights.sum()
    return sorted(found, key=lambda choice: (found[choice], choice), reverse=True)[:number]


def _last(front: Front, number: int) -> range:
    """The places of so many at the end of a front, the last first."""
    last = len(front.costs) - 1
    return range(last, max(-1, last - number), -1)


def _least_outside(sizes: Sequence[int], steps: Sequence[Step], factors: Sequence[Factor]) -> list[Array]:
    """Per step and state of its message the least sum of all that has not gone into it."""
    _, messages = least_messages(sizes, steps, factors)
    outside: list[Array] = [np.zeros(())] * len(steps)
    for number in reversed(range(len(steps))):
        step = steps[number]
        entering = {m: aligned(Factor(steps[m].scope, messages[m]), step.joint) for m in step.messages}
        rest = joint_sum(sizes, step, factors) + aligned(Factor(step.scope, outside[number]), step.joint)
        for m in step.messages:
            others = rest + sum(message for other, message in entering.items() if other != m)
            kept = [v for v in step.joint if v in steps[m].scope]
            least = others.min(tuple(axis for axis, v in enumerate(step.joint) if v not in kept))
            outside[m] = least.transpose([kept.index(v) for v in steps[m].scope])
    return outside


def _joined(own: _Partial, entering: Sequence[Sequence[_Partial]], room: float) -> _Partial:
    """The front of what a step settles together with one partial choice of each message.

    Args:
        own: cost and score that each place of the step's variables adds.
        entering: per message the partial choices that fit each of these places.
        room: greatest cost that is kept.
    """
    if not entering:
        keep = _front(own.cost, own.score, room)
        return _Partial(own.cost[keep], own.score[keep], own.origin[keep])
    # The longest last, as its pairs are never written out with their origins.
    order = sorted(range(len(entering)), key=lambda m: sum(len(partial.cost) for partial in entering[m]))
    pairs = []
    for place in range(len(own.cost)):
        here = slice(place, place + 1)
        left = _Partial(own.cost[here], own.score[here], own.origin[here])
        for m in order[:-1]:
            left = _best_pairs([(left, entering[m][place])], np.inf)
        pairs.append((left, entering[order[-1]][place]))
    joined = _best_pairs(pairs, room)
    columns = [0, *(1 + order.index(m) for m in range(len(order)))]
    return replace(joined, origin=joined.origin[:, columns])


def _best_pairs(pairs: Sequence[tuple[_Partial, _Partial]], room: float) -> _Partial:
    """The front of all that one of the left and one of the right of any pair make together."""
    cost = np.concatenate([np.add.outer(left.cost, right.cost).ravel() for left, right in pairs])
    score = np.concatenate([np.add.outer(left.score, right.score).ravel() for left, right in pairs])
    keep = _front(cost, score, room)
    ends = np.cumsum([len(left.cost) * len(right.cost) for left, right in pairs])
    origins = np.empty((len(keep), pairs[0][0].origin.shape[1] + 1), dtype=np.int64)
    pair_of = np.searchsorted(ends, keep, side="right")
    for number in np.unique(pair_of):
        left, right = pairs[number]
        chosen = pair_of == number
        i, j = np.divmod(keep[chosen] - (ends[number] - len(left.cost) * len(right.cost)), len(right.cost))
        origins[chosen, :-1], origins[chosen, -1] = left.origin[i], j
    return _Partial(cost[keep], score[keep], origins)


def _front(cost: Floats, score: Floats, room: float) -> NDArray[np.int64]:
    """Places of those within the room that no cheaper one equals in score, cheapest first, at most `WIDTH`."""
    places = np.flatnonzero(cost <= room)
    if len(places) > _MANY:
        places = places[_promising(cost[places], score[places])]
    places = places[np.lexsort((-score[places], cost[places]))]
    ranked = score[places]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(ranked)[:-1]])
    places = places[ranked > best_before]
    if len(places) <= WIDTH:
        return places
    # The best of each of as many equal intervals of cost.
    ranked = cost[places]
    bins = ((ranked - ranked[0]) / (ranked[-1] - ranked[0]) * (WIDTH - 1)).astype(np.int64)
    return places[np.flatnonzero(np.diff(bins, append=WIDTH))]


def _promising(cost: Floats, score: Floats) -> NDArray[np.bool_]:
    """Which score higher than all of the cheaper intervals of cost: sorts most of the others out without sorting."""
    low, high = cost.min(), cost.max()
    bins = ((cost - low) * (_BINS / max(high - low, 1e-300))).astype(np.int64)
    best = np.full(_BINS + 2, -np.inf)
    np.maximum.at(best, bins + 1, score)
    kept: NDArray[np.bool_] = score > np.maximum.accumulate(best)[bins]
    return kept
