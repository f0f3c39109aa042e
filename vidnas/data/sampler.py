"""Which samples make the batch of a step: a pure function of the seed and the step's number.

A training run that stops at step k goes on with `start_step=k` and sees exactly the batches that it would have
seen. Items are pairs (epoch, sample index); together with the seed they fix a clip's place in time and its
augmentation, so nothing about a batch depends on random state that was used up before.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from vidnas.base.errors import VidnasError

Item = tuple[int, int]


def permutation(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of all samples in one epoch."""
    # The spawn key keeps this stream apart from the items' own, which are seeded by (seed, epoch, index).
    return np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(1,))).permutation(num_samples)


def repeat_notice(batch_size: int, videos: int, part: str, option: str) -> str | None:
    """One line where a batch is larger than the list that it is drawn from.

    Args:
        batch_size: of all processes together.
        videos: length of the list.
        part: the list, as `training`.
        option: what sets the size.
    """
    if batch_size <= videos:
        return None
    return (
        f"note: a batch of {batch_size} is more than the {videos} {part} videos, so that every batch holds videos "
        f"several times over; {option} {videos} or less avoids it"
    )


class StepBatches(Sampler[list[Item]]):
    """Batch sampler for training: shuffled epochs, the incomplete batch at the end of each dropped.

    A list shorter than a batch is passed through as often as needed to fill one; each pass is an epoch of its own
    in the items, so that a sample met twice in a batch is cut and augmented differently.

    With `clips_per_video` above 1 so many passes share one order, in which each sample stands that often in a row:
    the same items as without it, but a batch holds several clips of a video, which are then decoded in one go.

    Args:
        num_samples: length of the list.
        batch_size: samples per step, over all ranks.
        seed: of the order.
        num_steps: the run's last step is `num_steps - 1`.
        start_step: first step to yield, for resuming.
        rank: this process; it gets the `rank`-th of `world_size` equal parts of every batch.
        world_size: number of processes.
        clips_per_video: clips of a video side by side in a batch.

    Raises:
        VidnasError: no samples, or a batch that the processes, or the clips of a video, cannot share equally.
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
        clips_per_video: int = 1,
    ) -> None:
        if num_samples < 1:
            raise VidnasError("the training list is empty: give it at least one video")
        if batch_size < 1 or batch_size % world_size:
            raise VidnasError(
                f"batch size {batch_size} cannot be shared by {world_size} processes: use a multiple of {world_size}"
            )
        if clips_per_video < 1 or batch_size // world_size % clips_per_video:
            raise VidnasError(
                f"{clips_per_video} clips per video do not go into the {batch_size // world_size} clips of a batch: "
                "use a number that divides them"
            )
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.num_steps = num_steps
        self.start_step = start_step
        self.rank = rank
        self.world_size = world_size
        self.clips_per_video = clips_per_video

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the list; 1 for a list shorter than a batch."""
        return max(1, self.num_samples // self.batch_size)

    def __len__(self) -> int:
        return max(0, self.num_steps - self.start_step)

    def __iter__(self) -> Iterator[list[Item]]:
        share = self.batch_size // self.world_size
        # The order of a round (the epochs that share one) is kept while its steps last; it is recomputed, never
        # carried over, on resume.
        steps = self.steps_per_epoch * self.clips_per_video
        current, order = -1, np.empty(0, int)
        for step in range(self.start_step, self.num_steps):
            if step // steps != current:
                current = step // steps
                order = self._round(current)
            first = step % steps * self.batch_size + self.rank * share
            yield [(int(e), int(i)) for e, i in order[first : first + share]]

    def _round(self, number: int) -> np.ndarray:
        """(items, 2): pass number and sample index in the order of a round."""
        together = self.clips_per_video
        orders = -(-self.batch_size // self.num_samples)
        parts = []
        for first in range(number * orders * together, (number + 1) * orders * together, together):
            samples = np.repeat(permutation(self.num_samples, self.seed, first), together)
            passes = np.tile(np.arange(first, first + together), self.num_samples)
            parts.append(np.stack([passes, samples], axis=1))
        return np.concatenate(parts)


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
