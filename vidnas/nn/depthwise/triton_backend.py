"""Depthwise conv3d by Triton: what the kernels are given, how the work is cut. Imports Triton only when it is used.

Tensors are (N, C, T, H, W) in channels_last_3d, all of one dtype (float32, bfloat16 or float16), and their memory is
read as such; weights are (C, 1, kt, ks, kw). Sums are in float32. How the work is cut depends on shapes only, so each
pass gives the same bits every time.
"""

import functools
import math
import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vidnas.nn.depthwise.shapes import output_shape

Triple = tuple[int, int, int]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Sums and values that a thread keeps in registers, of which it may have 255.
MAX_VALUES = 80
MAX_VECTOR = 4
MIN_TILE, MAX_TILE = 4, 8
MIN_BLOCK, MAX_BLOCK = 32, 64
MAX_WARPS = 4
# A pass is cut along T until it has this many programs, a few for each multiprocessor of a large GPU.
PROGRAMS = 1024
# The most spatial and temporal taps that one program of the weight gradient sums; beyond, each takes one kt.
MAX_TAPS = 75


class Cut(NamedTuple):
    """How a pass is cut into programs.

    A program takes `rows` tiles of `tile` positions along W and `block` channels, a thread of it `vector` neighbouring
    channels, by `warps` warps.
    """

    rows: int
    tile: int
    block: int
    vector: int
    warps: int

    def blocks(self, channels: int, height: int, width: int) -> int:
        """Programs for one run of frames of one sample."""
        return _ceil(height * _ceil(width, self.tile), self.rows) * _ceil(channels, self.block)


def supports(x: Tensor) -> bool:
    """Whether this backend computes on the device and type of `x`: on GPUs, and on a CPU in Triton's interpreter."""
    if x.dtype not in DTYPES:
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return find_spec("triton") is not None and _kernels().INTERPRETED
    return x.is_cuda and _runs_on_gpu()


def forward(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """The convolution of `x` (N, C, T, H, W) with `weight` (C, 1, kt, ks, kw): (N, C, T', H', W'), the dtype of x."""
    kernel = _triple(weight.shape[2:])
    out = _empty(output_shape(x.shape, kernel, stride, padding), x)
    if out.numel() == 0:
        return out
    shape = _triple(out.shape[2:])
    cut = cut_work(x.shape[1], shape[1], shape[2], per_position=kernel[0])
    blocks = x.shape[0] * cut.blocks(x.shape[1], shape[1], shape[2])
    frames = run_length(shape[0], kernel[0], blocks)
    launch(
        _kernels().forward_kernel,
        blocks * _ceil(shape[0], frames),
        (x, _by_tap(weight), out, _triple(x.shape[2:]), shape, frames),
        _settings(x, cut, kernel, stride, padding),
    )
    return out


def input_gradient(
    grad: Tensor, weight: Tensor, input_shape: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """The gradient by the input, of `input_shape` (N, C, T, H, W), given `grad` by the output; the dtype of grad."""
    dx = _empty(tuple(input_shape), grad)
    if dx.numel() == 0:
        return dx
    kernel, shape = _triple(weight.shape[2:]), _triple(dx.shape[2:])
    # The kernel takes every stride-th row together, and frames in groups of one stride.
    rows = _ceil(shape[1], stride[1])
    groups = (shape[0] - 1 + padding[0]) // stride[0] + 1 - padding[0] // stride[0]
    in_flight = _ceil(kernel[0], stride[0]) * stride[0]
    cut = cut_work(dx.shape[1], rows, shape[2], per_position=in_flight, tile_step=stride[2])
    blocks = dx.shape[0] * stride[1] * cut.blocks(dx.shape[1], rows, shape[2])
    frames = run_length(groups, kernel[0], blocks)
    launch(
        _kernels().input_gradient_kernel,
        blocks * _ceil(groups, frames),
        (grad, _by_tap(weight), dx, shape, _triple(grad.shape[2:]), frames),
        _settings(grad, cut, kernel, stride, padding),
    )
    return dx


def weight_gradient(
    grad: Tensor, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """The gradient by the weight (C, 1, kt, ks, kw), given `grad` by the output; summed in float32, the dtype of x.

    Each program writes its sum to a row of its own, and the rows are added in a second step: no atomics, so the order
    of the sum is fixed.
    """
    channels = x.shape[1]
    if grad.numel() == 0:
        return x.new_zeros((channels, 1, *kernel))
    samples, _, out_t, height, width = grad.shape
    kt = kernel[0] if math.prod(kernel) <= MAX_TAPS else 1
    cut = cut_work(channels, height, width, per_position=kt, fixed=kt * kernel[1] * kernel[2])
    programs_per_part = kernel[0] // kt * _ceil(channels, cut.block)
    blocks = cut.blocks(1, height, width) * samples
    frames = run_length(out_t, kt, blocks * programs_per_part)
    items = blocks * _ceil(out_t, frames)
    # As few parts as leave none with more items than the others need.
    parts = _ceil(items, _ceil(items, _ceil(PROGRAMS, programs_per_part)))
    partial = torch.empty((parts, math.prod(kernel), channels), dtype=torch.float32, device=x.device)
    launch(
        _kernels().weight_gradient_kernel,
        parts * programs_per_part,
        (grad, x, partial, _triple(x.shape[2:]), _triple(grad.shape[2:]), frames, samples, parts),
        _settings(x, cut, kernel, stride, padding) | {"KT": kt},
    )
    return partial.sum(0).t().reshape(channels, 1, *kernel).to(x.dtype)


def launch(kernel: Any, programs: int, arguments: tuple[Any, ...], settings: dict[str, Any]) -> None:
    """Runs `kernel` as `programs` programs on the device of its first argument."""
    with torch.cuda.device_of(arguments[0]):
        kernel[(programs,)](*arguments, **settings)


def cut_work(channels: int, height: int, width: int, *, per_position: int, fixed: int = 0, tile_step: int = 1) -> Cut:
    """The cut of frames of `height` x `width` positions that wastes the least; among equals, the coarsest.

    Simple rules instead of autotuning: nothing is timed in the middle of a run, and the weight gradient's order of
    summation, so its last bits, is the same in every run.

    Args:
        per_position: Values that a thread keeps for each position of a tile and each channel.
        fixed: Values that it keeps for each channel besides.
        tile_step: A tile is a multiple of this many positions.
    """
    # A power of two that divides the channels, so that each position's are aligned to it.
    vector = math.gcd(channels, MAX_VECTOR)
    while vector > 1 and (fixed + per_position * MIN_TILE) * vector > MAX_VALUES:
        vector //= 2
    longest = min(MAX_TILE, max(MIN_TILE, (MAX_VALUES // vector - fixed) // per_position), width + tile_step - 1)
    tiles = range(tile_step, max(longest, tile_step) + 1, tile_step)
    # The least positions, each tile with about two more that its taps reach.
    tile = min(tiles, key=lambda tile: (_ceil(width, tile) * (tile + 2), -tile))
    block = _least_waste(channels, (MIN_BLOCK, MAX_BLOCK))
    # Between one warp and MAX_WARPS, of 32 threads with one vector each.
    least = max(1, 32 * vector // block)
    rows = _least_waste(height * _ceil(width, tile), [r for r in (1, 2, 4, 8, 16) if least <= r <= MAX_WARPS * least])
    return Cut(rows, tile, block, vector, max(1, rows * block // (32 * vector)))


def run_length(frames: int, kt: int, programs: int) -> int:
    """Frames for one program, where there are `programs` with all of them: halved until there are enough of these.

    A run reads kt - 1 frames that its neighbours read too, so it is never shorter than kt.
    """
    length = frames
    while programs * _ceil(frames, length) < PROGRAMS and length >= 2 * kt and length > 1:
        length = _ceil(length, 2)
    return length


def _least_waste(size: int, steps: Iterable[int]) -> int:
    """The step of which the multiples cover `size` with the least beyond it; the largest of these."""
    return min(steps, key=lambda step: (_ceil(size, step) * step, -step))


def _ceil(size: int, step: int) -> int:
    return -(-size // step)


def _triple(sizes: Iterable[int]) -> Triple:
    t, h, w = sizes
    return t, h, w


@functools.cache
def _runs_on_gpu() -> bool:
    """Whether Triton has a GPU that it knows, and the C compiler and headers that it needs to start programs."""
    try:
        target = _kernels().gpu()
    except Exception:  # Whatever keeps Triton from its GPU, another backend can take over.
        return False
    # Triton's own requirement for NVIDIA.
    return target.backend != "cuda" or target.arch >= 80


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)


def _by_tap(weight: Tensor) -> Tensor:
    """The weights as (taps, channels): channels are contiguous, as in the data."""
    return weight.reshape(weight.shape[0], -1).t().contiguous()


def _settings(
    data: Tensor, cut: Cut, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> dict[str, Any]:
    """The arguments that all kernels take alike."""
    return {
        "channel_vectors": data.shape[1] // cut.vector,
        "VECTOR": cut.vector,
        "KERNEL": tuple(kernel),
        "STRIDE": tuple(stride),
        "PADDING": tuple(padding),
        "ROWS": cut.rows,
        "TILE": cut.tile,
        "BLOCK": cut.block,
        "num_warps": cut.warps,
    }


def _kernels() -> Any:
    """The module of kernels, imported late: Triton is not installed everywhere and is slow to import."""
    from vidnas.nn.depthwise import triton_kernels

    return triton_kernels
