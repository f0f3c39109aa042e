"""Clips per second of a training step of X3D, beside pytorchvideo's X3D and our own network on PyTorch's operators.

    make bench-train                                   CPU, float32, 1 and 2 threads
    make bench-train OPTIONS="--device cuda"           bfloat16 autocast

A step is forward, cross entropy, backward and SGD with momentum. All variants of a table run in one process and take
turns; the C allocator is tuned for all of them. Memory is the growth of the process's peak (CPU), each variant in a
process of its own, or the peak of allocated memory (GPU).

What the allocator's setting is worth on a CPU is measured on the first table in processes of their own, since it cannot
be taken back: three with it and three without, in turns, the median of each.
"""

import argparse
import multiprocessing
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from machine import command_of, in_turns, save
from torch import nn

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ClipSpec
from vidnas.engine.run.runtime import peak_memory_mib, tune_allocator
from vidnas.nn.backends import use_backend
from vidnas.nn.build import build

PEER = "pytorchvideo"
ALLOCATOR_ROUNDS = 3


class Table(NamedTuple):
    network: str
    clip: ClipSpec
    batch: int
    threads: int


CPU_TABLES = (
    Table("x3d_s", ClipSpec(frames=13, size=160, stride=6), 4, 2),
    Table("x3d_s", ClipSpec(frames=8, size=64, stride=6), 8, 2),
    Table("x3d_s", ClipSpec(frames=13, size=160, stride=6), 4, 1),
)
GPU_TABLES = (
    Table("x3d_s", ClipSpec(frames=13, size=160, stride=6), 64, 1),
    Table("x3d_m", ClipSpec(frames=16, size=224, stride=5), 32, 1),
)


def make_network(variant: str, table: Table) -> nn.Module:
    """One of the networks that are compared, in training mode."""
    torch.manual_seed(0)
    clip = table.clip
    if variant.startswith(PEER):
        from pytorchvideo.models.x3d import create_x3d

        network = create_x3d(input_clip_length=clip.frames, input_crop_size=clip.size, model_num_class=400)
        # Its head ends in a softmax, which training replaces by the loss.
        network.blocks[-1].activation = None
        if "channels_last" in variant:
            network = network.to(memory_format=torch.channels_last_3d)
    else:
        network = build(get_spec(table.network).model_copy(update={"clip": clip}))
        if "stock" in variant:
            use_backend(network, "stock")
    return network.train()


def make_step(variant: str, table: Table, device: torch.device) -> Callable[[], None]:
    network = make_network(variant, table).to(device)
    run = torch.compile(network) if "compile" in variant else network
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, fused=True)
    clip = table.clip
    clips = torch.randn(table.batch, 3, clip.frames, clip.size, clip.size, device=device)
    if variant != PEER:
        clips = clips.to(memory_format=torch.channels_last_3d)
    labels = torch.arange(table.batch, device=device)

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext():
            loss = F.cross_entropy(run(clips).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def memory_of(arguments: tuple[str, Table, str]) -> float:
    """Peak memory of two steps in MiB, in a process of its own."""
    variant, table, name = arguments
    tune_allocator()
    torch.set_num_threads(table.threads)
    device = torch.device(name)
    before = peak_memory_mib(device)
    step = make_step(variant, table, device)
    step()
    step()
    return peak_memory_mib(device) - before


def clips_per_sec_of(arguments: tuple[str, Table, bool, int]) -> float:
    """Clips per second of a process of its own, on a CPU, with the allocator's setting or without."""
    variant, table, tuned, repeats = arguments
    if tuned and not tune_allocator():
        raise SystemExit("the allocator's setting is for glibc; leave VIDNAS_NO_MALLOPT unset")
    torch.set_num_threads(table.threads)
    device = torch.device("cpu")
    return table.batch / in_turns({variant: make_step(variant, table, device)}, repeats, device)[variant]


def measure_allocator(table: Table, variants: list[str], repeats: int) -> dict[str, Any]:
    settings = [(variant, tuned) for variant in variants for tuned in (True, False)]
    jobs = [(variant, table, tuned, repeats) for variant, tuned in settings] * ALLOCATOR_ROUNDS
    found = in_processes(clips_per_sec_of, jobs)
    speeds = {one: statistics.median(found[i :: len(settings)]) for i, one in enumerate(settings)}
    row: dict[str, Any] = {"network": table.network, "clip": str(table.clip), "batch": table.batch}
    row |= {"threads": table.threads, "clips_per_sec": {}, "times_without": {}}
    for variant in variants:
        tuned, default = speeds[variant, True], speeds[variant, False]
        row["clips_per_sec"] |= {variant: tuned, f"{variant}, default allocator": default}
        row["times_without"][variant] = tuned / default
        print(f"allocator, {variant}: {tuned:.2f} clips/s with the setting, {default:.2f} without")
    return row


def in_processes(work: Callable[[Any], float], jobs: list[Any]) -> list[float]:
    """Each job in a new process, one after another."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.map(work, jobs, chunksize=1)


def measure(table: Table, variants: list[str], device: torch.device, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(table.threads)
    seconds = in_turns({v: make_step(v, table, device) for v in variants}, repeats, device)
    memory = in_processes(memory_of, [(v, table, str(device)) for v in variants])
    row: dict[str, Any] = {"network": table.network, "clip": str(table.clip), "batch": table.batch}
    row |= {"threads": table.threads, "clips_per_sec": {v: table.batch / seconds[v] for v in variants}}
    row |= {"times_pytorchvideo": seconds[PEER] / seconds["ours"], "peak_mib": dict(zip(variants, memory, strict=True))}
    print(f"{table.network} {table.clip} batch {table.batch}, {table.threads} threads:")
    for variant in variants:
        print(f"  {variant:<28} {table.batch / seconds[variant]:8.2f} clips/s  {row['peak_mib'][variant]:8.0f} MiB")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--tables", type=int, help="how many of the tables, from the first on")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_allocator()
    device = torch.device(options.device)
    variants = ["ours", "ours, stock operators", PEER, f"{PEER}, channels_last"]
    if options.compile or device.type == "cuda":
        variants += [f"{PEER}, channels_last, compile", "ours, compile"]
    tables = (CPU_TABLES if device.type == "cpu" else GPU_TABLES)[: options.tables]
    rows = [measure(table, variants, device, options.repeats) for table in tables]
    result: dict[str, Any] = {"device": str(device), "tables": rows}
    if device.type == "cpu":
        result["allocator"] = measure_allocator(tables[0], ["ours", PEER], options.repeats)
    save(options.out, command_of("bench-train", parser, options), result, threads_in_record=True)


if __name__ == "__main__":
    main()
