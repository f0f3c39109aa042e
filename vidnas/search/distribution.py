"""The distribution over architectures: independent softmaxes, one per variable (search-method: P(A | alpha))."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vidnas.search.space.space import Choice


class Distribution:
    """P(A) = prod_v softmax(alpha_v)[A_v].

    Attributes:
        sizes: number of options of each variable.
        logits: alpha, (variables, largest size) float64; the columns beyond a variable's size are never used. It starts
            at 0, uniform, and is what an optimiser updates in place.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        width = max(self.sizes, default=1)
        self.logits = torch.zeros(len(self.sizes), width, dtype=torch.float64)
        self._unused = torch.arange(width)[None] >= torch.tensor(self.sizes)[:, None]

    def log_probabilities(self) -> Tensor:
        """(variables, largest size); minus infinity where a variable has no such option."""
        return torch.log_softmax(self.logits.masked_fill(self._unused, -math.inf), dim=1)

    def probabilities(self) -> Tensor:
        """(variables, largest size); 0 where a variable has no such option."""
        return self.log_probabilities().exp()

    def log_prob(self, choices: Sequence[Choice]) -> Tensor:
        """log P of each choice, (choices,)."""
        picked = self.log_probabilities().gather(1, as_indices(choices, len(self.sizes)).T)
        return picked.sum(0)

    def entropy(self) -> float:
        """Entropy in nats."""
        return float(torch.special.entr(self.probabilities()).sum())

    @property
    def initial_entropy(self) -> float:
        """Entropy of the uniform start in nats, which `entropy` is reported beside."""
        return math.fsum(math.log(size) for size in self.sizes)

    def sample(self, number: int, seed: int, step: int) -> list[Choice]:
        """Independent draws; a function of alpha, the seed and the step alone."""
        state = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state) >> 1)
        uniform = torch.rand(number, len(self.sizes), 1, generator=generator, dtype=torch.float64)
        passed = (uniform >= self.probabilities().cumsum(1)).sum(2)
        # The last cumulated probability may round to just below 1.
        indices = torch.minimum(passed, torch.tensor(self.sizes) - 1)
        return [tuple(row) for row in indices.tolist()]

    def most_probable(self) -> Choice:
        """The most probable option of each variable."""
        return tuple(self.log_probabilities().argmax(1).tolist())

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of alpha."""
        return {"logits": self.logits.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put alpha back, in place, so that an optimiser keeps its tensor."""
        self.logits.copy_(state["logits"])


def as_indices(choices: Sequence[Choice], variables: int) -> Tensor:
    """(choices, variables) int64."""
    return torch.tensor(choices, dtype=torch.int64).reshape(len(choices), variables)
