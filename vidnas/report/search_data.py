"""What a report tells of a search on a supernet: plain data, gathered by whoever ran the job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vidnas.arch.spec import ArchSpec


@dataclass(frozen=True)
class BudgetSummary:
    """A budget: what is counted ("macs", "params", "activations", "ms"), its target, and the space's range."""

    metric: str
    target: float
    least: float
    most: float


@dataclass(frozen=True)
class SpaceSummary:
    """The search space.

    Attributes:
        name: of the space.
        size: number of architectures.
        variables: number of searched decisions.
        explanation: why this space, in a sentence or two.
        budgets: at least one.
    """

    name: str
    size: int
    variables: int
    explanation: str
    budgets: tuple[BudgetSummary, ...]


@dataclass(frozen=True)
class SearchPoint:
    """State of the search after a step or epoch; None or empty where a quantity was not measured then.

    Attributes:
        at: the step or epoch.
        entropy: H / H0 of the distribution, 1 at the uniform start.
        mean_cost: mean cost of the sampled architectures, by the metric of each budget.
        derived_cost: cost of the most probable option of every decision, by metric; derivation also looks at budgets.
        beta: weight of each cost, by metric.
        train_loss: cross-entropy of the sampled architectures on training batches.
    """

    at: float
    entropy: float | None = None
    mean_cost: Mapping[str, float] = field(default_factory=dict)
    derived_cost: Mapping[str, float] = field(default_factory=dict)
    beta: Mapping[str, float] = field(default_factory=dict)
    train_loss: float | None = None


@dataclass(frozen=True)
class SearchCurves:
    """The search over time; until `warmup_until` only the weights learn."""

    points: tuple[SearchPoint, ...]
    unit: Literal["step", "epoch"] = "step"
    warmup_until: float = 0.0


@dataclass(frozen=True)
class VariableBelief:
    """Final probabilities of one searched decision; `chosen` is what the derived network has."""

    name: str
    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    chosen: int


@dataclass(frozen=True)
class StepSummary:
    """A search, or a step of a progressive one.

    Attributes:
        name: what was searched.
        space: where.
        spec: the network that it found.
        wall_sec: that it took.
        entropy: of the distribution over architectures at the end, in nats.
        initial_entropy: at the start.
        holdout: the headline figure of the network on the holdout, with the weights of the supernet.
        curves: the search over time.
        beliefs: the final distribution.
    """

    name: str
    space: SpaceSummary
    spec: ArchSpec
    wall_sec: float
    entropy: float
    initial_entropy: float
    holdout: float
    curves: SearchCurves
    beliefs: tuple[VariableBelief, ...]


@dataclass(frozen=True)
class SearchSummary:
    """A search on a supernet.

    Attributes:
        space: the whole of it.
        steps: one, or those of a progressive search in their order.
        metric: name of the figure on the holdout.
    """

    space: SpaceSummary
    steps: tuple[StepSummary, ...]
    metric: str

    @property
    def wall_sec(self) -> float:
        """Of all steps."""
        return sum(step.wall_sec for step in self.steps)

    @property
    def entropy(self) -> float:
        """Summed over the steps, in nats."""
        return sum(step.entropy for step in self.steps)

    @property
    def initial_entropy(self) -> float:
        """Summed over the steps, in nats."""
        return sum(step.initial_entropy for step in self.steps)
