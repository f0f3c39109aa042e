"""The cost of any choice of a space by look-up.

A cost is a sum over groups of terms in the group's own choice and the channels of the group before it, so a small
table per group serves ten thousand choices in milliseconds, the exact range of a space, and derivation under a
budget.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.cost import unit_layers
from vidnas.arch.plan import Unit, network_units
from vidnas.search.reach import placed_units, with_last_channels
from vidnas.search.space import Choice, Space, Variable
from vidnas.search.stream_space import KINDS, GroupChoice

Metric = Literal["macs", "weights", "params", "activations"]
Array = NDArray[Any]


@dataclass(frozen=True)
class CostTable:
    """Terms of an additive cost.

    Attributes:
        space: the space that the indices count in.
        metric: what is counted, for messages.
        terms: per group an array indexed by (channels of the group before, kernel, expansion, channels, attention);
            what belongs to no group (stem, head) is in the first group's, conv5 in the last group's.
    """

    space: Space
    metric: str
    terms: tuple[Array, ...]

    @classmethod
    def of(cls, space: Space, metric: Metric = "macs") -> "CostTable":
        """The analytic cost at the space's clip, equal to `network_cost` of the decoded spec."""
        return cls(space, metric, _analytic_terms(space, metric))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of options of each variable."""
        return self.space.sizes

    @cached_property
    def _variables(self) -> tuple[Variable, ...]:
        return self.space.variables

    def costs(self, choices: Sequence[Choice]) -> Array:
        """Cost of each choice."""
        indices = np.asarray(choices, dtype=np.int64).reshape(len(choices), len(self._variables))
        column = {(v.group, v.kind): indices[:, i] for i, v in enumerate(self._variables)}
        fixed = np.zeros(len(choices), dtype=np.int64)
        total = np.zeros(len(choices), dtype=self.terms[0].dtype)
        before = fixed
        for g, term in enumerate(self.terms):
            own = [column.get((g, kind), fixed) for kind in KINDS]
            total = total + term[before, own[0], own[1], own[2], own[3]]
            before = own[KINDS.index("channels")]
        return total

    def cost(self, choice: Choice) -> float:
        """Cost of one choice; a whole number where the terms are."""
        value: float = self.costs([choice])[0].item()
        return value

    def cheapest(self) -> tuple[Choice, float]:
        """The choice of least cost in the whole space, and its cost."""
        return self._extreme(np.min, np.argmin)

    def dearest(self) -> tuple[Choice, float]:
        """The choice of greatest cost in the whole space, and its cost."""
        return self._extreme(np.max, np.argmax)

    def _extreme(self, best: Callable[..., Array], where: Callable[..., Array]) -> tuple[Choice, float]:
        """Dynamic programming along the groups; the state is the group's channels."""
        reached = np.zeros(1, dtype=self.terms[0].dtype)
        steps: list[tuple[Array, tuple[int, ...]]] = []
        for term in self.terms:
            # To (channels, before, kernel, expansion, attention), best over all but the channels.
            total = np.moveaxis(reached[:, None, None, None, None] + term, 3, 0)
            flat = total.reshape(len(total), -1)
            steps.append((where(flat, axis=1), total.shape[1:]))
            reached = best(flat, axis=1)
        state = int(where(reached))
        groups = []
        for positions, shape in reversed(steps):
            before, kernel, expansion, attention = (int(i) for i in np.unravel_index(positions[state], shape))
            groups.append(GroupChoice(kernel, expansion, state, attention))
            state = before
        return self.space.choice_of([groups[::-1]]), best(reached).item()


def additive_terms(space: Space, unit_cost: Callable[[Unit], float], dtype: type[np.number[Any]]) -> tuple[Array, ...]:
    """The terms of a `CostTable`, from what each unit costs."""
    stream = space.streams[0]
    terms = []
    for g, group in enumerate(stream.groups):
        lists = (stream.input_channels(g), *(group.choices(kind) for kind in KINDS))
        terms.append(np.zeros([len(choices) for choices in lists], dtype=dtype))
    for placed in placed_units(space):
        terms[placed.group][placed.cells] += unit_cost(placed.unit)
    for c, spec in enumerate(with_last_channels(space)):
        stem, *_, conv5, head = network_units(spec)
        terms[-1][:, :, :, c] += unit_cost(conv5)
    terms[0] += unit_cost(stem) + unit_cost(head)
    return tuple(terms)


def _analytic_terms(space: Space, metric: Metric) -> tuple[Array, ...]:
    return additive_terms(space, lambda unit: sum(getattr(layer, metric) for layer in unit_layers(unit)), np.int64)
