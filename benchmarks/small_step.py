"""Clips per second of a training step of small networks on one thread of a CPU, and how near that is to its arithmetic.

    make bench-small

X3D and two random architectures of the space for this cost, in float32; ours, and the same networks on PyTorch's
layers (channels_last_3d). A step is forward, cross entropy, backward and AdamW. "Share" is what the step reaches of the
clips per second that its multiply-adds alone would allow, three times those of the forward pass, at the rate of a large
matrix product. Everything takes turns in one process and counts CPU seconds, which neighbours on the machine distort
less than time.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from machine import command_of, save
from torch import nn

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec
from vidnas.arch.zoo.x3d import x3d_at_cost
from vidnas.engine.run.runtime import tune_allocator
from vidnas.nn.backends import use_backend
from vidnas.nn.build import build
from vidnas.nn.native import instruction_set
from vidnas.search.costs import CostTable
from vidnas.search.sampling import sample_choices
from vidnas.search.space.published.auto import auto_space

CLIP = ClipSpec(frames=16, size=56, sampling="uniform")
NUM_CLASSES = 27
MACS = 20e6
BATCH = 16
GEMM_SIDE = 1024


def networks(seed: int) -> dict[str, ArchSpec]:
    """By name: X3D, and random architectures that cost at most as much."""
    space, _ = auto_space(MACS, num_classes=NUM_CLASSES, clip=CLIP)
    drawn = sample_choices(CostTable.of(space), 2, seed, MACS)
    head = ClassificationSpec(num_classes=NUM_CLASSES)
    x3d = x3d_at_cost("x3d", CLIP, MACS).model_copy(update={"head": head})
    return {"x3d": x3d} | {f"random {i}": space.decode(choice) for i, choice in enumerate(drawn)}


def random_clips(clip: ClipSpec, batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, clip.frames, clip.size, clip.size).to(memory_format=torch.channels_last_3d)


def make_step(network: nn.Module, clips: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    labels = torch.arange(len(clips)) % NUM_CLASSES

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(clips), labels).backward()
        optimizer.step()

    return step


def cpu_seconds(methods: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each, in turns."""
    return {name: statistics.median(values) for name, values in cpu_turns(methods, repeats).items()}


def cpu_turns(methods: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each, turn by turn; each turn has an untimed call before."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, run in methods.items():
            run()
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return seconds


def measure(name: str, spec: ArchSpec, repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    ours, stock = build(spec), build(spec)
    use_backend(stock, "stock")
    a, b = torch.randn(2, GEMM_SIDE, GEMM_SIDE)
    clips = random_clips(CLIP, BATCH)
    methods = {"ours": make_step(ours, clips), "PyTorch": make_step(stock, clips), "gemm": lambda: a @ b}
    seconds = cpu_seconds(methods, repeats)
    macs = network_cost(spec).macs
    limit = GEMM_SIDE**3 / seconds.pop("gemm") / (3 * macs)
    row: dict[str, Any] = {"network": name, "macs": macs, "limit_clips_per_sec": limit}
    row["clips_per_sec"] = {method: BATCH / spent for method, spent in seconds.items()}
    row["share"] = {method: speed / limit for method, speed in row["clips_per_sec"].items()}
    figures = ", ".join(f"{m} {speed:.0f} clips/s ({row['share'][m]:.0%})" for m, speed in row["clips_per_sec"].items())
    print(f"{name}, {macs / 1e6:.1f} MMACs @ {CLIP}: {figures}, multiply-adds alone {limit:.0f}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0, help="of the random architectures")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    rows = [measure(name, spec, options.repeats) for name, spec in networks(options.seed).items()]
    result = {"clip": str(CLIP), "batch": BATCH, "instruction_set": instruction_set(), "networks": rows}
    save(options.out, command_of("bench-small", parser, options), result)


if __name__ == "__main__":
    main()
