"""Random architectures of a space, also of those few that keep a tight budget."""

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.cost import format_macs
from vidnas.base.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.factors import Array, Factor, FactorSum, Options, Step, aligned, joint_sum, settle, state
from vidnas.search.space.space import Choice

Floats = NDArray[np.float64]
# A budget is counted in so many parts; more make fewer draws in vain, at more memory and time before the first.
_PARTS = 1000
# So many draws in a row may bring nothing new before those that were found count as all.
_PATIENCE = 2000


def sample_choices(macs: CostTable, number: int, seed: int, target_macs: float | None = None) -> list[Choice]:
    """Different choices, drawn uniformly from all or from those that cost at most `target_macs`.

    Raises:
        VidnasError: there are fewer.
    """
    space = macs.space
    if number > space.size:
        raise VidnasError(f"space {space.name} has {space.size} architectures, {number} are asked for; ask for fewer")
    least = macs.cheapest()[1]
    if target_macs is not None and target_macs < least:
        raise VidnasError(
            f"no architecture of the space {space.name} costs {format_macs(target_macs)} @ {space.clip}, the cheapest "
            f"{format_macs(least)}; raise the target"
        )
    draws = _uniform(space.sizes, seed) if target_macs is None else draws_within(macs.terms, target_macs, seed)
    found: dict[Choice, None] = {}
    in_vain = 0
    while len(found) < number:
        before = len(found)
        found[next(draws)] = None
        in_vain = 0 if len(found) > before else in_vain + 1
        if in_vain == _PATIENCE:
            raise VidnasError(
                f"space {space.name}: {number} architectures are asked for, {len(found)} were found; ask for fewer"
                + ("" if target_macs is None else " or raise the target")
            )
    return list(found)


def draws_within(costs: FactorSum, target: float, seed: int) -> Iterator[Options]:
    """Endless independent draws, uniform among the choices that cost at most `target`, of which there must be one.

    Costs rounded down to a part of the budget let a few too dear ones pass; how many choices of what is eliminated take
    how many parts is then counted, and options are drawn in proportion. What is too dear after all is drawn again.
    """
    counts = _Counts(costs, target)
    for attempt in count():
        choice = counts.draw(np.random.default_rng((seed, attempt)))
        if costs.values([choice])[0] <= target:
            yield choice


class _Counts:
    """How many choices take how many parts of a budget, by variable elimination."""

    def __init__(self, costs: FactorSum, target: float) -> None:
        self._sizes = costs.sizes
        self._steps = costs.steps
        # What every choice costs leaves the parts to what they differ in.
        least = [factor.values.min() for factor in costs.factors]
        room = max(target - costs.constant - sum(least), 1e-9 * max(abs(target), 1.0))
        # A little less, or rounding might put one that just fits above the budget.
        scale = _PARTS / room * (1 - 1e-12)
        factors = [
            Factor(scope, np.minimum(np.floor((values - low) * scale), _PARTS + 1).astype(np.int64))
            for (scope, values), low in zip(costs.factors, least, strict=True)
        ]
        # Per step what its own factors take, (*scope, settled); and the counts of its messages taken together one after
        # the other, (*scope, settled, parts).
        self._own: list[Array] = []
        self._joined: list[list[Floats]] = []
        # Per step the message, (*scope, parts).
        self._messages: list[Floats] = []
        for step in self._steps:
            self._add(step, factors)

    def draw(self, rng: np.random.Generator) -> Options:
        """A choice, uniform among those whose rounded costs fit."""
        options = [0] * len(self._sizes)
        last = len(self._steps) - 1
        parts = {last: _weighted(rng, self._messages[last])}
        for number in range(last, -1, -1):
            step = self._steps[number]
            cell = state(options, step.scope)
            own = self._own[number][cell]
            left = parts[number] - own
            joined = [counts[cell] for counts in self._joined[number]]
            if not joined:
                fitting = np.flatnonzero(left == 0)
                settle(options, step, int(fitting[rng.integers(len(fitting))]), self._sizes)
                continue
            place = _weighted(rng, _at(joined[-1], left))
            settle(options, step, place, self._sizes)
            rest = int(left[place])
            for m in range(len(joined) - 1, 0, -1):
                message = self._messages[step.messages[m]][state(options, self._steps[step.messages[m]].scope)]
                before = joined[m - 1][place]
                # So many parts to the messages before, the others to this one.
                low, high = max(0, rest - len(message) + 1), min(rest, len(before) - 1)
                weights = before[low : high + 1] * message[rest - high : rest - low + 1][::-1]
                taken = low + _weighted(rng, weights)
                parts[step.messages[m]] = rest - taken
                rest = taken
            parts[step.messages[0]] = rest
        return tuple(options)

    def _add(self, step: Step, factors: Sequence[Factor]) -> None:
        shape = tuple(self._sizes[v] for v in step.scope)
        own = np.minimum(joint_sum(self._sizes, step, factors), _PARTS + 1)
        joined: list[Floats] = []
        counts = np.ones(1)
        for m in step.messages:
            counts = _convolved(counts, aligned(Factor(self._steps[m].scope, self._messages[m]), step.joint))
            wide = np.broadcast_to(counts, (*own.shape, counts.shape[-1]))
            joined.append(wide.reshape((*shape, -1, counts.shape[-1])))
        own = own.reshape((*shape, -1))
        self._own.append(own)
        self._joined.append(joined)
        self._messages.append(_shifted(joined[-1] if joined else np.ones((*own.shape, 1)), own))


def _convolved(a: Floats, b: Floats) -> Floats:
    """Counts of the sums of two numbers of parts, along the last axis, cut behind the budget."""
    states = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    a, b = (np.broadcast_to(counts, (*states, counts.shape[-1])) for counts in (a, b))
    result = np.empty((*states, min(a.shape[-1] + b.shape[-1] - 1, _PARTS + 1)))
    for cell in np.ndindex(states):
        result[cell] = np.convolve(a[cell], b[cell])[: result.shape[-1]]
    return result


def _shifted(counts: Floats, own: Array) -> Floats:
    """Counts of (*scope, settled) moved by what its own factors take, and added up over what is settled."""
    length = min(counts.shape[-1] + int(own[own <= _PARTS].max(initial=0)), _PARTS + 1)
    cells = counts.reshape(-1, *counts.shape[-2:])
    result = np.zeros((len(cells), length))
    for cell, taken in enumerate(own.reshape(len(cells), -1)):
        if counts.shape[-1] == 1:
            result[cell] = np.bincount(taken[taken < length], cells[cell, taken < length, 0], minlength=length)
            continue
        for place in np.flatnonzero(taken < length):
            part = taken[place]
            result[cell, part : part + counts.shape[-1]] += cells[cell, place, : length - part]
    return result.reshape((*counts.shape[:-2], length))


def _at(counts: Floats, parts: Array) -> Floats:
    """Per row the count at so many parts; 0 beyond the row and before it."""
    inside = (parts >= 0) & (parts < counts.shape[-1])
    found: Floats = np.where(inside, counts[np.arange(len(parts)), np.where(inside, parts, 0)], 0.0)
    return found


def _weighted(rng: np.random.Generator, weights: Floats) -> int:
    """A place, in proportion to its weight."""
    cumulated = weights.cumsum()
    return int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))


def _uniform(sizes: tuple[int, ...], seed: int) -> Iterator[Choice]:
    for attempt in count():
        yield tuple(np.random.default_rng((seed, attempt)).integers(sizes).tolist()) if sizes else ()
