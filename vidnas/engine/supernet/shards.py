"""Shards: equal parts of every batch, run by one process one after another, or by several processes some each.

What a search computes follows from the number of shards, not from the number of processes, but for the rounding of
gradients: each shard has norm statistics and dropout of its own, and sums are taken over one shard after another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from vidnas.engine.run.processes import all_reduce_sum
from vidnas.engine.supernet.steps import SupernetScorer
from vidnas.search.space.space import Choice

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Shards:
    """The shards that this process runs.

    Attributes:
        count: shards of a batch, over all processes.
        rank: of this process.
        processes: of the run; they share the shards equally.
    """

    count: int = 1
    rank: int = 0
    processes: int = 1

    @property
    def mine(self) -> range:
        """Numbers of this process's shards."""
        each = self.count // self.processes
        return range(self.rank * each, (self.rank + 1) * each)

    def deal(self, items: Sequence[T]) -> list[Sequence[T]]:
        """The items of each of this process's shards, when all shards get equally many in order."""
        each = len(items) // self.count
        return [items[shard * each : (shard + 1) * each] for shard in self.mine]

    def table(self, rows: Sequence[Sequence[float]]) -> Tensor:
        """One row of numbers per shard, (count, K) float64, from the rows of this process."""
        table = torch.zeros(self.count, len(rows[0]), dtype=torch.float64)
        table[self.mine.start : self.mine.stop] = torch.tensor(rows, dtype=torch.float64)
        return all_reduce_sum(table)


class ShardedScorer:
    """Log-likelihoods of architectures on a whole batch: `vidnas.search.protocols.Scorer`.

    All processes must ask for the same choices.

    Args:
        scorers: one for each shard of this process.
        shards: which these are.
    """

    def __init__(self, scorers: Sequence[SupernetScorer], shards: Shards) -> None:
        self.scorers = scorers
        self.shards = shards

    @property
    def batch_size(self) -> int:
        """Clips over all processes."""
        return self.shards.processes * sum(scorer.batch_size for scorer in self.scorers)

    def __call__(self, choices: Sequence[Choice]) -> list[float]:
        """Sum over all shards of log p(y | x, w, A) for each choice; higher is better."""
        scores: list[float] = self.shards.table([scorer(choices) for scorer in self.scorers]).sum(0).tolist()
        return scores

    def backward(self, weighted: Sequence[tuple[Choice, float]]) -> None:
        """Add the gradient of -sum weight * log-likelihood on this process's shards to the supernet's."""
        self.each(SupernetScorer.backward, [weighted] * len(self.scorers))

    def each(self, work: Callable[[SupernetScorer, S], T], dealt: Sequence[S]) -> list[T]:
        """Work on one shard after another, each with what it is dealt.

        Gradients of a shard are summed before they join those of the others, as if it had a process of its own.
        Optimisers such as Adam blow up the rounding of gradients that are almost 0, so the order matters.
        """
        parameters = list(self.scorers[0].supernet.parameters())
        results = []
        for scorer, own in zip(self.scorers, dealt, strict=True):
            before = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                parameter.grad = None
            results.append(work(scorer, own))
            for parameter, gradient in zip(parameters, before, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else gradient.add_(parameter.grad)
        return results
