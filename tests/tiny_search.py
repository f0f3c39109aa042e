"""A search that takes milliseconds per step, on batches that are a function of the step, by one process or several."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import torch

from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.data.dataset import Batch
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.run.processes import get_rank, get_world_size
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.folder import SearchFolder
from vidnas.engine.supernet.search import SupernetSearch, run_search
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

CONFIG = SearchConfig(
    steps=12, batch_size=4, samples=4, checkpoint_every_steps=5, warmup_epochs=0.5, device="cpu", label_smoothing=0.1
)


def space() -> Space:
    groups = tuple(
        GroupSpace(
            depth=1, stride=2, channels=(8, 16), expansion=(1.5, 3.0), kernel=(Kernel(t=1, s=3), Kernel(t=3, s=3))
        )
        for _ in range(2)
    )
    stream = StreamSpace(stem=StemSpec(channels=8), groups=groups, expansion_of="input", conv5=24)
    head = ClassificationSpec(num_classes=3, hidden=16, dropout=0.2)
    return Space(name="loop", clip=ClipSpec(frames=2, size=16), streams=(stream,), head=head)


class Batches:
    """This process's part of batches that are a function of the step; it may send itself a signal on the way."""

    def __init__(self, seed: int, stop_at: int | None = None, signum: int = signal.SIGTERM) -> None:
        self.seed, self.stop_at, self.signum = seed, stop_at, signum

    def __call__(self, start: int) -> Iterator[Batch]:
        step = start
        while True:
            if step == self.stop_at:
                os.kill(os.getpid(), self.signum)
            generator = torch.Generator().manual_seed(1000 * self.seed + step)
            labels = torch.randint(3, (4,), generator=generator)
            clips = torch.randn(4, 3, 2, 16, 16, generator=generator) + labels[:, None, None, None, None]
            clips = clips.contiguous(memory_format=torch.channels_last_3d)
            parts = (
                tensor.chunk(get_world_size())[get_rank()]
                for tensor in (clips, labels, torch.ones(4).bool(), torch.arange(4))
            )
            yield Batch(*parts)
            step += 1


def start(config: SearchConfig = CONFIG) -> SupernetSearch:
    table = CostTable.of(space())
    target = (table.cheapest()[1] + table.dearest()[1]) / 2
    fabric = make_fabric(torch.device("cpu"), config.precision)
    return SupernetSearch(space(), [Budget(table, target)], config.schedule(steps_per_epoch=3), config, fabric)


def go(
    folder: Path, config: SearchConfig = CONFIG, *, resume: bool = False, batches: Batches | None = None
) -> SupernetSearch:
    """The whole search, or what is left of it."""
    search = start(config)
    folder.mkdir(exist_ok=True)
    identity = {"space": space().content_hash, "steps": search.schedule.total, "shards": search.shards.count}
    run_search(
        search,
        batches or Batches(1),
        Batches(2),
        SearchFolder(folder),
        identity,
        resume=resume,
    )
    return search
