"""What is learned: all that a training, a test and a search must know of the meaning of logits and targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Figure:
    """A figure in [0, 1]: its name in files (`top1`) and in text (`top-1`)."""

    name: str
    text: str


class Task(Protocol):
    """A loss, a likelihood, scores and figures; without state.

    Logits are (N, classes), as the network gives them; targets are what `Batch` holds, N of them.

    Attributes:
        headline: the figure that networks are compared by; the best validation is the one with the highest.
        hit_rate: the share of clips that `hits` counts.
    """

    headline: Figure
    hit_rate: Figure

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean over clips of minus the log-likelihood, up to a constant factor; differentiable.

        Args:
            logits: of the clips.
            targets: of the clips.
            smoothing: share of the targets that is spread evenly; what this means is up to the task.
        """
        ...

    def log_likelihood(self, logits: Tensor, targets: Tensor, readable: Tensor, smoothing: float = 0.0) -> Tensor:
        """Sum of log p(target | clip) over the clips that could be read, (N,) bool; differentiable."""
        ...

    def distillation_loss(self, logits: Tensor, scores: Tensor) -> Tensor:
        """Sum over clips of the loss with the scores of another network as targets, differentiable."""
        ...

    def scores(self, logits: Tensor) -> Tensor:
        """Probabilities (N, classes); those of the views of a video are averaged."""
        ...

    def hits(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Number of clips whose best class is right, a scalar on their device."""
        ...

    def headline_of(self, scores: Tensor, targets: Tensor) -> float:
        """The headline figure; of scores, or of anything that orders them alike."""
        ...

    def figures(self, scores: NDArray[Any], targets: NDArray[Any]) -> Mapping[str, float]:
        """Loss (`loss`), headline and others by name, from scores of videos."""
        ...

    def likeness(self, targets: Tensor) -> Tensor:
        """(N, N), how alike the targets of two clips are: 1 for the same, 0 for nothing in common."""
        ...
