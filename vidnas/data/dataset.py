"""Data sets of clips: random ones to train on, evenly placed views to test with.

An item is asked for by (epoch, index), as the batch samplers give them, and depends on nothing but the seed and
these two numbers: not on the order of requests, the number of worker processes, or what was broken before.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import OutOfMemory, VidnasError
from vidnas.data.augment import JITTER, PLAIN, Augmentation, Flip, TrainTransform, Views, ViewTransform, flip_map
from vidnas.data.clips import STEADY, clip_times, item_rng, test_times
from vidnas.data.decode import BrokenVideo, count_frames
from vidnas.data.formats import VideoList
from vidnas.data.reader import Reader
from vidnas.data.sampler import Item
from vidnas.data.video_list import Label, target_of

# Files named in an error message; the others are counted.
_NAMED = 5


class Example(NamedTuple):
    """A clip (C, T, H, W) float32 and its target, whether the video could be read, and its place in the list.

    A clip that could not be read is all zeros, and so is its target.
    """

    clip: Tensor
    target: Tensor
    readable: bool
    place: int


class Batch(NamedTuple):
    """What a step or a test sees of a list.

    Attributes:
        clips: (N, C, T, H, W) float32 in channels_last_3d.
        targets: (N,) int64, the class of each clip; of a multi-label list (N, classes) float32, 0 or 1 for each class.
        readable: (N,) bool, whether its video could be read; clips and targets of the others mean nothing.
        indices: (N,) int64, places of the videos in the list.
    """

    clips: Tensor
    targets: Tensor
    readable: Tensor
    indices: Tensor

    def only_readable(self) -> "Batch":
        """Without the views of videos that cannot be read."""
        return self if bool(self.readable.all()) else Batch(*(tensor[self.readable] for tensor in self))

    def chunk(self, parts: int) -> "list[Batch]":
        """Up to so many equal parts, one after another."""
        return [Batch(*tensors) for tensors in zip(*(tensor.chunk(parts) for tensor in self), strict=True)]


def target_tensor(label: Label, videos: VideoList) -> Tensor:
    """What a network is to give for a label of a list, as `Batch` has it."""
    return torch.from_numpy(target_of(label, len(videos.classes)))


def collate(examples: Sequence[Example | VidnasError]) -> Batch | VidnasError:
    """Stack examples; an error among them takes the place of the batch (see `make_loader`)."""
    good: list[Example] = []
    for example in examples:
        if isinstance(example, VidnasError):
            return example
        good.append(example)
    # Stacked with the channels last, as the transforms leave them in memory.
    clips = torch.stack([example.clip.permute(1, 2, 3, 0) for example in good]).permute(0, 4, 1, 2, 3)
    targets = torch.stack([example.target for example in good])
    readable, indices = (torch.tensor([example[field] for example in good]) for field in (2, 3))
    batch = Batch(clips, targets, readable, indices)
    return batch if get_worker_info() is None else _shared(batch)


def _shared(batch: Batch) -> Batch | VidnasError:
    """Move a worker's batch to where the main process reads it.

    Left to the queue's own thread, a failure would be printed there and the main process would wait for ever.
    """
    try:
        for tensor in batch:
            tensor.share_memory_()
    except RuntimeError as error:
        return _no_shared_memory(f"a batch of {sum(tensor.nbytes for tensor in batch) / 2**20:.0f} MiB", error)
    return batch


def _no_shared_memory(what: str, error: RuntimeError) -> OutOfMemory:
    return OutOfMemory(
        f"no shared memory left for {what} ({str(error).splitlines()[0]}); give it more (docker run --shm-size=2g), or "
        "use --workers 0"
    )


class Quarantine:
    """Which videos of a list turned out broken, known to all worker processes at once; each is counted once.

    Making an item never looks in here: whether a video is replaced must not depend on what was met before. A
    video that is set aside is one that is replaced wherever it fails.

    Args:
        videos: the list.
        reader: its videos known to be broken count from the start.
        max_broken: largest tolerated fraction of the list. One video is tolerated in any list unless this is 0,
            so that a short list does not stop at its first. None tolerates all. Of several processes
            that train together each counts what it has met itself.
    """

    def __init__(self, videos: VideoList, reader: Reader, max_broken: float | None) -> None:
        self.allowed = None if max_broken is None else int(max_broken * len(videos)) or int(max_broken > 0)
        self._paths = [sample.path for sample in videos.samples]
        self._reader = reader
        self._flags = torch.tensor([path in reader.broken for path in self._paths], dtype=torch.bool)

    def __len__(self) -> int:
        return int(self._flags.sum())

    def share(self) -> None:
        """Let worker processes that start from now on write into the same flags.

        Raises:
            OutOfMemory: there is no shared memory.
        """
        try:
            self._flags.share_memory_()
        except RuntimeError as error:
            raise _no_shared_memory("worker processes", error) from error

    def add(self, index: int) -> None:
        """Set the video at this place of the list aside."""
        self._flags[index] = True

    def places(self) -> list[int]:
        """Where in the list the videos set aside are."""
        places: list[int] = self._flags.nonzero().flatten().tolist()
        return places

    def broken(self) -> list[BrokenVideo]:
        """The videos set aside, with their causes, in the order of the list (decodes them again)."""
        return [self._cause(self._paths[index]) for index in self.places()]

    def check(self) -> None:
        """Stop when there are too many.

        Raises:
            VidnasError: more than tolerated; names the first few with their causes.
        """
        if self.allowed is None or len(self) <= self.allowed:
            return
        named = self.places()[:_NAMED]
        causes = "; ".join(str(self._cause(self._paths[index])) for index in named)
        more = f"; and {len(self) - len(named)} more" if len(self) > len(named) else ""
        raise VidnasError(
            f"{len(self)} of {len(self._paths)} videos are broken, {self.allowed} tolerated: {causes}{more}: "
            "`vidnas data check --fix` writes a list without them, --clips.max-broken tolerates more"
        )

    def _cause(self, path: Path) -> BrokenVideo:
        if path in self._reader.broken:
            return BrokenVideo(path, self._reader.broken[path])
        try:
            count_frames(path)
        except BrokenVideo as error:
            return error
        return BrokenVideo(path, "could not be read, but can be now")


class TrainClips(Dataset[Example]):
    """One random clip of each video, augmented, as a function of (seed, epoch, index).

    A video that cannot be read is replaced by another that shares a class with it, drawn from the same three numbers.
    Clips longer than their video repeat its last frame (`vidnas.data.clips`).

    Args:
        videos: the training list.
        reader: source of the frames.
        clip: frames, crop and sampling.
        seed: of all that is drawn.
        jitter: range of the short side as multiples of the crop.
        flip: `off`, `on`, or pairs of class names that a mirror exchanges.
        augmentation: what else may happen to a clip's frames.
        tempo: range of the span of a clip as multiples of the usual one.
        max_broken: see `Quarantine`.

    Raises:
        VidnasError: a flip pair that does not fit the classes; too many videos known to be broken.
    """

    def __init__(
        self,
        videos: VideoList,
        reader: Reader,
        clip: ClipSpec,
        *,
        seed: int,
        jitter: tuple[float, float] = JITTER,
        flip: Flip = "off",
        augmentation: Augmentation = PLAIN,
        tempo: tuple[float, float] = STEADY,
        max_broken: float = 0.01,
    ) -> None:
        self.videos = videos
        self.reader = reader
        self.clip = clip
        self.seed = seed
        self.tempo = tempo
        self.mirrored = flip_map(flip, videos.classes)
        self.transform = TrainTransform(
            clip.size, jitter=jitter, flip=self.mirrored is not None, augmentation=augmentation
        )
        self.quarantine = Quarantine(videos, reader, max_broken)
        self.quarantine.check()

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, item: Item) -> Example:
        """The clip of item (epoch, index); `place` of the result is that of the video shown.

        Raises:
            VidnasError: no video of the class can be read.
        """
        epoch, index = item
        for attempt, candidate in enumerate(self._candidates(epoch, index)):
            # Every attempt has a generator of its own: what a failed one drew depends on where it failed.
            rng = item_rng(self.seed, epoch, index + attempt * len(self))
            try:
                return self._examples(candidate, [rng])[0]
            except BrokenVideo:
                self.quarantine.add(candidate)
        name = self.videos.label_text(self.videos.samples[index].label)
        raise VidnasError(f"class {name!r}: none of its videos can be read: run `vidnas data check` on the list")

    def __getitems__(self, items: Sequence[Item]) -> list[Example | VidnasError]:
        """The items of a batch; an error is an item too, so that it reaches the main process as it is.

        Clips of one video are decoded in one pass.
        """
        examples = self._together(items)
        missing = [item for item in items if item not in examples]
        for item in missing:
            try:
                examples[item] = self[item]
            except VidnasError as error:
                examples[item] = error
        return [examples[item] for item in items]

    def _together(self, items: Sequence[Item]) -> dict[Item, Example | VidnasError]:
        """Those items of which the batch has several from one video, unless a frame of it cannot be read."""
        epochs: defaultdict[int, set[int]] = defaultdict(set)
        for epoch, index in items:
            epochs[index].add(epoch)
        examples: dict[Item, Example | VidnasError] = {}
        for index, several in epochs.items():
            if len(several) > 1:
                # The generators are those of the items one by one.
                drawn = {epoch: item_rng(self.seed, epoch, index) for epoch in several}
                try:
                    made = self._examples(index, list(drawn.values()))
                except BrokenVideo:
                    continue
                examples |= {(epoch, index): example for epoch, example in zip(drawn, made, strict=True)}
        return examples

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        yield index
        own = self.videos.samples[index]
        others = [
            i
            for i, sample in enumerate(self.videos.samples)
            if i != index and (sample.label == own.label or not set(own.labels).isdisjoint(sample.labels))
        ]
        # Beyond the numbers of all attempts, so that this generator is nobody's clip.
        yield from item_rng(self.seed, epoch, index + len(self) ** 2).permutation(others).tolist()

    def _examples(self, index: int, rngs: Sequence[np.random.Generator]) -> list[Example]:
        """One clip per generator, all from one pass through the video."""
        sample = self.videos.samples[index]
        info = self.reader.info(sample.path)
        times = [clip_times(self.clip, info.duration_sec, info.fps, rng, self.tempo) for rng in rngs]
        frames = self.reader.read(sample.path, [time for clip in times for time in clip])
        return [self._example(index, clip, rng) for clip, rng in zip(np.split(frames, len(rngs)), rngs, strict=True)]

    def _example(self, index: int, frames: np.ndarray, rng: np.random.Generator) -> Example:
        draw = self.transform.draw(frames.shape[1], frames.shape[2], rng)
        label = self.videos.samples[index].label
        if draw.flip and self.mirrored:
            mirrored = tuple(self.mirrored[one] for one in self.videos.samples[index].labels)
            label = mirrored[0] if isinstance(label, int) else mirrored
        return Example(self.transform(frames, draw), target_tensor(label, self.videos), True, index)


class ViewClips(Dataset[Example]):
    """The views of every video, for testing: item (epoch, i) is view i % K of video i // K, K = len(views).

    Views of one clip in time lie side by side: view v is crop v % spatial of clip v // spatial. A video that cannot
    be read gives clips of zeros that are marked as such, and is listed by `quarantine`; it is never left out.

    Args:
        videos: the list to test on.
        reader: source of the frames.
        clip: frames, training crop and sampling.
        views: clips in time x crops.
        jitter: the training range; its lower end sets the short side.
    """

    def __init__(
        self,
        videos: VideoList,
        reader: Reader,
        clip: ClipSpec,
        views: Views,
        *,
        jitter: tuple[float, float] = JITTER,
    ) -> None:
        self.videos = videos
        self.reader = reader
        self.clip = clip
        self.views = views
        self.transform = ViewTransform(clip.size, views.spatial, jitter=jitter)
        self.quarantine = Quarantine(videos, reader, None)

    def __len__(self) -> int:
        return len(self.videos) * len(self.views)

    def __getitem__(self, item: Item) -> Example:
        """One view."""
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[Item]) -> list[Example]:
        """The views of a batch, in order; each video in it is opened once."""
        wanted: dict[int, list[int]] = {}
        for _, item in items:
            index, view = divmod(item, len(self.views))
            wanted.setdefault(index, []).append(view)
        made = {index: iter(self._examples(index, views)) for index, views in wanted.items()}
        return [next(made[item // len(self.views)]) for _, item in items]

    def _examples(self, index: int, views: Sequence[int]) -> list[Example]:
        """Views of one video; all of them unreadable if one of their frames is."""
        sample = self.videos.samples[index]
        try:
            info = self.reader.info(sample.path)
            moments = test_times(self.clip, info.duration_sec, info.fps, self.views.temporal)
            clips = sorted({view // self.views.spatial for view in views})
            frames = self.reader.read(sample.path, [time for clip in clips for time in moments[clip]])
        except BrokenVideo:
            self.quarantine.add(index)
            zeros = torch.zeros(self.clip.frames, self.transform.crop, self.transform.crop, 3).permute(3, 0, 1, 2)
            nothing = torch.zeros_like(target_tensor(sample.label, self.videos))
            return [Example(zeros, nothing, False, index)] * len(views)
        by_clip = dict(zip(clips, np.split(frames, len(clips)), strict=True))
        target = target_tensor(sample.label, self.videos)
        return [
            Example(self.transform(by_clip[view // self.views.spatial], view % self.views.spatial), target, True, index)
            for view in views
        ]
