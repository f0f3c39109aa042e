"""Clips per second of the steps of a search: one process with two threads against two processes with one thread each.

    make bench-processes

All groups of processes live side by side and take turns, on the same clips. "2 shards" is one process that computes
what the two processes compute: half the batch at a time, with an architecture of its own for each half in a step on
the weights. In a step on alpha a clip counts once for every architecture that it is scored with.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from machine import in_turns, save
from torch.distributed import TCPStore

from vidnas.data.dataset import Batch
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.run.runtime import set_threads, tune_allocator
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.search import SupernetSearch
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.space import Space

TARGET_MACS = 35e6
CLASSES = 20
BATCH = 16
SAMPLES = 8
# (processes, threads of each, shards)
GROUPS = {
    "1 process x 2 threads": (1, 2, 1),
    "1 process x 2 threads, 2 shards": (1, 2, 2),
    "2 processes x 1 thread": (2, 1, 2),
}


def space() -> Space:
    return auto_space(TARGET_MACS, num_classes=CLASSES)[0]


def make_search(shards: int) -> SupernetSearch:
    # Alpha hardly moves, so that every turn meets the same architectures.
    config = SearchConfig(batch_size=BATCH, samples=SAMPLES, shards=shards, alpha_lr=1e-12, device="cpu")
    table = CostTable.of(space())
    fabric = make_fabric(torch.device("cpu"), config.precision)
    return SupernetSearch(space(), [Budget(table, TARGET_MACS)], config.schedule(100), config, fabric)


def own_part(rank: int, count: int) -> Batch:
    torch.manual_seed(0)
    clip = space().clip
    clips = torch.randn(BATCH, 3, clip.frames, clip.size, clip.size).contiguous(memory_format=torch.channels_last_3d)
    batch = Batch(clips, torch.arange(BATCH) % CLASSES, torch.ones(BATCH).bool(), torch.arange(BATCH))
    return Batch(*(tensor.chunk(count)[rank] for tensor in batch))


def serve(rank: int, count: int, threads: int, shards: int, port: int, pipe: Connection) -> None:
    """A process of a group: takes steps when it is told to."""
    if count > 1:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ |= {name: str(value) for name, value in numbers.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"TORCHELASTIC_RUN_ID": "benchmark", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    tune_allocator()
    set_threads(threads)
    search, batch = make_search(shards), own_part(rank, count)
    while (order := pipe.recv()) is not None:
        kind, steps = order
        for step in range(steps):
            search.step = step
            if kind == "weights":
                search.weights_step(batch)
            else:
                search.alpha_step(step, batch)
        pipe.send(None)


class Group:
    """Processes that wait for orders."""

    def __init__(self, count: int, threads: int, shards: int) -> None:
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.pipes: list[Connection] = []
        context = multiprocessing.get_context("spawn")
        for rank in range(count):
            ours, theirs = context.Pipe()
            arguments = (rank, count, threads, shards, self.store.port, theirs)
            context.Process(target=serve, args=arguments, daemon=True).start()
            self.pipes.append(ours)

    def take(self, kind: str, steps: int) -> None:
        """Take steps on all of them."""
        for pipe in self.pipes:
            pipe.send((kind, steps))
        for pipe in self.pipes:
            pipe.recv()

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="in a turn, each over another architecture")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    groups = {name: Group(*numbers) for name, numbers in GROUPS.items()}
    table: dict[str, dict[str, float]] = {}
    for kind, passes in (("weights", 1), ("alpha", SAMPLES)):
        methods: dict[str, Callable[[], object]] = {
            name: partial(group.take, kind, options.steps) for name, group in groups.items()
        }
        seconds = in_turns(methods, options.repeats, torch.device("cpu"))
        table[kind] = {name: BATCH * passes * options.steps / seconds[name] for name in GROUPS}
        for name, clips_per_sec in table[kind].items():
            print(f"{kind:<8} {name:<32} {clips_per_sec:8.1f} clips/s", flush=True)
    for group in groups.values():
        group.end()
    costs = CostTable.of(space())
    record = {
        "space": space().name,
        "clip": str(space().clip),
        "macs_range": [costs.cheapest()[1], costs.dearest()[1]],
        "batch": BATCH,
        "samples": SAMPLES,
        "clips_per_sec": table,
    }
    save(options.out, f"make bench-processes OPTIONS='--steps {options.steps} --repeats {options.repeats}'", record)


if __name__ == "__main__":
    main()
