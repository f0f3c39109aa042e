"""What the search asks of the world: scores of choices."""

from collections.abc import Sequence
from typing import Protocol

from vidnas.search.space.space import Choice


class Scorer(Protocol):
    """Judges architectures that share weights: a supernet on a batch of validation clips, or a table."""

    def __call__(self, choices: Sequence[Choice]) -> Sequence[float]:
        """Log-likelihood of each choice summed over the same batch; higher is better."""
        ...
