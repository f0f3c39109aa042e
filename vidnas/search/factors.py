"""Sums over factors: a value of every choice that is a sum of small tables, each in a few of the variables.

Variable elimination answers all questions on such a sum without listing choices: one variable after the other is
settled for every state of those that share a table with it, which leaves a message to them. A stream is a chain of
groups, two with fusions are a ladder; the code knows neither. What a message holds is the question's: the least value
here, a front in `vidnas.search.factor_fronts`, counts in `vidnas.search.sampling`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Options = tuple[int, ...]
Scope = tuple[int, ...]


class Factor(NamedTuple):
    """A table over the options of some variables.

    Attributes:
        variables: which, by their place among all, rising.
        values: one axis per variable.
    """

    variables: Scope
    values: Array


class Step(NamedTuple):
    """A step of an elimination.

    Attributes:
        settled: variables that are eliminated here.
        scope: variables of the message that this leaves.
        factors: places of the factors that go into it.
        messages: the earlier steps whose messages go into it.
    """

    settled: Scope
    scope: Scope
    factors: tuple[int, ...]
    messages: tuple[int, ...]

    @property
    def joint(self) -> Scope:
        """All variables of the step, those of the message first."""
        return (*self.scope, *self.settled)


@dataclass(frozen=True)
class FactorSum:
    """constant + sum of factors.

    Attributes:
        sizes: number of options of each variable.
        factors: the tables; a variable may be in none.
        constant: added for every choice.
    """

    sizes: tuple[int, ...]
    factors: tuple[Factor, ...]
    constant: float = 0

    @classmethod
    def of(cls, sizes: Sequence[int], factors: Iterable[Factor], constant: float = 0) -> "FactorSum":
        """A sum in which a factor whose variables another one has is merged into it."""
        tables: dict[Scope, Array] = {}
        for factor in sorted(factors, key=lambda factor: -len(factor.variables)):
            if not factor.variables:
                constant += factor.values.item()
                continue
            joint = next((scope for scope in tables if set(factor.variables) <= set(scope)), factor.variables)
            own = aligned(factor, joint)
            tables[joint] = tables[joint] + own if joint in tables else own
        return cls(tuple(sizes), tuple(Factor(scope, values) for scope, values in tables.items()), constant)

    def __add__(self, other: "FactorSum") -> "FactorSum":
        return FactorSum.of(self.sizes, (*self.factors, *other.factors), self.constant + other.constant)

    def __rmul__(self, weight: float) -> "FactorSum":
        factors = tuple(factor._replace(values=weight * factor.values) for factor in self.factors)
        return FactorSum(self.sizes, factors, weight * self.constant)

    def plus(self, constant: float) -> "FactorSum":
        """The sum with a larger constant."""
        return replace(self, constant=self.constant + constant)

    def values(self, choices: Sequence[Options]) -> Array:
        """The value of each choice, (choices,)."""
        indices = np.asarray(choices, dtype=np.int64).reshape(len(choices), len(self.sizes)).T
        total = np.full(len(choices), self.constant)
        for factor in self.factors:
            flat = np.ravel_multi_index([indices[v] for v in factor.variables], factor.values.shape)
            total = total + factor.values.ravel()[flat]
        return total

    def least(self) -> tuple[Options, float]:
        """A choice of the least value of all, and the value."""
        totals, _ = least_messages(self.sizes, self.steps, self.factors)
        options = [0] * len(self.sizes)
        for step, total in zip(reversed(self.steps), reversed(totals), strict=True):
            settle(options, step, int(total[state(options, step.scope)].argmin()), self.sizes)
        return tuple(options), self.values([tuple(options)])[0].item()

    def greatest(self) -> tuple[Options, float]:
        """A choice of the greatest value of all, and the value."""
        options, value = (-1 * self).least()
        return options, -value

    @property
    def steps(self) -> tuple[Step, ...]:
        """How its variables are eliminated."""
        return elimination(self.sizes, tuple(factor.variables for factor in self.factors))


@lru_cache(maxsize=64)
def elimination(sizes: tuple[int, ...], scopes: tuple[Scope, ...]) -> tuple[Step, ...]:
    """Steps that settle all variables; the last one gathers what is left into a message without variables.

    Always that variable is next whose neighbours lack the fewest ties (min-fill), of those the one with the smallest
    message. With it go the others that only these factors have, so that long messages never meet what could go first.
    """
    steps: list[Step] = []
    # What is not used yet, by its variables: factors, and messages counted behind them.
    live: dict[int, frozenset[int]] = {i: frozenset(scope) for i, scope in enumerate(scopes)}
    left = set(range(len(sizes)))

    def settled_with(v: int) -> tuple[set[int], frozenset[int]]:
        """What is eliminated with a variable, and the message's variables."""
        joint = frozenset({v}).union(*(scope for scope in live.values() if v in scope))
        settled = {
            w for w in joint if all(i < len(scopes) and scope <= joint for i, scope in live.items() if w in scope)
        }
        settled = settled if v in settled else {v}
        return settled, joint - settled

    def price(v: int) -> tuple[int, int, int]:
        scope = settled_with(v)[1]
        tied = (any({a, b} <= other for other in live.values()) for a, b in combinations(sorted(scope), 2))
        return sum(not tie for tie in tied), prod(sizes[w] for w in scope), v

    prices = {v: price(v) for v in left}
    while left:
        settled, scope = settled_with(min(left, key=prices.__getitem__))
        # Messages of few variables first: what these are together is small for long.
        used = sorted((item for item, other in live.items() if other & settled), key=lambda item: len(live[item]))
        steps.append(_step(settled, scope, used, len(scopes)))
        for item in used:
            del live[item]
        live[len(scopes) + len(steps) - 1] = scope
        left -= settled
        # Only neighbours of what is tied anew are priced anew.
        near = scope.union(*(other for other in live.values() if other & scope))
        prices |= {w: price(w) for w in near}
    steps.append(_step(set(), frozenset(), list(live), len(scopes)))
    return tuple(steps)


def _step(settled: Iterable[int], scope: Iterable[int], used: Iterable[int], factors: int) -> Step:
    return Step(
        tuple(sorted(settled)),
        tuple(sorted(scope)),
        tuple(item for item in used if item < factors),
        tuple(item - factors for item in used if item >= factors),
    )


def least_messages(
    sizes: Sequence[int], steps: Sequence[Step], factors: Sequence[Factor]
) -> tuple[list[Array], list[Array]]:
    """Per step the least sum of all that has gone into it.

    Args:
        sizes: number of options of each variable.
        steps: an elimination of these factors and perhaps of others, which count behind them.
        factors: the factors that are summed.

    Returns:
        Per state of the step's message and choice of what it settles, (*scope, settled); and its message, (*scope,).
    """
    totals: list[Array] = []
    messages: list[Array] = []
    for step in steps:
        total = joint_sum(sizes, step, factors)
        for m in step.messages:
            total = total + aligned(Factor(steps[m].scope, messages[m]), step.joint)
        totals.append(total.reshape(*total.shape[: len(step.scope)], -1))
        messages.append(totals[-1].min(-1))
    return totals, messages


def joint_sum(sizes: Sequence[int], step: Step, factors: Sequence[Factor]) -> Array:
    """Sum of the factors that go into a step, one axis per variable of `step.joint`."""
    dtype = np.result_type(*(factor.values for factor in factors), np.int64)
    total: Array = np.zeros([sizes[v] for v in step.joint], dtype)
    for place in step.factors:
        if place < len(factors):
            total = total + aligned(factors[place], step.joint)
    return total


def aligned(factor: Factor, joint: Scope) -> Array:
    """Its values with an axis for each of the joint variables, of length 1 where it has none; further axes follow."""
    own = len(factor.variables)
    order = sorted(range(own), key=lambda axis: joint.index(factor.variables[axis]))
    values = factor.values.transpose(*order, *range(own, factor.values.ndim))
    shape = [factor.values.shape[factor.variables.index(v)] if v in factor.variables else 1 for v in joint]
    return values.reshape((*shape, *factor.values.shape[own:]))


def state(options: Sequence[int], scope: Scope) -> tuple[int, ...]:
    """The options of these variables: where a message holds what concerns them."""
    return tuple(options[v] for v in scope)


def settle(options: list[int], step: Step, place: int, sizes: Sequence[int]) -> None:
    """Put in the options that a step settles, from their place among all of them."""
    for v, option in zip(step.settled, np.unravel_index(place, [sizes[v] for v in step.settled]), strict=True):
        options[v] = int(option)
