"""From decoded frames (T, H, W, 3) uint8 to what a network takes: (C, T, H, W) float32, normalised.

Training follows the X3D recipe: the short side is scaled to a random size, a random square is cut out, optionally
mirrored and AutoAugmented. What is random is drawn first, as plain numbers from the item's own generator, then
applied. Testing is deterministic: one centre crop (K-Center) or three square crops along the longer side
(K-LeftCenterRight).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vidnas.errors import VidnasError

# One mean and deviation for all channels (X3D's and SlowFast's).
MEAN, STD = 0.45, 0.225
# Short side in training, as multiples of the crop. 8/7 is also the short side in testing.
JITTER = (8 / 7, 10 / 7)


def short_sides(size: int, jitter: tuple[float, float] = JITTER) -> tuple[int, int]:
    """Smallest and largest short side for a crop: the even numbers nearest to `jitter` times `size`.

    With the default this gives the papers' pairs: 182, 228 for 160; 256, 320 for 224; 356, 446 for 312.
    """
    low, high = (max(size, 2 * math.floor(ratio * size / 2 + 0.5)) for ratio in jitter)
    return low, high


# Never mirror, mirror and keep the label, or mirror and exchange the labels of these pairs of classes.
Flip = Literal["off", "on"] | list[tuple[str, str]]


def flip_map(flip: Flip, classes: Sequence[str]) -> tuple[int, ...] | None:
    """The label of each class's mirror image, or None where nothing may be mirrored.

    Args:
        flip: `off`; `on` (labels stay); or pairs of class names that a mirror exchanges (the others stay).
        classes: names in the order of their labels.

    Raises:
        VidnasError: a pair that is not two known, different classes, or a class in two pairs.
    """
    if flip == "off":
        return None
    labels = list(range(len(classes)))
    if flip == "on":
        return tuple(labels)
    for pair in flip:
        known = [classes.index(name) for name in pair if name in classes]
        if len(pair) != 2 or len(set(known)) != 2 or any(labels[label] != label for label in known):
            raise VidnasError(
                f"clips.flip: {' / '.join(pair)}: give pairs of two class names, each in one pair at most; "
                f"the classes are {', '.join(classes)}"
            )
        labels[known[0]], labels[known[1]] = known[1], known[0]
    return tuple(labels)


@dataclass(frozen=True)
class Draw:
    """What one training clip draws: a square of `side` source pixels at (top, left), a flip, a policy seed."""

    top: int
    left: int
    side: int
    flip: bool
    policy_seed: int


class TrainTransform:
    """Scale, random crop, flip, AutoAugment, normalise; the same for all frames of a clip.

    Deviation: the square is cut from the source frame first and then scaled to `size` (with antialiasing), which
    is the same crop for a fraction of the work; its corner lies on a source pixel.

    Args:
        size: side of the crop in pixels.
        jitter: range of the short side, as multiples of `size`; drawn uniformly over whole pixels.
        flip: mirror half of the clips.
        autoaugment: torchvision's AutoAugment with the ImageNet policy, one draw per clip.
    """

    def __init__(
        self, size: int, *, jitter: tuple[float, float] = JITTER, flip: bool = False, autoaugment: bool = False
    ) -> None:
        self.size = size
        self.jitter = jitter
        self.flip = flip
        # What a shear or a shift uncovers gets the mean.
        self.policy = v2.AutoAugment(fill=round(255 * MEAN)) if autoaugment else None

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Draw:
        """The random numbers of one clip whose frames are height x width."""
        low, high = short_sides(self.size, self.jitter)
        side = max(1, round(min(height, width) * self.size / rng.integers(low, high + 1)))
        return Draw(
            top=int(rng.integers(height - side + 1)),
            left=int(rng.integers(width - side + 1)),
            side=side,
            flip=bool(rng.integers(2)) and self.flip,
            policy_seed=int(rng.integers(2**62)),
        )

    def __call__(self, frames: np.ndarray, draw: Draw) -> Tensor:
        """(T, H, W, 3) uint8 to (3, T, size, size)."""
        clip = _as_images(frames[:, draw.top : draw.top + draw.side, draw.left : draw.left + draw.side])
        clip = F.resize(clip, [self.size, self.size], antialias=True)
        if draw.flip:
            clip = F.horizontal_flip(clip)
        if self.policy is not None:
            # torchvision draws from torch's global generator. A copy of it is seeded for this clip and the
            # original is put back, so that the draw depends on the item alone and nothing else notices. Only
            # the CPU's is touched: torch.manual_seed would reseed the accelerators as well.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(draw.policy_seed)
                clip = self.policy(clip)
        return normalise(clip)


@dataclass(frozen=True)
class Views:
    """Testing with `temporal` clips spread over the video, each cut `spatial` times (1 or 3)."""

    temporal: int = 10
    spatial: int = 3

    def __post_init__(self) -> None:
        if self.temporal < 1 or self.spatial not in (1, 3):
            raise VidnasError(f"views {self}: write clips x crops with 1 or 3 crops, as in 10x3 or 1x1")

    def __str__(self) -> str:
        return f"{self.temporal}x{self.spatial}"

    def __len__(self) -> int:
        return self.temporal * self.spatial

    @classmethod
    def parse(cls, text: str) -> "Views":
        """From `10x3`.

        Raises:
            VidnasError: anything else.
        """
        match = re.fullmatch(r"(\d{1,4})x(\d)", text.strip())
        if match is None:
            raise VidnasError(f"views {text!r}: write clips x crops with 1 or 3 crops, as in 10x3 or 1x1")
        return cls(int(match[1]), int(match[2]))


class ViewTransform:
    """Scale the short side to that of the smallest training scale, crop, normalise.

    With one crop it is the centre at the training size (K-Center); with three they are squares of the whole short
    side at the start, middle and end of the longer side (K-LeftCenterRight). X3D sec. 4.1.

    Args:
        size: side of the training crop in pixels.
        spatial: number of crops, 1 or 3.
        jitter: as in training; its lower end sets the short side.
    """

    def __init__(self, size: int, spatial: int, *, jitter: tuple[float, float] = JITTER) -> None:
        self.short_side = short_sides(size, jitter)[0]
        self.crop = size if spatial == 1 else self.short_side
        # Where the crops lie in what is to spare of both sides: 0 the start, 1 the end.
        self.positions = (0.5,) if spatial == 1 else (0.0, 0.5, 1.0)

    def __call__(self, frames: np.ndarray, view: int) -> Tensor:
        """(T, H, W, 3) uint8 to crop number `view` (0 to spatial - 1) as (3, T, crop, crop)."""
        clip = F.resize(_as_images(frames), [self.short_side], antialias=True)
        top, left = (int(self.positions[view] * (side - self.crop)) for side in clip.shape[-2:])
        return normalise(F.crop(clip, top, left, self.crop, self.crop))


def _as_images(frames: np.ndarray) -> Tensor:
    """(T, H, W, C) to (T, C, H, W) without moving a byte."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def normalise(clip: Tensor) -> Tensor:
    """(T, C, H, W) uint8 to (C, T, H, W) float32 with mean 0 and deviation 1 by `MEAN` and `STD`.

    In memory the channels stay last, so that a stacked batch is channels_last_3d without a copy.
    """
    pixels = clip.permute(0, 2, 3, 1).to(torch.float32, memory_format=torch.contiguous_format)
    return pixels.mul_(1 / (255 * STD)).sub_(MEAN / STD).permute(3, 0, 1, 2)
