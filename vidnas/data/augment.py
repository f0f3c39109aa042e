"""From decoded frames (T, H, W, 3) uint8 to what a network takes: (C, T, H, W) float32, normalised.

Training follows the X3D recipe: the short side is scaled to a random size, a random square is cut out, optionally
mirrored and AutoAugmented; for small sets there is more (`Augmentation`). What is random is drawn first, as plain
numbers from the item's own generator, then applied to all frames alike. Testing is deterministic: one centre crop
(K-Center) or three square crops along the longer side (K-LeftCenterRight).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vidnas.arch.pixels import MEAN, STD
from vidnas.base.errors import VidnasError
from vidnas.data.clips import log_uniform
from vidnas.data.crop import Box, as_images, scaled_crop, turned_crop

# Short side in training, as multiples of the crop. 8/7 is also the short side in testing.
JITTER = (8 / 7, 10 / 7)
# What stands where a crop reaches beyond the frame: the mean, as a grey level.
_FILL = round(255 * MEAN)
# The erased box: share of the crop's area, and height by width; torchvision's (Zhong et al., Random Erasing).
_ERASED_AREA = (0.02, 0.33)
_ERASED_ASPECT = (0.3, 3.3)


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


# A learnt or random sequence of changes of colour and shape, one for all frames of a clip.
Policy = Literal["off", "auto", "rand"]
POLICY_NAMES: Mapping[Policy, str] = {"off": "no AutoAugment", "auto": "AutoAugment", "rand": "RandAugment"}


@dataclass(frozen=True)
class Augmentation:
    """What a training clip may undergo beside random crops and mirroring; nothing by default.

    Attributes:
        policy: `auto`: torchvision's AutoAugment with the ImageNet policy; `rand`: its RandAugment, two changes.
        rand_magnitude: strength of RandAugment's changes, 0 to 30.
        aspect: range of width by height of the part of a frame that becomes the square crop, drawn log-uniformly.
        rotate: largest angle in degrees, to either side.
        erase: share of the clips from which a box is erased.
    """

    policy: Policy = "off"
    rand_magnitude: int = 9
    aspect: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    erase: float = 0.0


PLAIN = Augmentation()


@dataclass(frozen=True)
class Draw:
    """What one training clip draws.

    Attributes:
        part: of the frame that is shown, in source pixels.
        flip: whether it is mirrored.
        policy_seed: of AutoAugment or RandAugment.
        angle: degrees by which the picture is turned, counter-clockwise.
        erased: a box of the crop, or None.
    """

    part: Box
    flip: bool
    policy_seed: int
    angle: float
    erased: Box | None


class TrainTransform:
    """Scale, random crop, rotate, flip, AutoAugment, normalise, erase; the same for all frames of a clip.

    Deviation: the square is cut from the source frame first and then scaled to `size` (with antialiasing), which
    is the same crop for a fraction of the work; its corner lies on a source pixel.

    Args:
        size: side of the crop in pixels.
        jitter: range of the short side, as multiples of `size`; drawn uniformly over whole pixels.
        flip: mirror half of the clips.
        augmentation: what else may happen.
    """

    def __init__(
        self,
        size: int,
        *,
        jitter: tuple[float, float] = JITTER,
        flip: bool = False,
        augmentation: Augmentation = PLAIN,
    ) -> None:
        self.size = size
        self.jitter = jitter
        self.flip = flip
        self.augmentation = augmentation
        self.policy = _policy(augmentation)

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Draw:
        """The random numbers of one clip whose frames are height x width."""
        low, high = short_sides(self.size, self.jitter)
        side = max(1, round(min(height, width) * self.size / rng.integers(low, high + 1)))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        flip = bool(rng.integers(2)) and self.flip
        policy_seed = int(rng.integers(2**62))
        # Always drawn, and after the others, so that no option changes what another draws.
        place, shape, turn, erase, *erased = rng.random(8).tolist()
        aspect = log_uniform(self.augmentation.aspect, shape)
        # Within the square, since a frame may hold nothing larger.
        tall, wide = (max(1, round(side * min(1, ratio))) for ratio in (1 / aspect, aspect))
        return Draw(
            part=Box(top + int(place * (side - tall + 1)), left + int(place * (side - wide + 1)), tall, wide),
            flip=flip,
            policy_seed=policy_seed,
            angle=self.augmentation.rotate * (2 * turn - 1),
            erased=_erased(self.size, *erased) if erase < self.augmentation.erase else None,
        )

    def __call__(self, frames: np.ndarray, draw: Draw) -> Tensor:
        """(T, H, W, 3) uint8 to (3, T, size, size)."""
        if draw.angle:
            clip = turned_crop(frames, draw.part, self.size, draw.angle, _FILL)
        else:
            clip = scaled_crop(frames, draw.part, self.size)
        if draw.flip:
            clip = F.horizontal_flip(clip)
        if self.policy is not None:
            # torchvision draws from torch's global generator. A copy of it is seeded for this clip and the
            # original is put back, so that the draw depends on the item alone and nothing else notices. Only
            # the CPU's is touched: torch.manual_seed would reseed the accelerators as well.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(draw.policy_seed)
                clip = self.policy(clip)
        out = normalise(clip)
        if draw.erased is not None:
            top, left, height, width = draw.erased
            out[..., top : top + height, left : left + width] = 0  # the mean
        return out


def _policy(augmentation: Augmentation) -> v2.Transform | None:
    # What a shear or a shift uncovers gets the mean.
    if augmentation.policy == "auto":
        return v2.AutoAugment(fill=_FILL)
    if augmentation.policy == "rand":
        return v2.RandAugment(magnitude=augmentation.rand_magnitude, fill=_FILL)
    return None


def _erased(size: int, area: float, shape: float, down: float, across: float) -> Box:
    """What is erased of a square of `size`, from four numbers between 0 and 1."""
    low, high = _ERASED_AREA
    share, aspect = low + (high - low) * area, log_uniform(_ERASED_ASPECT, shape)
    height, width = (min(size, max(1, round(size * math.sqrt(share * by)))) for by in (aspect, 1 / aspect))
    return Box(int(down * (size - height + 1)), int(across * (size - width + 1)), height, width)


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
        clip = F.resize(as_images(frames), [self.short_side], antialias=True)
        top, left = (int(self.positions[view] * (side - self.crop)) for side in clip.shape[-2:])
        return normalise(F.crop(clip, top, left, self.crop, self.crop))


def normalise(clip: Tensor) -> Tensor:
    """(T, C, H, W) uint8 to (C, T, H, W) float32 with mean 0 and deviation 1 by `MEAN` and `STD`.

    In memory the channels stay last, so that a stacked batch is channels_last_3d without a copy.
    """
    pixels = clip.permute(0, 2, 3, 1).to(torch.float32, memory_format=torch.contiguous_format)
    return pixels.mul_(1 / (255 * STD)).sub_(MEAN / STD).permute(3, 0, 1, 2)
