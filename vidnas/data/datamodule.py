"""From a list of videos and a configuration to loaders that a training loop iterates."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field
from torch.utils.data import DataLoader, Sampler

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.base.limits import Natural, NotNegative, Positive, check_limits
from vidnas.data.augment import JITTER, Augmentation, Flip, Policy, Views, short_sides
from vidnas.data.cache import open_reader
from vidnas.data.clips import STEADY
from vidnas.data.dataset import Batch, Example, TrainClips, ViewClips, collate
from vidnas.data.formats import VideoList
from vidnas.data.processes import preloading, stand_alone, starting_processes
from vidnas.data.reader import Reader
from vidnas.data.sampler import Item

# Settings of `DataConfig` that are options of their own, not of a group.
NAMED_ALONE = frozenset({"path", "test_path", "group_regex", "follow_links"})
# Where things lie and how fast they come; what lists hold is compared by their content.
_FREE_ON_RESUME = NAMED_ALONE | {"max_broken", "workers", "memory_budget_mib", "cache_dir"}

# In which a process whose connection broke is known to have ended.
_END_SEC = 5.0
# What torch says of the thread that pins memory, when a connection broke in it.
_PINNING_ENDED = "Pin memory thread"


@dataclass(frozen=True)
class DataConfig:
    """Where the videos are and how clips are made of them.

    Attributes:
        path: a folder (with train.csv and test.csv, with train/ and test/, or with one folder per class) or a CSV
            file of lines `path,label[,group]`.
        test_path: the test list, where it is not beside the training list.
        group_regex: the first match group of this expression on a video's relative path is its group; a group is
            never split between lists.
        follow_links: also follow links that lead out of the folder of a list.
        jitter: range of the short side in training, as multiples of the crop; testing uses its lower end.
        flip: off, on (labels stay), or a list of pairs of class names that a mirror exchanges.
        augment: off; auto (AutoAugment's ImageNet policy); or rand (RandAugment, two random changes). One draw
            per clip. null is auto where a network is trained and off on a supernet, as in AutoX3D (sec. 5.1.2).
        rand_magnitude: strength of RandAugment's changes, 0 to 30.
        tempo: range of the span of a training clip, as multiples of the usual one: of the stride, or of the whole
            video with uniform sampling. Drawn log-uniformly; the start is random.
        aspect: range of width by height of what is cut out and scaled to the square crop in training, drawn
            log-uniformly.
        rotate: turn training clips by up to so many degrees to either side; beyond the frame stands the mean.
        erase: share of the training clips from which a random box, the same in all frames, is replaced by the mean.
        max_broken: stop training when more than this fraction of the list turns out broken; one video is always
            tolerated, unless this is 0. Of several processes each counts what it has met itself.
        clips_per_video: training clips of a video side by side in a batch, decoded in one go: less decoding where
            videos are long, less variety in a batch. Divides the batch.
        workers: worker processes per loader; 0 makes clips in the main process, which is fast enough for small
            clips from the cache.
        memory_budget_mib: data sets whose decoded frames take no more than this are decoded once into a memory
            map; 0 never does.
        cache_dir: folder of these memory maps; the user's cache folder by default.
    """

    path: Path
    test_path: Path | None = None
    group_regex: str | None = None
    follow_links: bool = False
    jitter: tuple[float, float] = JITTER
    flip: Flip = "off"
    augment: Policy | None = None
    rand_magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    tempo: tuple[float, float] = STEADY
    aspect: tuple[float, float] = (1.0, 1.0)
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_broken: Annotated[float, Field(ge=0, le=1)] = 0.01
    clips_per_video: Positive = 1
    workers: Natural = 2
    memory_budget_mib: NotNegative = 2048
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        low, high = self.jitter
        if not 1 <= low <= high:
            raise VidnasError(f"clips.jitter {low}, {high}: give two multiples of the crop, 1 <= low <= high")
        for name in ("tempo", "aspect"):
            low, high = getattr(self, name)
            if not 0.1 <= low <= high <= 10:
                raise VidnasError(f"clips.{name} {low}, {high}: give two factors, 0.1 <= low <= high <= 10")
        if self.augment not in (None, *get_args(Policy)):
            raise VidnasError(f"clips.augment {self.augment}: give one of {', '.join(get_args(Policy))}")
        check_limits(self, "clips")

    def fixed_settings(self) -> dict[str, Any]:
        """The settings that a resumed run must share with the one it goes on from, as builtins that JSON keeps."""
        return {name: _lists(value) for name, value in asdict(self).items() if name not in _FREE_ON_RESUME}


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def train_reader(config: DataConfig, videos: VideoList, clip: ClipSpec) -> Reader:
    """Frames at the largest short side that training asks for; one reader serves every subset of the list."""
    return _reader(config, videos, short_sides(clip.size, config.jitter)[1])


def view_reader(config: DataConfig, videos: VideoList, clip: ClipSpec) -> Reader:
    """Frames at the short side of testing."""
    return _reader(config, videos, short_sides(clip.size, config.jitter)[0])


def _reader(config: DataConfig, videos: VideoList, short_side: int) -> Reader:
    paths = (sample.path for sample in videos.samples)
    return open_reader(paths, short_side, budget_mib=config.memory_budget_mib, cache_dir=config.cache_dir)


def train_clips(
    config: DataConfig, videos: VideoList, reader: Reader, clip: ClipSpec, seed: int, *, augment: Policy = "auto"
) -> TrainClips:
    """Random augmented clips as the configuration says; `augment` is what its null stands for."""
    policy = config.augment or augment
    return TrainClips(
        videos,
        reader,
        clip,
        seed=seed,
        jitter=config.jitter,
        flip=config.flip,
        augmentation=Augmentation(policy, config.rand_magnitude, config.aspect, config.rotate, config.erase),
        tempo=config.tempo,
        max_broken=config.max_broken,
    )


def view_clips(config: DataConfig, videos: VideoList, reader: Reader, clip: ClipSpec, views: Views) -> ViewClips:
    """The views of a test, at the scale that belongs to the configuration's training scales."""
    return ViewClips(videos, reader, clip, views, jitter=config.jitter)


class ClipLoader(DataLoader[Example]):
    """A DataLoader whose batches come with a look at the quarantine, in the main process."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        with starting_processes() if self.num_workers else nullcontext():
            batches = super().__iter__()
        for batch in _naming_ended_processes(batches) if self.num_workers else batches:
            # Raised in a worker it would arrive as a traceback inside another exception.
            if isinstance(batch, VidnasError):
                raise batch
            self.dataset.quarantine.check()  # type: ignore[attr-defined]
            yield batch


def _naming_ended_processes(batches: Any) -> Iterator[Any]:
    """The batches of a loader's iterator.

    A process that ends while it hands over a batch shows as a broken connection, before the loader knows of its end;
    with a thread that pins memory, as the end of that one.

    Raises:
        RuntimeError: in the words that the loader has for it.
    """
    try:
        yield from batches
    except (OSError, EOFError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(_PINNING_ENDED):
            raise
        ends = {process.sentinel: process.pid for process in batches._workers}
        ended = [str(ends[sentinel]) for sentinel in wait(list(ends), timeout=_END_SEC)]
        if not ended:
            raise
        raise RuntimeError(f"DataLoader worker (pid(s) {', '.join(ended)}) exited unexpectedly") from error


def make_loader(
    dataset: TrainClips | ViewClips, batches: Sampler[list[Item]], workers: int = 0, *, pin_memory: bool = False
) -> ClipLoader:
    """A loader of `Batch` whose batches do not depend on the number of workers.

    Worker processes are no forks of this one (`vidnas.data.processes.preloading`), so a script that uses them needs the
    usual `if __name__ == "__main__":`.

    Args:
        dataset: the clips.
        batches: `StepBatches` or `SequentialBatches`.
        workers: processes, with one thread each, kept over several passes; 0 for none.
        pin_memory: for transfer to an accelerator.
    """
    context = None
    if workers:
        dataset.quarantine.share()
        context = preloading("vidnas.data.dataset")
    return ClipLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        multiprocessing_context=context,
        persistent_workers=workers > 0,
        worker_init_fn=_stand_alone if workers else None,
    )


def _stand_alone(_: int) -> None:
    stand_alone()
