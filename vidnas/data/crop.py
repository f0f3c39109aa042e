"""A part of decoded frames, scaled to a square and turned: the geometry of training clips."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nnf
from torchvision.transforms.v2 import functional as F


class Box(NamedTuple):
    """A rectangle in whole pixels."""

    top: int
    left: int
    height: int
    width: int


def as_images(frames: np.ndarray) -> Tensor:
    """(T, H, W, C) to (T, C, H, W) without moving a byte."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def scaled_crop(frames: np.ndarray, part: Box, size: int) -> Tensor:
    """A part of the frames (T, H, W, 3) uint8, scaled (with antialiasing) to (T, 3, size, size)."""
    return F.resize(_cut(frames, part), [size, size], antialias=True)


def turned_crop(frames: np.ndarray, part: Box, size: int, angle: float, fill: int) -> Tensor:
    """The same with the picture turned about the middle of the part; the corners show what lies around it.

    Args:
        frames: (T, H, W, 3) uint8.
        part: what is shown at an angle of 0.
        size: side of the result in pixels.
        angle: degrees, counter-clockwise.
        fill: grey level of what lies beyond the frame.
    """
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    # As much more as the turned part needs is cut out and scaled, so that only the turning is left to be interpolated.
    more = abs(sine) + abs(cosine) - 1
    down, across = (math.ceil(shown * more / 2) for shown in (part.height, part.width))
    around = Box(part.top - down, part.left - across, part.height + 2 * down, part.width + 2 * across)
    tall, wide = around.height / part.height, around.width / part.width
    clip = F.resize(_cut(frames, around, fill), [round(size * tall), round(size * wide)], antialias=True)
    turn = torch.tensor([[[cosine / wide, -sine / wide, 0.0], [sine / tall, cosine / tall, 0.0]]])
    grid = nnf.affine_grid(turn, [1, 1, size, size], align_corners=False)
    # Frames and channels side by side share one look-up of the grid.
    pixels = clip.to(torch.float32, memory_format=torch.contiguous_format).view(1, -1, *clip.shape[-2:])
    turned = nnf.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return turned.round_().to(torch.uint8).view(*clip.shape[:2], size, size)


def _cut(frames: np.ndarray, part: Box, fill: int = 0) -> Tensor:
    """A part of the frames as (T, C, H, W), which may reach beyond them."""
    top, left, bottom, right = part.top, part.left, part.top + part.height, part.left + part.width
    clip = as_images(frames[:, max(0, top) : bottom, max(0, left) : right])
    beyond = [max(0, -left), max(0, right - frames.shape[2]), max(0, -top), max(0, bottom - frames.shape[1])]
    return nnf.pad(clip, beyond, value=fill) if any(beyond) else clip
