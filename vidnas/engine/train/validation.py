"""Figures of a network on the held-out part of the training list, while it is trained."""

from vidnas.arch.spec import ClipSpec
from vidnas.data.augment import Views
from vidnas.data.datamodule import ClipLoader, DataConfig
from vidnas.data.formats import VideoList
from vidnas.engine.evaluate.loaders import ViewLoaders
from vidnas.engine.evaluate.scoring import ViewScores, score_views
from vidnas.engine.run.processes import all_reduce_sum, get_rank, get_world_size
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.train.config import TrainConfig
from vidnas.nn.build import VideoNetwork


class Validation:
    """One centre view of every held-out video; videos that cannot be read do not count.

    Args:
        videos: the held-out part.
        data: how clips are made.
        config: of the training.
        clip: of the network.
    """

    def __init__(self, videos: VideoList, data: DataConfig, config: TrainConfig, clip: ClipSpec) -> None:
        self.videos = videos
        self.config = config
        self.clips_at_once = max(1, config.batch_size // config.accumulate)
        self.loaders = ViewLoaders(videos, data, clip, Views(1, 1), self.clips_at_once)
        self._loader: ClipLoader | None = None

    def release(self) -> None:
        """Let go of worker processes and frames in memory."""
        self._loader = None
        self.loaders.release()

    def __call__(self, network: VideoNetwork) -> dict[str, float]:
        """The task's figures, their names with `val_` before them, the same on every process.

        Raises:
            Diverged: scores that are not finite.
        """
        if self._loader is None:  # kept, with its worker processes, for the next time
            self._loader = self.loaders.loader(get_rank(), get_world_size())
        scores = ViewScores(len(self.videos), len(self.videos.classes), self.clips_at_once)
        score_views(network, self._loader, scores, self.config.precision)
        scores.gather(all_reduce_sum)
        found = task_of(network.spec.head).figures(scores.mean(), self.videos.targets[scores.readable()])
        return {f"val_{name}": value for name, value in found.items()}
