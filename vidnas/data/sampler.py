"""Which samples make the batch of a step: a pure function of the seed and the step's number.

A training run that stops at step k goes on with `start_step=k` and sees exactly the batches that it would have
seen. Items are pairs (epoch, sample index); together with the seed they fix a clip's place in time and its
augmentation, so nothing about a batch depends on random state that was used up before.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from vidnas.errors import VidnasError

Item = tuple[int, int]


def permutation(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of all samples in one epoch."""
    # The spawn key keeps this stream apart from the items' own, which are seeded by (seed, epoch, index).
    return np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(1,))).permutation(num_samples)


class StepBatches(Sampler[list[Item]]):
    """Batch sampler for training: shuffled epochs, the incomplete batch at the end of each dropped.

    A list shorter than a batch is passed through as often as needed to fill one; each pass is an epoch of its own
    in the items, so that a sample met twice in a batch is cut and augmented differently.

    Args:
        num_samples: length of the list.
        batch_size: samples per step, over all ranks.
        seed: of the order.
        num_steps: the run's last step is `num_steps - 1`.
        start_step: first step to yield, for resuming.
        rank: this process; it gets the `rank`-th of `world_size` equal parts of every batch.
        world_size: number of processes.

    Raises:
        VidnasError: no samples, or a batch that the processes cannot share equally.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        *,
        num_steps: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if num_samples < 1:
            raise VidnasError("the training list is empty: give it at least one video")
        if batch_size < 1 or batch_size % world_size:
            raise VidnasError(
                f"batch size {batch_size} cannot be shared by {world_size} processes: use a multiple of {world_size}"
            )
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.num_steps = num_steps
        self.start_step = start_step
        self.rank = rank
        self.world_size = world_size

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the list; 1 for a list shorter than a batch."""
        return max(1, self.num_samples // self.batch_size)

    def __len__(self) -> int:
        return max(0, self.num_steps - self.start_step)

    def __iter__(self) -> Iterator[list[Item]]:
        share = self.batch_size // self.world_size
        # The order of an epoch is kept while its steps last; it is recomputed, never carried over, on resume.
        epoch, order = -1, np.empty(0, int)
        for step in range(self.start_step, self.num_steps):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = self._epoch(epoch)
            first = step % self.steps_per_epoch * self.batch_size + self.rank * share
            yield [(int(e), int(i)) for e, i in order[first : first + share]]

    def _epoch(self, epoch: int) -> np.ndarray:
        """(samples, 2): pass number and sample index in the order of an epoch."""
        passes = -(-self.batch_size // self.num_samples)
        numbers = range(epoch * passes, (epoch + 1) * passes)
        orders = [permutation(self.num_samples, self.seed, number) for number in numbers]
        return np.stack([np.repeat(numbers, self.num_samples), np.concatenate(orders)], axis=1)


class SequentialBatches(Sampler[list[Item]]):
    """Batch sampler for testing: every item once, in order, none twice whatever the number of processes.

    The ranks take turns over the batches, so they may get one batch more or less; gather results at the end, not
    per batch.
    """

    def __init__(self, num_items: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self._starts = range(rank * batch_size, num_items, world_size * batch_size)
        self.num_items = num_items
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[list[Item]]:
        for start in self._starts:
            yield [(0, index) for index in range(start, min(start + self.batch_size, self.num_items))]
