"""Loaders as the engine needs them: the batches of a run in parts, the views of a test."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from vidnas.arch.spec import ClipSpec
from vidnas.data.augment import Views
from vidnas.data.cache import FrameCache
from vidnas.data.datamodule import (
    ClipLoader,
    DataConfig,
    make_loader,
    train_clips,
    train_reader,
    view_clips,
    view_reader,
)
from vidnas.data.formats import VideoList
from vidnas.data.reader import Reader
from vidnas.data.sampler import Item, SequentialBatches, StepBatches
from vidnas.engine.config import TrainConfig


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
        self.num_steps = config.steps or config.epochs * self.steps_per_epoch

    def loader(self, start_step: int, end_step: int, rank: int = 0, world_size: int = 1) -> ClipLoader:
        """The batches of steps `start_step` to `end_step - 1`, each in `config.accumulate` parts."""
        batches = self._batches(start_step, end_step, rank, world_size)
        parts = Parts(batches, self.config.accumulate)
        return make_loader(self.clips, parts, self.workers, pin_memory=self.pin_memory)

    def release(self) -> None:
        """Let go of frames in memory; they come back when clips are asked for."""
        _release(self.clips.reader)

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


class ViewLoaders:
    """All views of all videos of a list, whole videos at a time, so that each is opened once per test.

    Args:
        videos: the list.
        data: where frames come from.
        clip: frames, training crop and sampling.
        views: clips in time x crops.
        batch_size: clips per batch, rounded to whole videos.
        pin_memory: for transfer to an accelerator.
    """

    def __init__(
        self,
        videos: VideoList,
        data: DataConfig,
        clip: ClipSpec,
        views: Views,
        batch_size: int,
        *,
        pin_memory: bool = False,
    ) -> None:
        self.clips = view_clips(data, videos, view_reader(data, videos, clip), clip, views)
        self.batch_size = len(views) * max(1, batch_size // len(views))
        self.workers = data.workers
        self.pin_memory = pin_memory

    def loader(self, rank: int = 0, world_size: int = 1) -> ClipLoader:
        """The share of one process."""
        batches = SequentialBatches(len(self.clips), self.batch_size, rank=rank, world_size=world_size)
        return make_loader(self.clips, batches, self.workers, pin_memory=self.pin_memory)

    def release(self) -> None:
        """Let go of frames in memory; they come back when views are asked for."""
        _release(self.clips.reader)


def _release(reader: Reader) -> None:
    if isinstance(reader, FrameCache):
        reader.release()
