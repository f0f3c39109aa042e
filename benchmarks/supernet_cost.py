"""What a search step costs beside an ordinary training step: peak memory and time, at the published clip.

    python benchmarks/supernet_cost.py --out benchmarks/results/supernet_cost.json

Memory: the peak of live tensors (the profiler's memory events from an empty process on), each variant in a process of
its own. A search step (one step on the weights, one on alpha with K architectures) is compared with a stand-alone
training step of the largest of the sampled networks, plus what the supernet keeps: weights, gradients, momentum.
Time: forward and backward of a sampled architecture against the same network extracted, interleaved.
"""

import argparse
import gc
import json
import multiprocessing
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.arch.cost import network_cost
from vidnas.engine.run.runtime import peak_memory_mib, tune_allocator, versions
from vidnas.engine.supernet.steps import SupernetScorer, uniform_backward
from vidnas.nn.build import build
from vidnas.search.distribution import Distribution
from vidnas.search.parsec import distinct
from vidnas.search.space.published.registry import resolve_space
from vidnas.search.space.space import Choice, Space
from vidnas.search.supernet import Supernet, extract

SAMPLES = (1, 4, 13)
SEED = 0


class Workload(NamedTuple):
    """A published space by name, and clips per step."""

    space: str
    batch: int


ONE_STREAM = Workload("autox3d", batch=4)


def sampled(space: Space, number: int) -> list[Choice]:
    """The architectures of a step; those of a smaller K are the first of a larger one."""
    return Distribution(space.sizes).sample(max(SAMPLES), SEED, 0)[:number]


def largest(space: Space, choices: list[Choice]) -> Choice:
    """The one with the most activations."""
    return max(choices, key=lambda choice: network_cost(space.decode(choice)).activations)


def make_batch(space: Space, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    torch.manual_seed(SEED)
    clip = space.clip
    clips = torch.randn(size, 3, clip.frames, clip.size, clip.size)
    labels = torch.arange(size) % space.head.num_classes
    return clips.contiguous(memory_format=torch.channels_last_3d).to(device), labels.to(device)


def stand_alone_step(space: Space, size: int, choice: Choice, device: torch.device) -> None:
    """An SGD step with momentum, twice, so that all buffers exist in the second."""
    network = build(space.decode(choice)).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    clips, labels = make_batch(space, size, device)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(clips), labels).backward()
        optimizer.step()


def search_step(space: Space, size: int, number: int, device: torch.device) -> int:
    """A step on the weights over the largest sampled architecture and the scores of K; returns persistent bytes."""
    supernet = Supernet(space).to(device)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.01, momentum=0.9)
    clips, labels = make_batch(space, size, device)
    scorer = SupernetScorer(supernet, clips, labels)
    for parameter in supernet.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    choices = sampled(space, number)
    # The same network at every K, so that only K differs.
    heaviest = largest(space, sampled(space, max(SAMPLES)))
    for _ in range(2):
        optimizer.zero_grad(set_to_none=False)
        uniform_backward(scorer, [heaviest])
        optimizer.step()
        scorer(choices)
    persistent = sum(p.numel() * p.element_size() for p in supernet.parameters()) * 3
    return persistent + sum(b.numel() * b.element_size() for b in supernet.buffers())


def live_peak(workload: Workload, number: int, device_name: str, queue: Any) -> None:
    """Runs in a fresh process: peak of live tensor bytes, and what the supernet keeps; 0 is a step of training."""
    device = torch.device(device_name)
    space, size = resolve_space(workload.space), workload.batch
    heaviest = largest(space, sampled(space, max(SAMPLES)))

    def work() -> int:
        if not number:
            stand_alone_step(space, size, heaviest, device)
            return 0
        return search_step(space, size, number, device)

    if device.type == "cuda":
        kept = work()
        queue.put((int(peak_memory_mib(device) * 2**20), kept))
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = work()
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    live = peak = 0
    for _, change in changes:
        live += change
        peak = max(peak, live)
    queue.put((peak, kept))


def in_process(workload: Workload, number: int, device: str) -> tuple[int, int]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=live_peak, args=(workload, number, device, queue))
    process.start()
    result: tuple[int, int] = queue.get()
    process.join()
    return result


def memory_of_steps(workload: Workload, device: str = "cpu") -> list[dict[str, float]]:
    """By K: the peak of a search step, and what it is of the limit."""
    stand_alone, _ = in_process(workload, 0, device)
    rows = []
    for number in SAMPLES:
        peak, kept = in_process(workload, number, device)
        limit = 1.15 * stand_alone + kept
        rows.append(
            {
                "K": number,
                "search_peak_mib": peak / 2**20,
                "supernet_kept_mib": kept / 2**20,
                "stand_alone_peak_mib": stand_alone / 2**20,
                "of_limit": peak / limit,
            }
        )
        print(f"K {number}: {peak / 2**20:.0f} MiB, {peak / limit:.3f} of 1.15 x {stand_alone / 2**20:.0f} + kept")
    return rows


def times(device: torch.device, repeats: int, number: int) -> list[dict[str, float]]:
    """Forward and backward: sampled against extracted, for several architectures."""
    space = resolve_space(ONE_STREAM.space)
    supernet = Supernet(space).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    clips, labels = make_batch(space, ONE_STREAM.batch, device)
    rows = []
    for choice in distinct(sampled(space, number))[0]:
        network = extract(supernet, choice)

        def run(module: nn.Module, *inputs: Any) -> float:
            module.zero_grad(set_to_none=True)
            _wait(device)
            start = time.perf_counter()
            F.cross_entropy(module(*inputs), labels).backward()
            _wait(device)
            return time.perf_counter() - start

        run(supernet, clips, choice)
        run(network, clips)
        pairs = [(run(supernet, clips, choice), run(network, clips)) for _ in range(repeats)]
        rows.append(
            {
                "macs": network_cost(space.decode(choice)).macs,
                "sampled_sec": statistics.median(a for a, _ in pairs),
                "extracted_sec": statistics.median(b for _, b in pairs),
                "ratio": statistics.median(a / b for a, b in pairs),
            }
        )
        del network
        gc.collect()
    return rows


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--architectures", type=int, default=3)
    options = parser.parse_args()
    tune_allocator()
    memory = memory_of_steps(ONE_STREAM, options.device)
    rows = times(torch.device(options.device), options.repeats, options.architectures)
    for row in rows:
        print(f"{row['macs'] / 1e9:.2f} GMACs: sampled / extracted {row['ratio']:.3f}")
    measured = f"--repeats {options.repeats} --architectures {options.architectures}"
    result = {
        "command": f"python benchmarks/supernet_cost.py {measured}",
        "date": date.today().isoformat(),
        "versions": versions(),
        "device": options.device,
        "clip": str(resolve_space(ONE_STREAM.space).clip),
        "batch": ONE_STREAM.batch,
        "memory": memory,
        "time": rows,
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
