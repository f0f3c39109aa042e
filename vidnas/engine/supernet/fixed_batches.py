"""Scores of architectures on batches that stay the same, so that any two of them can be compared."""

from collections.abc import Iterable, Sequence

from vidnas.data.dataset import Batch
from vidnas.engine.supernet.search import SupernetSearch
from vidnas.search.parsec import distinct
from vidnas.search.space.space import Choice


class FixedBatches:
    """A trained supernet on fixed clips: `vidnas.search.protocols.Scorer`. Each architecture is scored once.

    Args:
        search: at its end.
        batches: of readable clips; kept in memory.

    Attributes:
        clips: number of clips that a score sums over.
        known: the scores so far.
    """

    def __init__(self, search: SupernetSearch, batches: Iterable[Batch]) -> None:
        kept = [batch for batch in batches if len(batch.targets)]
        self.clips = sum(len(batch.targets) for batch in kept)
        self.known: dict[Choice, float] = {}
        self._supernet = search.supernet
        self._scorers = [search.scorer(batch) for batch in kept]

    def __call__(self, choices: Sequence[Choice]) -> list[float]:
        """Sum over all clips of log p(y | x, w, A), dropout off; higher is better."""
        self._supernet.eval()
        new = [choice for choice in distinct(choices)[0] if choice not in self.known]
        per_batch = [scorer(new) for scorer in self._scorers]
        self.known.update({choice: sum(scores[i] for scores in per_batch) for i, choice in enumerate(new)})
        return [self.known[choice] for choice in choices]
