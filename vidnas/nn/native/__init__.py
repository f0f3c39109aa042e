"""Our C++ kernels, if they were built: depthwise convolutions and norms over channels-last tensors, through ctypes.

The library has a plain C interface over pointers (entry.cpp) and knows nothing of PyTorch; this is the one place that
hands it the memory of tensors. Callers guarantee devices, types, shapes and memory formats, some by `readable`.
"""

import ctypes
import struct
from collections.abc import Sequence
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = 0, 2, 3
ACTS = {None: 0, "relu": 1, "swish": 2}
TYPES = {torch.float32: 0, torch.bfloat16: 1}


class _Geometry(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in "n c t h w ot oh ow kt kh kw st sh sw pt ph pw".split()  # noqa: SIM905 (the order of geometry.h)
    ]


_FLOAT_BYTES = 4
_COUNT, _POINTER = ctypes.c_int64, ctypes.c_void_p
_NO_GEOMETRY = (0,) * len(_Geometry._fields_)
_OF_GATES = ("reduce", "reduce_bias", "expand", "expand_bias")


class _Norm(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("samples", "positions", "channels", "squeezed", "act", "of_batch")),
        *((name, ctypes.c_double) for name in ("eps", "momentum")),
        *((name, ctypes.c_void_p) for name in ("x", "other", "weight", "bias", *_OF_GATES)),
        *((name, ctypes.c_void_p) for name in ("running_mean", "running_variance")),
        *((name, ctypes.c_void_p) for name in ("y", "mean", "variance", "sample_mean", "scale", "shift")),
    ]


class _NormGradient(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("y", "x", "other", "weight", "bias", *_OF_GATES)]


# Stage and StageGradient of table.h; building them field by field takes longer than small convolutions.
_STAGE = struct.Struct(f"2q{len(_Geometry._fields_)}q2P6q2d16P")
_STAGE_GRADIENT = struct.Struct("4P6P")


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


def readable(tensor: Tensor | None, shape: Sequence[int]) -> bool:
    """Whether the kernels that know one type can read it once it is contiguous: float32 on a CPU, of this shape."""
    return tensor is not None and tensor.dtype is torch.float32 and tensor.is_cpu and tensor.shape == tuple(shape)


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
        out: the tensor that is filled.
        input_shape: shape of the convolution's input.
        output_shape: shape of the convolution's output.
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
        out: the tensor that is filled.
        rows: number of rows of x and of the gradient.
        inputs: columns of x.
        outputs: columns of the gradient.
    """
    size = (ctypes.c_int64(count) for count in (rows, inputs, outputs))
    _library().vidnas_pointwise(kind, *size, *_pointers(first, second, out), torch.get_num_threads())
    return out


# act, of_batch, eps and momentum of a norm.
Settings = tuple[str | None, bool, float, float]


class Norm(NamedTuple):
    """Tensors and settings of act(gates(norm(x)) + other), as in table.h.

    Going back, y is given only where the sign of ReLU's input cannot be told from x; `other` and `running` are not.
    `found` holds mean and variance (C), scale and shift (N, C), and with gates the means of each sample (N, C).
    """

    x: Tensor
    y: Tensor | None
    other: Tensor | None
    parameters: Sequence[Tensor]
    running: tuple[Tensor, Tensor] | None
    found: Tensor
    act: str | None
    of_batch: bool
    eps: float
    momentum: float

    def as_struct(self) -> "_Norm":
        """For C; the tensors must outlive it."""
        samples, channels, t, h, w = self.x.shape
        weight, bias, *of_gates = self.parameters
        mean = self.found.data_ptr()
        row, rows = _FLOAT_BYTES * channels, _FLOAT_BYTES * channels * samples
        scale = mean + 2 * row
        # In the order of table.h.
        return _Norm(
            samples,
            t * h * w,
            channels,
            len(of_gates[0]) if of_gates else 0,
            ACTS[self.act],
            self.of_batch,
            self.eps,
            self.momentum,
            self.x.data_ptr(),
            _pointer(self.other),
            weight.data_ptr(),
            bias.data_ptr(),
            *map(_pointer, of_gates or (None,) * len(_OF_GATES)),
            *map(_pointer, self.running or (None, None)),
            _pointer(self.y),
            mean,
            mean + row,
            scale + 2 * rows if of_gates else None,
            scale,
            scale + rows,
        )


def norm_forward(norm: Norm) -> None:
    """Fill y, scale and shift; mean, variance and running statistics where they are the batch's; sample_mean."""
    _library().vidnas_norm_forward(ctypes.byref(norm.as_struct()), torch.get_num_threads())


def norm_backward(
    norm: Norm, grad: Tensor, dx: Tensor | None, dother: Tensor | None, dparameters: Sequence[Tensor]
) -> None:
    """Fill the gradients from that of y."""
    gradient = _NormGradient(*map(_pointer, (grad, dx, dother, *dparameters)))
    _library().vidnas_norm_backward(ctypes.byref(norm.as_struct()), ctypes.byref(gradient), torch.get_num_threads())


class Stage(NamedTuple):
    """A convolution without bias and the norm of what it gives, as in table.h; without its tensors.

    `geometry` is that of a depthwise one: shapes of input and output, kernel, stride, padding. Others are pointwise.
    Memory of floats is named by its place in a buffer: `output` is the convolution's, `found` as in `Norm`.
    """

    geometry: tuple[int, ...] | None
    inputs: int
    samples: int
    positions: int
    channels: int
    squeezed: int
    output: int
    found: int

    def pack(
        self,
        settings: Settings,
        running: tuple[Tensor, Tensor] | None,
        buffer: int,
        parameters: Sequence[Tensor],
        y: int,
        other: int,
    ) -> bytes:
        """For C; the tensors must outlive it.

        Args:
            settings: as in `Norm`.
            running: statistics that are moved or, where they are not the batch's, read; then they are contiguous. None
                leaves the former alone, and reads the latter in the buffer.
            buffer: address of the buffer.
            parameters: weight of the convolution, weight and bias of the norm, those of the gates.
            y: address of the last stage's output, else 0.
            other: address of the shortcut, else 0.
        """
        act, of_batch, eps, momentum = settings
        weight, scale, bias, *gates = [parameter.data_ptr() for parameter in parameters]
        output, found = buffer + _FLOAT_BYTES * self.output, buffer + _FLOAT_BYTES * self.found
        row = _FLOAT_BYTES * self.channels
        rows, coefficients = row * self.samples, found + 2 * row
        moved, statistics = (0, 0), (found, found + row)
        if running is not None:
            pointers = running[0].data_ptr(), running[1].data_ptr()
            moved, statistics = (pointers, statistics) if of_batch else (moved, pointers)
        return _STAGE.pack(
            self.geometry is not None,
            self.inputs,
            *(self.geometry or _NO_GEOMETRY),
            weight,
            output,
            self.samples,
            self.positions,
            self.channels,
            self.squeezed,
            ACTS[act],
            of_batch,
            eps,
            momentum,
            output,
            other,
            scale,
            bias,
            *(gates or (0, 0, 0, 0)),
            *moved,
            y,
            *statistics,
            coefficients + 2 * rows if gates else 0,
            coefficients,
            coefficients + rows,
        )


def pack_gradients(of_parameters: Sequence[Tensor], y: int, other: int) -> bytes:
    """Where gradients of a stage's parameters go; of the last stage, addresses of those of y and of the shortcut."""
    weight, *of_norm = [gradient.data_ptr() for gradient in of_parameters]
    return _STAGE_GRADIENT.pack(weight, y, 0, other, *of_norm, *([0] * (6 - len(of_norm))))


def chain_forward(stages: Sequence[bytes], x: Tensor) -> None:
    """Fill all that the stages find, and the last one's y, from the input of the first convolution."""
    _library().vidnas_chain_forward(
        b"".join(stages), _COUNT(len(stages)), _POINTER(x.data_ptr()), torch.get_num_threads()
    )


def chain_backward(stages: Sequence[bytes], gradients: Sequence[bytes], x: Tensor, dx: Tensor | None) -> None:
    """Fill the gradients; where the shortcut's is `dx`, it is added to it. y is given as `Norm` says."""
    _library().vidnas_chain_backward(
        b"".join(stages),
        b"".join(gradients),
        _COUNT(len(stages)),
        _POINTER(x.data_ptr()),
        _POINTER(_pointer(dx)),
        torch.get_num_threads(),
    )


def _library() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the C++ kernels were not built")
    return loaded


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _pointers(*tensors: Tensor | None) -> tuple[ctypes.c_void_p | None, ...]:
    return tuple(None if tensor is None else ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
