"""The cost of any choice of a space by look-up.

A cost is a sum over groups of terms in the group's own choice and the channels of the group before it, so a small
table per group serves ten thousand choices in milliseconds, the exact range of a space, and derivation under a
budget.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.cost import LayerCost, block_layers, glore_layers, layer_costs
from vidnas.arch.plan import BlockPlan, GloRePlan, stream_units
from vidnas.arch.spec import ArchSpec, Kernel, StemSpec, StreamSpec
from vidnas.search.space import KINDS, Choice, GroupChoice, Space, Variable

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


def _analytic_terms(space: Space, metric: Metric) -> tuple[Array, ...]:
    stream = space.streams[0]
    size = -(-space.clip.size // 2)
    stage_start = 0
    terms = []
    for g, group in enumerate(stream.groups):
        if group.stride == 2:
            stage_start = g
        before = space.clip.frames * size**2
        size = -(-size // group.stride)
        after = space.clip.frames * size**2
        terms.append(_group_terms(space, g, stage_start, before, after, metric))
    smallest = space.decode(space.smallest())
    terms[0] = terms[0] + _total(_outside(smallest, "conv5", inside=False), metric)
    conv5 = []
    for channels in stream.groups[-1].channels:
        last = smallest.streams[0].groups[-1].model_copy(update={"channels": channels})
        arch = smallest.streams[0].model_copy(update={"groups": (*smallest.streams[0].groups[:-1], last)})
        layers = _outside(smallest.model_copy(update={"streams": (arch,)}), "conv5", inside=True)
        conv5.append(_total(layers, metric))
    terms[-1] = terms[-1] + np.asarray(conv5, dtype=np.int64)[:, None]
    return tuple(terms)


def _outside(spec: ArchSpec, part: str, *, inside: bool) -> list[LayerCost]:
    """Layers outside the groups that are `part` (or are not)."""
    layers = (layer for layer in layer_costs(spec) if not layer.name.startswith("streams.0.groups."))
    return [layer for layer in layers if (layer.name == f"streams.0.{part}") is inside]


def _group_terms(space: Space, g: int, stage_start: int, before: int, after: int, metric: Metric) -> Array:
    """The array of one group; `before` and `after` are the positions on both sides of its first block."""
    stream = space.streams[0]
    group = stream.groups[g]
    entering = stream.input_channels(g)
    lists = (entering, group.kernel, group.expansion, group.channels, group.attention)
    term = np.zeros([len(choices) for choices in lists], dtype=np.int64)
    for e in range(len(group.expansion)):
        for c in range(len(group.channels)):
            for a in range(len(group.attention)):
                for p, channels in enumerate(entering):
                    units = _units(space, g, stage_start, channels, GroupChoice(0, e, c, a))
                    if p == 0:
                        # All but the first block are the same whatever enters the group.
                        for unit in units[1:]:
                            term[:, :, e, c, a] += _unit_costs(unit, group.kernel, after, after, metric)
                    term[p, :, e, c, a] += _unit_costs(units[0], group.kernel, before, after, metric)
    return term


def _units(space: Space, g: int, stage_start: int, entering: int, choice: GroupChoice) -> list[BlockPlan | GloRePlan]:
    """The units of a group that `entering` channels reach; squeeze-excitation counts blocks from the stage's start."""
    stream = space.streams[0]
    earlier = [
        stream.groups[i].decode(GroupChoice(0, 0, 0, 0)).model_copy(update={"channels": entering})
        for i in range(stage_start, g)
    ]
    arch = StreamSpec.model_construct(
        stem=StemSpec.model_construct(channels=entering),
        groups=(*earlier, stream.groups[g].decode(choice)),
        expansion_of=stream.expansion_of,
        se=stream.se,
        activation=stream.activation,
        depthwise=stream.depthwise,
        projection_norm=stream.projection_norm,
        conv5=stream.conv5,
    )
    return [unit for unit in stream_units(arch) if unit.group == len(earlier)]


def _unit_costs(
    unit: BlockPlan | GloRePlan, kernels: Sequence[Kernel], before: int, after: int, metric: Metric
) -> Array:
    """Cost of a unit for each kernel."""
    if isinstance(unit, GloRePlan):
        return np.full(len(kernels), _total(glore_layers("", unit, after), metric), dtype=np.int64)
    plans = (replace(unit, kernel=kernel) for kernel in kernels)
    return np.array([_total(block_layers("", plan, before, after), metric) for plan in plans], dtype=np.int64)


def _total(layers: Iterable[LayerCost], metric: Metric) -> int:
    return sum(getattr(layer, metric) for layer in layers)
