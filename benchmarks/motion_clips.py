"""The motion classes of `vidnas data generate` as small clips in memory, without a codec."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from vidnas.arch.spec import ClipSpec
from vidnas.data.augment import normalise
from vidnas.data.dataset import Batch
from vidnas.data.sampler import SequentialBatches, StepBatches
from vidnas.data.synthetic import CLASSES, MOTIONS, draw_scene, drift, render

# Frames of the video per frame of the clip: a longer way from frame to frame, so that a short training learns it.
EVERY = 3


class MotionClips:
    """`per_class` clips of each class; clip i is a function of (seed, part, i) alone.

    Args:
        classes: names of motions.
        clip: frames and size.
        per_class: clips of each class; class i % classes belongs to clip i.
        seed: of the data set.
        part: keeps lists of one data set apart.
    """

    def __init__(self, classes: tuple[str, ...], clip: ClipSpec, per_class: int, seed: int, part: int) -> None:
        number = per_class * len(classes)
        drawn = [self._draw(classes[i % len(classes)], clip, (seed, part, i)) for i in range(number)]
        self.clips = torch.stack(drawn).contiguous(memory_format=torch.channels_last_3d)
        self.labels = torch.arange(number) % len(classes)

    @staticmethod
    def _draw(name: str, clip: ClipSpec, seed: tuple[int, int, int]) -> Tensor:
        rng = np.random.default_rng((*seed, CLASSES.index(name)))
        states = drift(MOTIONS[name], clip.frames * EVERY, rng)[::EVERY]
        frames = render(draw_scene(states, (clip.size, clip.size), rng, rng))
        return normalise(torch.from_numpy(frames).permute(0, 3, 1, 2))

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, other: "MotionClips") -> "MotionClips":
        joined = object.__new__(MotionClips)
        joined.clips = torch.cat([self.clips, other.clips])
        joined.labels = torch.cat([self.labels, other.labels])
        return joined

    def at(self, indices: list[int]) -> Batch:
        """The clips in these places."""
        places = torch.tensor(indices)
        clips = self.clips[places].contiguous(memory_format=torch.channels_last_3d)
        return Batch(clips, self.labels[places], torch.ones(len(places)).bool(), places)

    def shuffled(self, size: int, seed: int, steps: int) -> Callable[[int], Iterator[Batch]]:
        """Batches from a step on, as the search asks for them."""

        def start_at(step: int) -> Iterator[Batch]:
            for items in StepBatches(len(self), size, seed, num_steps=steps, start_step=step):
                yield self.at([index for _, index in items])

        return start_at

    def in_order(self, size: int) -> Iterator[Batch]:
        """All clips once."""
        for items in SequentialBatches(len(self), size):
            yield self.at([index for _, index in items])
