"""Loaders of a training: its batches from any step on, each in parts."""

import math
from collections.abc import Iterator

from torch.utils.data import Sampler

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.data.datamodule import (
    ClipLoader,
    DataConfig,
    make_loader,
    train_clips,
    train_reader,
)
from vidnas.data.formats import VideoList
from vidnas.data.sampler import Item, StepBatches
from vidnas.engine.evaluate.loaders import release
from vidnas.engine.run.processes import launched, rank_zero_error
from vidnas.engine.train.config import TrainConfig


def check_shares(config: TrainConfig) -> None:
    """Make sure that each of the processes can cut its share of a batch into equal parts.

    Raises:
        VidnasError: it cannot.
    """
    processes = math.prod(launched(config.devices))
    if config.batch_size % (config.accumulate * processes):
        raise rank_zero_error(
            VidnasError(
                f"train.batch_size: must be a multiple of accumulate times processes ({config.accumulate} x "
                f"{processes}) (got {config.batch_size})"
            )
        )


class Parts(Sampler[list[Item]]):
    """Each batch of another batch sampler in `parts` equal pieces, one after another."""

    def __init__(self, batches: StepBatches, parts: int) -> None:
        self.batches = batches
        self.parts = parts

    def __len__(self) -> int:
        return len(self.batches) * self.parts

    def __iter__(self) -> Iterator[list[Item]]:
        for batch in self.batches:
            size = len(batch) // self.parts
            yield from (batch[first : first + size] for first in range(0, len(batch), size))


class TrainLoaders:
    """Loaders of the steps of a run, from any step on and for any process.

    Args:
        videos: the training list.
        data: how clips are made.
        clip: of the network.
        config: batch size, parts, seed.
        pin_memory: for transfer to an accelerator.

    Attributes:
        clips: the data set.
        steps_per_epoch: full batches in one pass over the list.
        num_steps: of the whole run.
    """

    def __init__(
        self, videos: VideoList, data: DataConfig, clip: ClipSpec, config: TrainConfig, *, pin_memory: bool = False
    ) -> None:
        self.clips = train_clips(data, videos, train_reader(data, videos, clip), clip, config.seed)
        self.config = config
        self.workers = data.workers
        self.clips_per_video = data.clips_per_video
        self.pin_memory = pin_memory
        self.steps_per_epoch = self._batches(0, 0, 0, 1).steps_per_epoch
        self.num_steps = config.num_steps(self.steps_per_epoch)

    def loader(self, start_step: int, end_step: int, rank: int = 0, world_size: int = 1) -> ClipLoader:
        """The batches of steps `start_step` to `end_step - 1`, each in `config.accumulate` parts."""
        batches = self._batches(start_step, end_step, rank, world_size)
        parts = Parts(batches, self.config.accumulate)
        return make_loader(self.clips, parts, self.workers, pin_memory=self.pin_memory)

    def release(self) -> None:
        """Let go of frames in memory; they come back when clips are asked for."""
        release(self.clips.reader)

    def _batches(self, start_step: int, end_step: int, rank: int, world_size: int) -> StepBatches:
        return StepBatches(
            len(self.clips),
            self.config.batch_size,
            self.config.seed,
            num_steps=end_step,
            start_step=start_step,
            rank=rank,
            world_size=world_size,
            clips_per_video=self.clips_per_video,
        )
