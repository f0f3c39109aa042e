"""Video tasks for two streams: one that no network solves without a fusion, and one that needs none.

The networks are those of `planted.networks`. The sparse stream takes frames 0 and 4 of 8, the dense one all. The kernel
of its block is 1 x s x s in the sparse and 3 x s x s in the dense stream; nothing else mixes frames or neighbours, but
for a fusion, which mixes the frames of a place. The head pools the map of each stream, then has two layers with a ReLU
between them: it can join in any way what the streams say of the whole clip. It cannot know whether they speak of the
same place.

In a clip there are two patches, of rows and of columns (`streaks`), which only s > 1 tells apart. A patch that shakes
moves along its diagonal and is back where it was at frames 0 and 4. So the sparse stream sees nothing of it, and the
dense one sees it at every single cell.

Clips 2i and 2i + 1 are twins: each is what the change makes of the other. A network that does not see the change gives
both the same logits, so the same probability p of class 1, and on the two a mean loss of
-(log(1 - p) + log p) / 2 >= ln 2. So ln 2 is its floor on any set of whole pairs, those that it learns from as well,
whatever its weights and the statistics of its norms are; guessing reaches it. Of each pair one clip is right.
"""

from typing import ClassVar

import numpy as np

from planted.options import TWO_STREAM_OPTIONS, TwoStreamOption
from planted.tasks import Cells, Task, Twin, streaks, transposed

PATCH = 4
# Where a shaking patch is in each frame, in cells along its diagonal; 0 in the frames of the sparse stream.
SHAKE = (0, 1, 2, 1, 0, 1, 2, 1)


class TwoStreamTask(Task):
    """Clips of which two following ones are twins."""

    frames, side = len(SHAKE), 2 * PATCH
    options = TWO_STREAM_OPTIONS
    planted: ClassVar[TwoStreamOption]

    def clip(self, seed: int, index: int) -> tuple[Cells, int]:
        """A clip and its label."""
        cells, label = self.draw(np.random.default_rng((seed, index // 2))), index % 2
        return (self.twins[0].make(cells) if label else cells), label


def film(first: Cells, second: Cells, shaking: tuple[bool, bool]) -> Cells:
    """Two patches, (PATCH, PATCH) each, at the upper left and the lower right, in the dark."""
    cells = np.zeros((len(SHAKE), 2 * PATCH, 2 * PATCH), np.float32)
    for frame, offset in enumerate(SHAKE):
        for patch, shakes, place in zip((first, second), shaking, (slice(PATCH), slice(PATCH, None)), strict=True):
            cells[frame, place, place] = np.roll(patch, offset, (0, 1)) if shakes else patch
    return cells


def exchanged(cells: Cells) -> Cells:
    """Each patch, transposed, takes the place of the other one."""
    return np.roll(transposed(cells), PATCH, (1, 2))


def single_cells(option: TwoStreamOption) -> bool:
    """With s = 1 in both streams places never meet, a fusion or not: any rearrangement of places is unseen."""
    return option.sparse_s == option.dense_s == 1


def apart(option: TwoStreamOption) -> bool:
    """The dense stream relates no places, and the streams meet in the head alone."""
    return option.dense_s == 1 and not option.fuses


class Bound(TwoStreamTask):
    """A patch of rows and one of columns, its transpose; one of the two shakes: which? Needs a fusion.

    The change: each patch, transposed, takes the other's place. At rest that leaves the picture as it is, since one is
    the transpose of the other, and a diagonal is its own transpose. So all that changes is which of the two shakes.

    Neither stream alone, nor both without a fusion: the sparse one gets the very same frames. In the dense one
    with s = 1 every place goes its own way through time, and the change only rearranges places; its pooled map stays as
    it is. The head gets the same numbers.
    Cheaper: with s = 1 in both streams a rearrangement of places is unseen with any fusion.
    Dearer: a 3 x 1 x 1 kernel sees shaking in frames 0 and 4 too, so time-strided sampling, the cheapest fusion, hands
    it to the sparse stream; a 1 x 3 x 3 kernel tells rows from columns; conv5 reads both at each place, and its ReLU
    can be their conjunction. A dense stream with 3 x 3 x 3 might do it alone, but over 8 frames that costs more.
    """

    name = "bound"
    planted = TwoStreamOption(3, 1, "time_strided_sampling")
    twins = (Twin(exchanged, lambda option: apart(option) or single_cells(option)),)

    def draw(self, rng: np.random.Generator) -> Cells:
        rows, rows_first = streaks(rng, PATCH), bool(rng.integers(2))
        pair = (rows, rows.T) if rows_first else (rows.T, rows)
        return film(*pair, shaking=(rows_first, not rows_first))


class Unbound(TwoStreamTask):
    """Two patches of rows or two of columns; one of them shakes, whichever. Needs no fusion.

    Cheaper: with s = 1 in both streams the transposed clip, of the other class, is unseen with any fusion.
    Dearer: the sparse stream tells rows from columns by itself, and which patch shakes says nothing.
    """

    name = "unbound"
    planted = TwoStreamOption(3, 1)
    twins = (Twin(transposed, single_cells),)

    def draw(self, rng: np.random.Generator) -> Cells:
        first_shakes = bool(rng.integers(2))
        return film(streaks(rng, PATCH), streaks(rng, PATCH), shaking=(first_shakes, not first_shakes))


TWO_STREAM_TASKS: tuple[TwoStreamTask, ...] = (Bound(), Unbound())
