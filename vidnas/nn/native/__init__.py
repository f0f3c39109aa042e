"""Our C++ kernels, if they were built: depthwise convolutions and norms over channels-last tensors, through ctypes.

The library has a plain C interface over pointers (entry.cpp) and knows nothing of PyTorch; this is the one place that
hands it the memory of tensors. Callers guarantee devices, types and memory formats.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

FORWARD, FORWARD_FLIPPED, INPUT_GRADIENT, WEIGHT_GRADIENT = range(4)
ACTS = {None: 0, "relu": 1, "swish": 2}
TYPES = {torch.float32: 0, torch.bfloat16: 1}


class _Geometry(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in "n c t h w ot oh ow kt kh kw st sh sw pt ph pw".split()  # noqa: SIM905 (the order of geometry.h)
    ]


class _Rows(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("samples", "positions", "channels")]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where the package was installed without a compiler."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels{suffix}")
        if path.is_file():
            loaded = ctypes.CDLL(str(path))
            loaded.vidnas_isa.restype = ctypes.c_char_p
            return loaded
    return None


def instruction_set() -> str | None:
    """What the kernels run on here: avx512, avx2 or portable (VIDNAS_ISA asks for less); None without kernels."""
    loaded = library()
    return None if loaded is None else loaded.vidnas_isa().decode()


def depthwise(
    kind: int,
    first: Tensor,
    second: Tensor,
    out: Tensor,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """Run one pass into `out` and return it; shapes are (N, C, T, H, W), tensors dense channels-last of one type.

    Args:
        kind: which pass: of (input, weight), of (gradient, weight) or of (gradient, input), as in table.h.
        first: the first tensor of the pass.
        second: the second one.
        out: what is filled.
        input_shape: of the convolution.
        output_shape: of the convolution.
        kernel: t, h, w.
        stride: t, h, w.
        padding: t, h, w.
    """
    geometry = _Geometry(*input_shape, *output_shape[2:], *kernel, *stride, *padding)
    _library().vidnas_depthwise(
        kind, TYPES[out.dtype], ctypes.byref(geometry), *_pointers(first, second, out), torch.get_num_threads()
    )
    return out


def pointwise(kind: int, first: Tensor, second: Tensor, out: Tensor, rows: int, inputs: int, outputs: int) -> Tensor:
    """Run one pass of a matrix product with a weight (outputs, inputs) into `out` and return it.

    Args:
        kind: forward of (x, weight), input gradient of (gradient, weight), or weight gradient of (gradient, x).
        first: the first matrix of the pass, row-major.
        second: the second one.
        out: what is filled.
        rows: of x and gradient.
        inputs: columns of x.
        outputs: columns of the gradient.
    """
    size = (ctypes.c_int64(count) for count in (rows, inputs, outputs))
    _library().vidnas_pointwise(kind, *size, *_pointers(first, second, out), torch.get_num_threads())
    return out


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared distances from it, over the positions of each sample and channel: twice (N, C)."""
    mean, squares = x.new_empty(x.shape[:2]), x.new_empty(x.shape[:2])
    _library().vidnas_moments(_rows(x), *_pointers(x, mean, squares), torch.get_num_threads())
    return mean, squares


def affine_act(x: Tensor, scale: Tensor, shift: Tensor, act: str | None, other: Tensor | None) -> Tensor:
    """act(x * scale + shift + other), with scale and shift (N, C)."""
    y = torch.empty_like(x)
    _library().vidnas_apply(_rows(x), ACTS[act], *_pointers(x, scale, shift, other, y), torch.get_num_threads())
    return y


def affine_act_reduce(
    x: Tensor, y: Tensor | None, scale: Tensor, shift: Tensor, act: str | None, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients (N, C) of scale and shift; y is the output where there was an `other`."""
    dscale, dshift = torch.empty_like(scale), torch.empty_like(scale)
    pointers = _pointers(x, y, scale, shift, grad, dscale, dshift)
    _library().vidnas_reduce(_rows(x), ACTS[act], *pointers, torch.get_num_threads())
    return dscale, dshift


def affine_act_gradient(
    x: Tensor,
    y: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    act: str | None,
    grad: Tensor,
    mean: Tensor,
    slope: Tensor,
    offset: Tensor,
    dother: Tensor | None,
) -> Tensor:
    """dz * scale + (x - mean) * slope + offset, dz the gradient of act's input, which also fills `dother`."""
    dx = torch.empty_like(x)
    pointers = _pointers(x, y, scale, shift, grad, mean, slope, offset, dx, dother)
    _library().vidnas_gradient(_rows(x), ACTS[act], *pointers, torch.get_num_threads())
    return dx


def _library() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the C++ kernels were not built")
    return loaded


def _rows(x: Tensor) -> "ctypes._CArgObject":
    samples, channels, *positions = x.shape
    return ctypes.byref(_Rows(samples, positions[0] * positions[1] * positions[2], channels))


def _pointers(*tensors: Tensor | None) -> tuple[ctypes.c_void_p | None, ...]:
    return tuple(None if tensor is None else ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
