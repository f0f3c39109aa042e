"""Our C++ kernels, if they were built: depthwise convolutions and norms over channels-last tensors, through ctypes.

The library has a plain C interface over pointers (entry.cpp) and knows nothing of PyTorch; this is the one place that
hands it the memory of tensors. Callers guarantee devices, types, shapes and memory formats, some by `readable`.
"""

import ctypes
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
_COUNT = ctypes.c_int64
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


class _Stage(ctypes.Structure):
    _fields_ = [
        ("depthwise", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("geometry", _Geometry),
        ("weight", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("norm", _Norm),
    ]


class _StageGradient(ctypes.Structure):
    _fields_ = [("weight", ctypes.c_void_p), ("norm", _NormGradient)]


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
    return (
        tensor is not None
        and tensor.dtype is torch.float32
        and tensor.device.type == "cpu"
        and tensor.shape == tuple(shape)
    )


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
    """A convolution without bias and the norm of what it gives, which is the norm's x; see table.h.

    `geometry` is that of a depthwise one: shapes of input and output, kernel, stride, padding. Without, it is pointwise.
    """

    geometry: Sequence[int] | None
    weight: Tensor
    norm: Norm

    def as_struct(self) -> "_Stage":
        """For C; the tensors must outlive it."""
        output, weight = self.norm.x.data_ptr(), self.weight.data_ptr()
        if self.geometry is None:
            return _Stage(0, self.weight.shape[1], _Geometry(), weight, output, self.norm.as_struct())
        return _Stage(1, self.weight.shape[0], _Geometry(*self.geometry), weight, output, self.norm.as_struct())


def chain_forward(stages: Sequence[Stage], x: Tensor) -> None:
    """Fill all that the norms hold, and the last one's y, from the input of the first convolution."""
    structs = (_Stage * len(stages))(*(stage.as_struct() for stage in stages))
    _library().vidnas_chain_forward(structs, _COUNT(len(stages)), *_pointers(x), torch.get_num_threads())


def chain_backward(
    stages: Sequence[Stage],
    x: Tensor,
    grad: Tensor,
    dx: Tensor | None,
    dother: Tensor | None,
    dparameters: Sequence[Sequence[Tensor]],
) -> None:
    """Fill the gradients from that of the last stage's y; where `dother` is `dx`, it is added to it.

    Args:
        stages: as in the forward pass; the last one's y is given as `Norm` says.
        x: input of the first convolution.
        grad: of the output.
        dx: of x, where it is wanted.
        dother: of the shortcut, where it is wanted and not `grad`.
        dparameters: of each stage's weight and its norm's parameters.
    """
    gradients = (_StageGradient * len(stages))()
    for struct, (weight, *parameters) in zip(gradients, dparameters, strict=True):
        struct.weight = weight.data_ptr()
        struct.norm = _NormGradient(None, None, None, *map(_pointer, parameters))
    gradients[-1].norm.y, gradients[-1].norm.other = grad.data_ptr(), _pointer(dother)
    structs = (_Stage * len(stages))(*(stage.as_struct() for stage in stages))
    _library().vidnas_chain_backward(
        structs, gradients, _COUNT(len(stages)), *_pointers(x, dx), torch.get_num_threads()
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
