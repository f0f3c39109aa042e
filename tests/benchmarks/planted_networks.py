"""Networks of the planted tasks with random weights, and what they make of clips."""

import numpy as np
import torch
from planted.networks import CELL, choice_of, task_space
from planted.options import AnyOption
from planted.tasks import Cells, Task
from torch import Tensor

from vidnas.arch.spec import ArchSpec
from vidnas.nn.build import VideoNetwork, build


def random_network(task: Task, option: AnyOption, seed: int) -> VideoNetwork:
    """A network of a task's space; see `randomised`."""
    space = task_space(task)
    return randomised(space.decode(choice_of(space, option)), seed)


def randomised(spec: ArchSpec, seed: int) -> VideoNetwork:
    """Every parameter random, in double precision, so that what is unseen leaves the output as it is to rounding."""
    network = build(spec).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return network


@torch.no_grad()
def margins(network: VideoNetwork, cells: list[Cells]) -> Tensor:
    """Difference of the two logits per clip."""
    pixels = torch.from_numpy(np.stack(cells)).double()[:, None].repeat_interleave(CELL, 3).repeat_interleave(CELL, 4)
    logits = network(pixels)
    return logits[:, 1] - logits[:, 0]
