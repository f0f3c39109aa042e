"""What architectures may cost: one budget or several at once, in any unit that a look-up counts in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.cost import format_amount
from vidnas.base.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.space.space import Choice


class CostModel(Protocol):
    """Costs of choices by look-up: a `CostTable`, or a benchmark's columns."""

    @property
    def metric(self) -> str:
        """What is counted, for messages: macs, params, activations, ms."""
        ...

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of options of each variable that a choice indexes."""
        ...

    def costs(self, choices: Sequence[Choice]) -> NDArray[Any]:
        """Cost of each choice, (choices,)."""
        ...


@dataclass(frozen=True)
class Budget:
    """A cost, and how much of it an architecture may have; `target` is in the unit of `costs`."""

    costs: CostModel
    target: float


def usage(budgets: Sequence[Budget], choices: Sequence[Choice]) -> NDArray[np.float64]:
    """Per choice the largest cost / target over the budgets: at most 1 where all are kept, (choices,)."""
    ratios = [np.asarray(budget.costs.costs(choices), dtype=np.float64) / budget.target for budget in budgets]
    largest: NDArray[np.float64] = np.max(ratios, axis=0)
    return largest


def between(table: CostTable, low: float, high: float) -> list[Budget]:
    """Budgets that a cost from `low` to `high` keeps; the second one is on what is left up to twice the dearest cost.

    Raises:
        VidnasError: nothing in the space costs as much as `low`.
    """
    if low <= table.cheapest()[1]:
        return [Budget(table, high)]
    most = table.dearest()[1]
    if low > most:
        raise VidnasError(
            f"nothing in the space {table.space.name} has {format_amount(table.metric, low)}, the dearest has "
            f"{format_amount(table.metric, most)}; lower that"
        )
    # Twice, so that no target is 0.
    left = CostTable(table.space, f"unused {table.metric}", (-1 * table.terms).plus(2 * most))
    return [Budget(table, high), Budget(left, 2 * most - low)]
