"""The cost of any choice of a space by look-up, as a sum of factors.

What a unit costs depends on few decisions: a block's on its kernel, its expansion and the channels on both sides,
attention's on the channels that it follows, a fusion's on those that it reads, and what reads a fusion on its kind
besides. So small tables serve ten thousand choices in milliseconds, the exact range
of a space, and derivation under a budget (`vidnas.search.factors`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import starmap
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.cost import unit_layers
from vidnas.arch.units import Unit
from vidnas.base.errors import VidnasError
from vidnas.search.factors import Factor, FactorSum, Scope
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.space_units import space_units

Metric = Literal["macs", "weights", "params", "activations"]
Array = NDArray[Any]


@dataclass(frozen=True)
class CostTable:
    """An additive cost of the choices of a space.

    Attributes:
        space: the space that the indices count in.
        metric: name of what is counted, for messages.
        terms: the factors that it is the sum of.
    """

    space: Space
    metric: str
    terms: FactorSum

    @classmethod
    def of(cls, space: Space, metric: Metric = "macs") -> "CostTable":
        """The analytic cost at the space's clip, equal to `network_cost` of the decoded spec."""
        return cls(space, metric, _analytic_factors(space, metric))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of options of each variable."""
        return self.terms.sizes

    def costs(self, choices: Sequence[Choice]) -> Array:
        """Cost of each choice."""
        return self.terms.values(choices)

    def cost(self, choice: Choice) -> float:
        """Cost of one choice; a whole number where the terms are."""
        value: float = self.costs([choice])[0].item()
        return value

    def cheapest(self) -> tuple[Choice, float]:
        """The choice of least cost in the whole space, and its cost."""
        return self.terms.least()

    def dearest(self) -> tuple[Choice, float]:
        """The choice of greatest cost in the whole space, and its cost."""
        return self.terms.greatest()


@lru_cache(maxsize=8)
def _analytic_factors(space: Space, metric: Metric) -> FactorSum:
    """What several steps of a command ask for."""

    def unit_cost(unit: Unit) -> int:
        return sum(getattr(layer, metric) for layer in unit_layers(unit))

    return cost_factors(space, unit_cost)


def cost_factors(space: Space, unit_cost: Callable[[Unit], float]) -> FactorSum:
    """What the units of a network cost together; whole numbers stay such."""
    place = {variable.path: v for v, variable in enumerate(space.variables)}
    tables: dict[Scope, Array] = {}
    for options, unit, instead_of in space_units(space):
        searched = sorted((place[path], option) for path, option in options.items() if path in place)
        scope = tuple(v for v, _ in searched)
        cost = unit_cost(unit) - (unit_cost(instead_of) if instead_of else 0)
        if scope not in tables:
            tables[scope] = np.zeros([space.sizes[v] for v in scope], dtype=type(cost))
        tables[scope][tuple(option for _, option in searched)] += cost
    return FactorSum.of(space.sizes, starmap(Factor, tables.items()))


def analytic(metric: str) -> Metric:
    """A metric that follows from a spec alone.

    Raises:
        VidnasError: it is none.
    """
    if metric not in get_args(Metric):
        raise VidnasError(f"no budget can be given in {metric!r}; there are {', '.join(get_args(Metric))} and ms")
    return metric  # type: ignore[return-value]
