"""What gradients over K architectures keep for their backward passes at a time: as much as one architecture does."""

import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from test_supernet_steps import batch, space
from torch import Tensor

from vidnas.engine.supernet.steps import (
    SupernetScorer,
    sandwich_backward,
    streamed_backward,
    two_pass_backward,
    uniform_backward,
)
from vidnas.search.space.fusion_space import FusionSpace
from vidnas.search.space.space import Choice, Space
from vidnas.search.supernet import Supernet

Backward = Callable[[SupernetScorer, Sequence[Choice]], object]


class Ledger:
    """Bytes of all tensors that autograd keeps at the moment, and the most that they have been."""

    def __init__(self) -> None:
        self.alive = self.most = 0

    def keep(self, tensor: Tensor) -> "Kept":
        return Kept(tensor, self)

    def change(self, size: int) -> None:
        self.alive += size
        self.most = max(self.most, self.alive)


class Kept:
    """In place of a saved tensor: the graph has the only reference, so it goes when the graph lets go of the tensor."""

    def __init__(self, tensor: Tensor, ledger: Ledger) -> None:
        # Detached, as an output would refer to the very node that keeps it.
        self.tensor, self.ledger, self.size = tensor.detach(), ledger, tensor.nbytes
        ledger.change(self.size)

    def __del__(self) -> None:
        self.ledger.change(-self.size)


def two_streams() -> Space:
    """The one stream of `space` twice, of all frames and of every second one, with fusions to choose from."""
    (dense,) = space().streams
    sparse = dense.model_copy(update={"every": 2})
    fusions = tuple(FusionSpace(source=1, target=0, group=g, kind=("none", "time_to_channel")) for g in range(2))
    return space().model_copy(update={"streams": (sparse, dense), "fusions": fusions})


def most_kept(backward: Backward, number: int, space: Space) -> int:
    """Bytes at the peak of a gradient over the largest architecture and `number` - 1 others, all of which matter.

    All decisions of the space have two options.
    """
    torch.manual_seed(0)
    supernet = Supernet(space).double()
    rng = random.Random(0)
    others = rng.sample(range(2 ** len(space.sizes) - 1), 12)
    choices = [space.largest(), *(tuple(other >> i & 1 for i in range(len(space.sizes))) for other in others)]
    ledger = Ledger()
    with torch.autograd.graph.saved_tensors_hooks(ledger.keep, lambda kept: kept.tensor):
        backward(SupernetScorer(supernet, *batch(), dropout_seed=7), choices[:number])
    assert ledger.alive == 0
    return ledger.most


def through_all(scorer: SupernetScorer, choices: Sequence[Choice]) -> None:
    """PARSEC's loss as it is printed: autograd through the logarithm of the mean likelihood."""
    (part,) = scorer.parts()
    (-torch.stack([scorer.log_likelihood(choice, part) for choice in choices]).logsumexp(0)).backward()


# A temperature of 6, the batch's size, leaves every architecture a weight that counts.
@pytest.mark.parametrize(
    "backward",
    [partial(two_pass_backward, mode="mean"), partial(streamed_backward, tau=6.0), uniform_backward, sandwich_backward],
    ids=["two_pass", "streamed", "uniform", "sandwich"],
)
@pytest.mark.parametrize("space", [space(), two_streams()], ids=["one stream", "two streams"])
def test_the_peak_does_not_grow_with_the_number_of_architectures(space: Space, backward: Backward) -> None:
    peaks = [most_kept(backward, number, space) for number in (1, 4, 13)]
    assert peaks[0] > 100_000
    assert peaks == [peaks[0]] * 3


def test_autograd_through_all_of_them_keeps_all_of_them() -> None:
    one, four, thirteen = (most_kept(through_all, number, space()) for number in (1, 4, 13))
    assert one == pytest.approx(most_kept(uniform_backward, 1, space()), rel=1e-3)
    assert four > 2 * one
    assert thirteen > 2 * four
