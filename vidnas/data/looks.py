"""Videos that look alike, whatever their size, codec and container: a few small pictures of each, compared.

Two clips of one scene share most of every picture, so that likeness of pictures says little; what sets a clip apart is
how it changes. Two videos therefore count as alike where the changes of their pictures against their mean picture
correlate by more than `ALIKE`, their mean pictures differ by less than a quarter of these changes, and they are equally
long. Copies that were encoded anew, scaled down or squeezed correlate more, as a rule; clips of unrelated movement
hardly at all. Repeated takes of one person in one place may come up to it, so that alikes within one list are no more
than a hint.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from vidnas.data.decode import VideoInfo, read_through_and_pick

ALIKE = 0.9
_FRAMES, _SIDE = 8, 16
_DECODED_SIDE = 128
# Grey levels: less contrast is an even picture, which tells nothing; less change is a still one.
_EVEN, _STILL = 4.0, 1.0
# Difference of mean pictures: as a share of the changes, or of the contrast where little or nothing changes.
_OF_CHANGES, _OF_CONTRAST, _OF_CONTRAST_STILL = 0.25, 0.05, 0.1
# Copies may end a few frames earlier or later.
_LONGER, _LONGER_SEC = 0.02, 0.1
_BLOCK = 2048


@dataclass(frozen=True)
class Look:
    """What a video looks like.

    Attributes:
        levels: grey levels of 8 pictures of 16 x 16, spread evenly over the video, picture by picture.
        duration_sec: of the video.
    """

    levels: bytes
    duration_sec: float


class VideoLook(NamedTuple):
    """A whole video: its frames, what it looks like, and what the user should know of it (None where all is well)."""

    frames: int
    look: Look
    notice: str | None


def watch(info: VideoInfo) -> VideoLook:
    """Decode all of a video, and shrink some of its pictures.

    Raises:
        BrokenVideo: the file cannot be used.
    """
    times = (np.arange(_FRAMES) + 0.5) / _FRAMES * info.duration_sec
    side = min(_DECODED_SIDE, info.width, info.height)
    frames, notice, pictures = read_through_and_pick(info, times.tolist(), short_side=side)
    size = (_SIDE, _SIDE)
    small = [Image.fromarray(picture).convert("L").resize(size, Image.Resampling.BOX) for picture in pictures]
    return VideoLook(frames, Look(b"".join(image.tobytes() for image in small), info.duration_sec), notice)


def alike(a: Sequence[Look | None], b: Sequence[Look | None]) -> Iterator[tuple[int, int]]:
    """Pairs of places (in `a`, in `b`) of videos that look alike; None is like nothing."""
    for start in range(0, len(a), _BLOCK):
        here = _Features(a[start : start + _BLOCK])
        for begin in range(0, len(b), _BLOCK):
            there = _Features(b[begin : begin + _BLOCK])
            for i, j in np.argwhere(here.like(there)):
                yield start + int(i), begin + int(j)


class _Features:
    """Looks, ready to be compared by products of matrices.

    An encoder may shift and stretch the grey levels of all pictures alike, so their mean is taken away and they are
    measured in units of their contrast.
    """

    def __init__(self, looks: Sequence[Look | None]) -> None:
        nothing = Look(bytes(_FRAMES * _SIDE * _SIDE), 0.0)
        known = [nothing if one is None else one for one in looks]
        levels = np.stack([np.frombuffer(one.levels, np.uint8) for one in known]).astype(np.float32)
        levels -= levels.mean(1, keepdims=True)
        contrast = levels.std(1)
        pictures = levels.reshape(len(known), _FRAMES, -1)
        mean = pictures.mean(1)
        changes = (pictures - mean[:, None]).reshape(levels.shape)
        change = np.sqrt((changes**2).mean(1))
        self.useful = contrast >= _EVEN
        self.still = change < _STILL
        contrast, scale = np.maximum(contrast, _EVEN), np.maximum(change, _STILL)
        self.changes = changes / scale[:, None]
        self.change = change / contrast
        self.mean = mean / contrast[:, None]
        self.duration_sec = np.array([one.duration_sec for one in known], np.float32)

    def like(self, other: "_Features") -> np.ndarray:
        """(len(self), len(other)) bool."""
        correlation = self.changes @ other.changes.T / self.changes.shape[1]
        both_still = self.still[:, None] & other.still
        squares = (self.mean**2).mean(1)[:, None] + (other.mean**2).mean(1)
        apart = squares - 2 * self.mean @ other.mean.T / self.mean.shape[1]
        bound = np.maximum(_OF_CHANGES * np.sqrt(self.change[:, None] * other.change), _OF_CONTRAST)
        bound[both_still] = _OF_CONTRAST_STILL
        short, long = (f(self.duration_sec[:, None], other.duration_sec) for f in (np.minimum, np.maximum))
        return (
            ((correlation > ALIKE) | both_still)
            & (apart < bound**2)
            & (long - short <= _LONGER * short + _LONGER_SEC)
            & self.useful[:, None]
            & other.useful
        )
