"""Loaders of a test: all views of all videos."""

from vidnas.arch.spec import ClipSpec
from vidnas.data.augment import Views
from vidnas.data.cache import FrameCache
from vidnas.data.datamodule import ClipLoader, DataConfig, make_loader, view_clips, view_reader
from vidnas.data.formats import VideoList
from vidnas.data.reader import Reader
from vidnas.data.sampler import SequentialBatches


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
        release(self.clips.reader)


def release(reader: Reader) -> None:
    """Let go of frames in memory, if it holds some; they come back when it is asked again."""
    if isinstance(reader, FrameCache):
        reader.release()
