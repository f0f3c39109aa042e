"""Video tasks whose cheapest sufficient network is known by construction, and why it is.

The networks are those of `planted.networks`: a 1 x 1 stem, one block with a t x s x s kernel, a GloRe unit behind it or
none, and a head that gets one number, the mean over all positions of one channel. A clip is made of cells, each of
which the stem maps to one position. So only the kernel mixes frames or neighbours, and only GloRe relates far ones.

A network is insufficient where there is a twin: a change of clips that makes a clip of class 1 from one of class 0, in
law, and that leaves the network's output as it is, whatever its weights. Its accuracy is then 1/2, however it is
trained. tests/benchmarks/test_planted_tasks.py checks both on random clips and networks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planted.options import OPTIONS, AnyOption, Option

Cells = NDArray[np.float32]
NOISE = 0.5


class Twin(NamedTuple):
    """A change of clips of class 0, and the networks that do not see it."""

    make: Callable[[Cells], Cells]
    unseen_by: Callable[[Any], bool]


class Task(ABC):
    """Clips of two classes, a function of (seed, index); the label is index mod 2.

    Attributes:
        name: short.
        frames: T.
        side: cells along a side of a frame.
        options: the networks to choose from.
        planted: the cheapest sufficient network.
        twins: the first one defines class 1.
    """

    name: ClassVar[str]
    frames: ClassVar[int]
    side: ClassVar[int]
    options: ClassVar[tuple[AnyOption, ...]] = OPTIONS
    planted: ClassVar[AnyOption]
    twins: ClassVar[tuple[Twin, ...]]

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Cells:
        """A clip of class 0, (frames, side, side)."""

    def clip(self, seed: int, index: int) -> tuple[Cells, int]:
        """A clip and its label."""
        cells, label = self.draw(np.random.default_rng((seed, index))), index % 2
        return (self.twins[0].make(cells) if label else cells), label

    def insufficient(self, option: AnyOption) -> bool:
        """Whether it is proved that training this network does not get beyond guessing."""
        return any(twin.unseen_by(option) for twin in self.twins)


def transposed(cells: Cells) -> Cells:
    """Rows become columns."""
    return cells.transpose(0, 2, 1)


def reversed_in_time(cells: Cells) -> Cells:
    """The last frame first."""
    return cells[::-1]


def mirrored(cells: Cells) -> Cells:
    """Left becomes right."""
    return cells[:, :, ::-1]


def single_cells(option: Option) -> bool:
    """With s = 1 positions never meet, and GloRe and the mean do not ask for places: any rearrangement is unseen."""
    return option.s == 1


def single_frames(option: Option) -> bool:
    """With t = 1 frames never meet: any rearrangement of frames is unseen."""
    return option.t == 1


def streaks(rng: np.random.Generator, side: int) -> Cells:
    """Bright and dark rows, as many of each, in random order, under noise, (side, side)."""
    rows = rng.permutation(np.repeat([-1.0, 1.0], side // 2))[:, None]
    return (rows + NOISE * rng.standard_normal((side, side))).astype(np.float32)


class Texture(Task):
    """A still picture of rows or of columns; t = 1.

    Cheaper: s = 1 does not see the transposed picture, which is of the other class, at any t and with GloRe too.
    Dearer: all frames are equal, so t > 1 sees nothing more; 3 x 3 already tells rows from columns.
    """

    name = "texture"
    frames, side = 8, 6
    planted = Option(1, 3)
    twins = (Twin(transposed, single_cells),)

    def draw(self, rng: np.random.Generator) -> Cells:
        return np.repeat(streaks(rng, self.side)[None], self.frames, 0)


class Motion(Task):
    """Random dots that drift by a cell per frame, to the right or to the left; t = 3.

    Cheaper: t = 1 does not see the clip played backwards, whose dots drift the other way and whose single frames are
    the same ones. s = 1 does not see the clip in a mirror; dots lie as likely so as mirrored.
    Dearer: a 3 x 3 x 3 window holds a dot and where it is in the next frame, for either way.
    """

    name = "motion"
    frames, side = 8, 6
    planted = Option(3, 3)
    twins = (Twin(reversed_in_time, single_frames), Twin(mirrored, single_cells))

    def draw(self, rng: np.random.Generator) -> Cells:
        dots = (rng.random((self.side, self.side)) < 0.3).astype(np.float32)
        return np.stack([np.roll(dots, frame, axis=1) for frame in range(self.frames)])


def flashes_swapped(cells: Cells) -> Cells:
    """Frame 2 in place of frame 5 and the other way round."""
    return cells[[0, 1, 5, 3, 4, 2, 6, 7]]


class Lag(Task):
    """A dark clip in which two frames flash, three apart: rows and then columns, or columns and then rows; t = 5.

    Cheaper: every window of up to three frames holds at most one flash. The windows of one class are those of the other
    in another order, those that reach over the clip's ends included, so t <= 3 does not see the flashes change places.
    s = 1 does not see rows become columns, which is the same change.
    Dearer: five frames hold both flashes; 3 x 3 tells rows from columns.
    """

    name = "lag-3"
    frames, side = 8, 6
    planted = Option(5, 3)
    twins = (Twin(flashes_swapped, lambda option: option.t <= 3), Twin(transposed, single_cells))

    def draw(self, rng: np.random.Generator) -> Cells:
        cells = np.zeros((self.frames, self.side, self.side), np.float32)
        cells[2], cells[5] = streaks(rng, self.side), streaks(rng, self.side).T
        return cells


def second_dot_moved(cells: Cells) -> Cells:
    """Two dots three apart in a row: the right one goes below the left one."""
    (y, _), (x, right) = np.nonzero(cells[0])
    moved = cells.copy()
    moved[:, y, right], moved[:, y + 3, x] = 0, cells[:, y, right]
    return moved


class Pair(Task):
    """Two bright dots in a still dark picture, three apart, beside or below each other; s = 5.

    Cheaper: every 3 x 3 window holds at most one dot. No dot is nearer than two cells to the border, so where it lies
    cannot be told either: the windows of one class are those of the other in another order, and s <= 3 does not see one
    dot move. Frames are equal, so t does not matter; GloRe does not ask for places.
    Dearer: a 5 x 5 window holds both dots.
    """

    name = "pair"
    frames, side = 2, 12
    planted = Option(1, 5)
    twins = (Twin(transposed, single_cells), Twin(second_dot_moved, lambda option: option.s <= 3))

    def draw(self, rng: np.random.Generator) -> Cells:
        picture = np.zeros((self.side, self.side), np.float32)
        y, x = rng.integers(2, self.side - 5, 2)
        picture[y, [x, x + 3]] = rng.uniform(0.5, 1.5, 2)
        return np.repeat(picture[None], self.frames, 0)


def left_inverted(cells: Cells) -> Cells:
    """The left patch bright where it was dark."""
    inverted = cells.copy()
    inverted[:, :, : Far.patch] *= -1
    return inverted


class Far(Task):
    """Two patches at the left and right ends of a still picture, both bright or both dark, or one of each; attention.

    Cheaper, and dearer without attention: no window, 5 x 5 at most, holds cells of both patches, so the number that
    the head gets is a sum of what the left and the right patch give, and the logits are linear in it. Each patch alone
    is as likely bright as dark in both classes, so the mean of the sum is the same in both. The loss is convex in the
    slope of the logits, and its derivative at slope 0 is then 0: the best is to guess, at a loss of ln 2. Accuracy
    says less: logits that hardly differ can have a threshold that is right for up to three of the four combinations.
    With attention: GloRe multiplies what a position shows with means over all positions, so one channel can hold the
    product of the two brightnesses. A cell shows its brightness, so s = 1 and t = 1 are enough.
    """

    name = "far"
    frames, side = 2, 12
    patch = 4
    planted = Option(1, 1, glore=True)
    twins = (Twin(left_inverted, lambda option: False),)

    def draw(self, rng: np.random.Generator) -> Cells:
        picture = np.zeros((self.side, self.side))
        picture[:, : self.patch] = picture[:, -self.patch :] = rng.choice([-1.0, 1.0])
        picture += NOISE * rng.standard_normal(picture.shape)
        return np.repeat(picture.astype(np.float32)[None], self.frames, 0)

    def insufficient(self, option: Option) -> bool:
        """No single change of clips shows it; see above."""
        return not option.glore


TASKS: tuple[Task, ...] = (Texture(), Motion(), Lag(), Pair(), Far())
