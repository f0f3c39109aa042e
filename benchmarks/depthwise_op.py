"""Each pass of the depthwise convolution as a multiple of the machine's limit, beside PyTorch's own.

    make bench-op                       CPU, float32
    make bench-op OPTIONS="--device cuda --dtype bfloat16"

The limit of a pass is the larger of operations (two per tap and output) over the speed of a large matrix product and
bytes (input and output once) over the speed of a large copy, both measured in the same run. Shapes are those of X3D-S.
"""

import argparse
from collections.abc import Callable
from math import prod
from pathlib import Path

import torch
from machine import in_turns, limits, save
from torch import Tensor

from vidnas.engine.runtime import tune_allocator
from vidnas.nn.depthwise import backends
from vidnas.nn.depthwise.shapes import output_shape

# Channels, side, kernel t and s, spatial stride; 13 frames.
SHAPES = [
    (54, 40, 1, 3, 1),
    (54, 40, 3, 3, 1),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_allocator()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    machine = limits(device, dtype)
    rows = []
    for channels, side, kt, ks, step in SHAPES:
        shape, kernel, stride = (options.batch, channels, FRAMES, side, side), (kt, ks, ks), (1, step, step)
        padding = tuple(k // 2 for k in kernel)
        out = output_shape(shape, kernel, stride, padding)
        contiguous = [torch.randn(s, device=device).to(dtype) for s in (shape, out)]
        x, grad = (tensor.to(memory_format=torch.channels_last_3d) for tensor in contiguous)
        weight = torch.randn(channels, 1, *kernel, device=device).to(dtype)
        operations, size = 2 * prod(out) * prod(kernel), x.element_size() * (prod(shape) + prod(out))
        limit_sec = max(operations / machine["operations_per_sec"], size / machine["bytes_per_sec"])
        methods = {}
        # Each in the memory format that its users have: PyTorch's is both.
        names = {"ours": ("auto", x, grad), "stock": ("stock", x, grad), "stock contiguous": ("stock", *contiguous)}
        if device.type == "cpu":
            names["torch"] = ("torch", x, grad)
        for name, (backend, a, g) in names.items():
            for kind, run in passes(backend, a, weight, g, stride, padding).items():
                methods[f"{name}: {kind}"] = run
        seconds = in_turns(methods, options.repeats, device, turn_sec=0.02)
        row = {"shape": shape, "kernel": kernel, "stride": step, "limit_ms": limit_sec * 1e3}
        row |= {name: value / limit_sec for name, value in seconds.items()}
        rows.append(row)
        ours, stock = ([seconds[f"{name}: {kind}"] / limit_sec for kind in PASSES] for name in ("ours", "stock"))
        print(f"C{channels} {side}x{side} {kt}x{ks}x{ks} stride {step}: limit {limit_sec * 1e3:.3f} ms;", end=" ")
        print("ours", *(f"{value:.2f}" for value in ours), "| stock", *(f"{value:.1f}" for value in stock))
    command = f"make bench-op OPTIONS='--device {device} --dtype {options.dtype} --batch {options.batch}'"
    save(options.out, command, {"device": str(device), "limits": machine, "times_of_limit": rows})


if __name__ == "__main__":
    main()
