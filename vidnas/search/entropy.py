"""How much a network can express, from a formula: a score that costs nothing and adds up over units like a cost.

The entropy of E3D (Wang et al., ICLR 2023, "Maximizing Spatio-Temporal Entropy of Deep 3D CNNs"): a block adds
1/2 (log C_in + log(t s^2 a) + log hidden), the last map 1/2 log C. The weight a falls with the distance between the
shape of the kernel (t, s, s) and that of the map (T, H, W): a kernel of the map's proportions sees most of it.

As a sum of factors its optimum under a budget is exact and takes milliseconds, where the paper evolves for 500,000
steps.
"""

import math

from vidnas.arch.plan import network_units
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import BlockPlan, Conv5Plan, Unit
from vidnas.search.costs import CostTable, cost_factors
from vidnas.search.factor_fronts import pareto_front
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


def most_entropy(costs: CostTable, limit: float, number: int) -> list[Choice]:
    """The choice of the highest entropy with cost <= limit, and the next of the front of cost against entropy.

    Exact as `vidnas.search.factor_fronts.pareto_front` is. Fewer than `number` where the front holds fewer.

    Args:
        costs: what is limited.
        limit: the budget.
        number: of choices.

    Returns:
        Choices, highest entropy first.
    """
    front = pareto_front(costs.terms, entropy_table(costs.space).terms, limit)
    last = len(front.costs) - 1
    return [front.choice(place) for place in range(last, max(-1, last - number), -1)]


def _distance(kernel: tuple[int, int, int], shape: tuple[int, int, int]) -> float:
    """One minus the cosine of the angle between the two, at least `_LEAST_DISTANCE`."""
    product = sum(a * b for a, b in zip(kernel, shape, strict=True))
    return max(_LEAST_DISTANCE, 1 - product / (math.hypot(*kernel) * math.hypot(*shape)))
