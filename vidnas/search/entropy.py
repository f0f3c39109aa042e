"""How much a network can express, from a formula: a score that costs nothing and adds up over units like a cost.

The entropy of E3D (Wang et al., ICLR 2023, "Maximizing Spatio-Temporal Entropy of Deep 3D CNNs"): a block adds
1/2 (log C_in + log(t s^2 a) + log hidden), the last map 1/2 log C. The weight a falls with the distance between the
shape of the kernel (t, s, s) and that of the map (T, H, W): a kernel of the map's proportions sees most of it.

As a sum of factors its optimum under a budget is exact and takes milliseconds, where the paper evolves for 500,000
steps.
"""

import math
from collections.abc import Sequence

from vidnas.arch.plan import network_units
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import BlockPlan, Conv5Plan, Unit
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable, cost_factors
from vidnas.search.derive import check_reachable
from vidnas.search.factor_fronts import few_best_under_all
from vidnas.search.factors import FactorSum
from vidnas.search.space.space import Choice, Space

# The weight is infinite where kernel and map have the same proportions, which the maps of small clips do reach; nearer
# than this is not told apart.
_LEAST_DISTANCE = 0.01


def unit_entropy(unit: Unit) -> float:
    """What a unit adds to the entropy, in nats.

    Deviation: distances between kernel and map below 0.01 count as 0.01; attention, fusions and squeeze-excitation add
    nothing.
    """
    if isinstance(unit, BlockPlan):
        kernel = (unit.kernel.t, unit.kernel.s, unit.kernel.s)
        weight = 1.0
        if unit.kernel.s > 1:
            weight = -math.log(_distance(kernel, (unit.frames, unit.out_side, unit.out_side)))
        return 0.5 * math.log(unit.in_channels * math.prod(kernel) * weight * unit.hidden)
    if isinstance(unit, Conv5Plan):
        return 0.5 * math.log(unit.in_channels)
    return 0.0


def network_entropy(spec: ArchSpec) -> float:
    """The entropy of a network at its clip, in nats; of streams side by side, whose maps the head reads, the sum."""
    return sum(unit_entropy(unit) for unit in network_units(spec, spec.clip))


def entropy_table(space: Space) -> CostTable:
    """The entropy of every choice of a space, to be made large."""
    return CostTable(space, "entropy", cost_factors(space, unit_entropy))


def most_entropy(space: Space, budgets: Sequence[Budget], number: int) -> list[Choice]:
    """The choice of the highest entropy within the budgets, and the next of the front of cost against entropy.

    As exact as `vidnas.search.factor_fronts.few_best_under_all` is. Fewer than `number` where the front holds fewer.

    Args:
        space: whose networks.
        budgets: of additive costs.
        number: of choices.

    Returns:
        Choices, highest entropy first.

    Raises:
        VidnasError: nothing in the space is within one of the budgets.
    """
    limits: list[tuple[FactorSum, float]] = []
    loose: list[tuple[FactorSum, float]] = []
    for budget in budgets:
        assert isinstance(budget.costs, CostTable)
        check_reachable(budget.costs, budget.target)
        (limits if budget.target < budget.costs.dearest()[1] else loose).append((budget.costs.terms, budget.target))
    # Under one limit the optimum is exact, so those that everything keeps are left out.
    costs, targets = zip(*(limits or loose[:1]), strict=True)
    return few_best_under_all(costs, entropy_table(space).terms, targets, number)


def _distance(kernel: tuple[int, int, int], shape: tuple[int, int, int]) -> float:
    """One minus the cosine of the angle between the two, at least `_LEAST_DISTANCE`."""
    product = sum(a * b for a, b in zip(kernel, shape, strict=True))
    return max(_LEAST_DISTANCE, 1 - product / (math.hypot(*kernel) * math.hypot(*shape)))
