"""What the search asks of the world: scores of choices, and the result of a stand-alone training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vidnas.arch.spec import ArchSpec
from vidnas.search.space.space import Choice


class Scorer(Protocol):
    """Judges architectures that share weights: a supernet on a batch of validation clips, or a table."""

    def __call__(self, choices: Sequence[Choice]) -> Sequence[float]:
        """Log-likelihood of each choice summed over the same batch; higher is better."""
        ...


@dataclass(frozen=True)
class TrialResult:
    """What a stand-alone training gave. `score` is higher for better networks, usually top-1 accuracy in [0, 1]."""

    spec: ArchSpec
    score: float
    macs: int


class Trial(Protocol):
    """Trains one network on its own and judges it."""

    def __call__(self, spec: ArchSpec) -> TrialResult:
        """Train and test."""
        ...
