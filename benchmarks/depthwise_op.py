"""Each pass of the depthwise convolution as a multiple of the machine's limit, beside PyTorch's own.

    make bench-op                                      CPU, float32 and bfloat16, batch 1
    make bench-op OPTIONS="--device cuda"              GPU, bfloat16, batch 64

The limit of a pass is the larger of operations (two per tap and output) over the speed of a large matrix product and
bytes (input and output once) over the speed of a large copy, both measured in the same run and type. Beside it stands
how fast these bytes go by, as a share of the copy's speed. Shapes are those of X3D-S, with all kernels that are made
fast: t of 1, 3, 5 and s of 3, 5. Every row and type takes some seconds, all of them on a CPU a few minutes.

A batch of 64 makes input and output together larger than a GPU's second-level cache of 50 MB, on all maps but those of
5x5; with a batch of 1 they all fit in it, and what is measured is the launch of kernels.
"""

import argparse
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch
from machine import command_of, in_turns, limits, save
from torch import Tensor

from vidnas.engine.run.runtime import tune_allocator
from vidnas.nn.depthwise import backends
from vidnas.nn.depthwise.shapes import output_shape

# Channels, side, kernel t and s, spatial stride; 13 frames.
SHAPES = [
    (54, 40, 1, 3, 1),
    (54, 40, 1, 5, 1),
    (54, 40, 3, 3, 1),
    (54, 40, 3, 5, 1),
    (54, 40, 5, 3, 1),
    (54, 40, 5, 5, 1),
    (108, 20, 3, 3, 1),
    (216, 10, 3, 3, 1),
    (216, 10, 5, 5, 1),
    (432, 5, 3, 3, 1),
    (432, 5, 5, 5, 1),
    (54, 80, 3, 3, 2),
    (108, 40, 3, 3, 2),
    (216, 20, 3, 3, 2),
    (216, 20, 5, 5, 2),
]
FRAMES = 13
PASSES = ("forward", "input gradient", "weight gradient")


def passes(
    backend: str, x: Tensor, weight: Tensor, grad: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> dict[str, Callable[[], Tensor]]:
    """The three passes of a backend."""
    _, found = backends.choose(backend, x, weight.shape[2:])
    kernel = tuple(weight.shape[2:])
    return {
        "forward": lambda: found.forward(x, weight, stride, padding),
        "input gradient": lambda: found.input_gradient(grad, weight, x.shape, stride, padding),
        "weight gradient": lambda: found.weight_gradient(grad, x, kernel, stride, padding),
    }


def measure(
    shape: tuple[int, ...], kernel: tuple[int, ...], step: int, dtype: torch.dtype, device: torch.device, repeats: int
) -> dict[str, Any]:
    """Seconds of each pass by each method, and what the passes need."""
    stride, padding = (1, step, step), tuple(k // 2 for k in kernel)
    out = output_shape(shape, kernel, stride, padding)
    contiguous = [torch.randn(s, device=device).to(dtype) for s in (shape, out)]
    x, grad = (tensor.to(memory_format=torch.channels_last_3d) for tensor in contiguous)
    weight = torch.randn(shape[1], 1, *kernel, device=device).to(dtype)
    # Each in the memory format that its users have: PyTorch's is both.
    names = {"ours": ("auto", x, grad), "stock": ("stock", x, grad), "stock contiguous": ("stock", *contiguous)}
    if device.type == "cpu":
        names["torch"] = ("torch", x, grad)
    methods = {}
    for name, (backend, a, g) in names.items():
        for kind, run in passes(backend, a, weight, g, stride, padding).items():
            methods[f"{name}: {kind}"] = run
    return {
        "seconds": in_turns(methods, repeats, device, turn_sec=0.02),
        "operations": 2 * prod(out) * prod(kernel),
        "bytes": x.element_size() * (prod(shape) + prod(out)),
    }


def tabulate(measured: dict[str, Any], machine: dict[str, float]) -> dict[str, Any]:
    """As multiples of the limit and shares of the copy's speed."""
    limit_sec = max(
        measured["operations"] / machine["operations_per_sec"], measured["bytes"] / machine["bytes_per_sec"]
    )
    copy_sec = measured["bytes"] / machine["bytes_per_sec"]
    seconds = measured["seconds"]
    return {
        "mib": measured["bytes"] / 2**20,
        "limit_ms": limit_sec * 1e3,
        **{name: value / limit_sec for name, value in seconds.items()},
        "share_of_copy_speed": {name: copy_sec / value for name, value in seconds.items()},
    }


def describe(row: dict[str, Any]) -> str:
    """A line for the terminal."""
    ours, stock = ([row[f"{name}: {kind}"] for kind in PASSES] for name in ("ours", "stock"))
    shares = [row["share_of_copy_speed"][f"ours: {kind}"] for kind in PASSES]
    (_, channels, _, side, _), kernel = row["shape"], "x".join(map(str, row["kernel"]))
    what = f"C{channels} {side}x{side} {kernel} stride {row['stride']} {row['dtype']}"
    return (
        f"{what}: limit {row['limit_ms']:.3f} ms; ours "
        f"{' '.join(f'{value:.2f}' for value in ours)} (of the copy's speed {' '.join(f'{s:.0%}' for s in shares)}) | "
        f"stock {' '.join(f'{value:.1f}' for value in stock)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", help="one instead of those that are usual on the device")
    parser.add_argument("--batch", type=int, help="default: 1 on a CPU, 64 on a GPU")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the shapes, from the first on")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_allocator()
    device = torch.device(options.device)
    on_cpu = device.type == "cpu"
    batch = options.batch or (1 if on_cpu else 64)
    names = [options.dtype] if options.dtype else ["float32", "bfloat16"] if on_cpu else ["bfloat16"]
    machine, rows = {}, []
    for name in names:
        dtype = getattr(torch, name)
        machine[name] = limits(device, dtype)
        for channels, side, kt, ks, step in SHAPES[: options.shapes]:
            shape, kernel = (batch, channels, FRAMES, side, side), (kt, ks, ks)
            measured = measure(shape, kernel, step, dtype, device, options.repeats)
            row = {"shape": shape, "kernel": kernel, "stride": step, "dtype": name}
            rows.append(row | tabulate(measured, machine[name]))
            print(describe(rows[-1]), flush=True)
    result = {"device": str(device), "limits": machine, "times_of_limit": rows}
    save(options.out, command_of("bench-op", parser, options), result)


if __name__ == "__main__":
    main()
