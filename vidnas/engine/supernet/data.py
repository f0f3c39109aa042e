"""The parts of a training list that a search learns from, as clips."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from vidnas.arch.spec import ClipSpec
from vidnas.data.augment import Views
from vidnas.data.datamodule import DataConfig, make_loader, train_clips, train_reader, view_clips
from vidnas.data.dataset import Batch, TrainClips, ViewClips
from vidnas.data.formats import VideoList
from vidnas.data.sampler import SequentialBatches, StepBatches
from vidnas.engine.run.loop import Batches
from vidnas.engine.run.processes import get_rank, get_world_size
from vidnas.engine.supernet.config import Schedule, SearchConfig

_CENTRE = Views(1, 1)
# An accuracy on so many clips is good to 3 points.
_COMPARED_CLIPS = 256


class SearchData:
    """The three parts of a search as clips, from one reader over all of them.

    Args:
        train: the training list, of which the parts are made.
        parts: weights, alpha and holdout.
        clip: of the space.
        data: how clips are made.
        config: batch sizes and seed.
    """

    def __init__(
        self, train: VideoList, parts: Mapping[str, VideoList], clip: ClipSpec, data: DataConfig, config: SearchConfig
    ) -> None:
        reader = train_reader(data, train, clip)
        self.config = config
        self.workers = data.workers
        self.clips_per_video = data.clips_per_video
        self.weights: TrainClips = train_clips(data, parts["weights"], reader, clip, config.seed, augment="off")
        # Alpha and candidates see centre crops without augmentation, as a test does.
        self.alpha: ViewClips = view_clips(data, parts["alpha"], reader, clip, _CENTRE)
        self.holdout: ViewClips = view_clips(data, parts["holdout"], reader, clip, _CENTRE)

    def scoring_batches(self, number: int) -> list[Batch]:
        """The first batches that the search scores alpha on."""
        size = self.config.score_batch_size
        batches = StepBatches(len(self.alpha), size, self.config.seed + 1, num_steps=number)
        return [batch.only_readable() for batch in make_loader(self.alpha, batches)]

    @property
    def comparison_batches(self) -> int:
        """How many of them tell architectures apart: one pass over alpha's part, 256 clips at most."""
        size = self.config.score_batch_size
        return max(1, min(len(self.alpha) // size, _COMPARED_CLIPS // size))

    def norm_clips(self) -> list[Tensor]:
        """Training batches for the norm statistics of networks taken out of the supernet."""
        config = self.config
        batches = StepBatches(len(self.weights), config.batch_size, config.seed + 2, num_steps=config.norm_batches)
        return [batch.clips for batch in make_loader(self.weights, batches)]

    def holdout_batches(self) -> Iterable[Batch]:
        """Every video of the holdout once; can be gone through again."""
        return make_loader(self.holdout, SequentialBatches(len(self.holdout), self.config.score_batch_size))

    @property
    def steps_per_epoch(self) -> int:
        """Steps on the weights in one pass over their part."""
        return max(1, len(self.weights) // self.config.batch_size)

    def weights_batches(self, schedule: Schedule) -> Batches:
        """This process's part of the training batches from a step on."""
        size, together = self.config.batch_size, self.clips_per_video
        return self._batches(self.weights, size, schedule.total, self.config.seed, together)

    def alpha_batches(self, schedule: Schedule) -> Batches:
        """This process's part of the scoring batches from an alpha step on."""
        return self._batches(self.alpha, self.config.score_batch_size, schedule.alpha_steps, self.config.seed + 1)

    def _batches(
        self, clips: TrainClips | ViewClips, size: int, steps: int, seed: int, clips_per_video: int = 1
    ) -> Batches:
        def start_at(step: int) -> Any:
            batches = StepBatches(
                len(clips),
                size,
                seed,
                num_steps=steps,
                start_step=step,
                rank=get_rank(),
                world_size=get_world_size(),
                clips_per_video=clips_per_video,
            )
            return make_loader(clips, batches, self.workers)

        return start_at
