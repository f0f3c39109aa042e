"""Depthwise convolution by our C++ kernels (vidnas/nn/native): float32 and bfloat16, sums in float32."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vidnas.nn import native
from vidnas.nn.depthwise.shapes import output_shape
from vidnas.nn.native import instruction_set as instruction_set


def supports(x: Tensor) -> bool:
    """Whether the kernels were built and know the tensor's type."""
    return x.device.type == "cpu" and x.dtype in native.TYPES and native.library() is not None


def forward(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """See `Passes`."""
    kernel = weight.shape[2:]
    shape = output_shape(x.shape, kernel, stride, padding)
    return native.depthwise(native.FORWARD, x, weight, _empty(shape, x), x.shape, shape, kernel, stride, padding)


def input_gradient(
    grad: Tensor, weight: Tensor, input_shape: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """See `Passes`."""
    kernel, dx = weight.shape[2:], _empty(input_shape, grad)
    return native.depthwise(native.INPUT_GRADIENT, grad, weight, dx, input_shape, grad.shape, kernel, stride, padding)


def weight_gradient(
    grad: Tensor, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """See `Passes`."""
    dw = x.new_empty((x.shape[1], 1, *kernel))
    return native.depthwise(native.WEIGHT_GRADIENT, grad, x, dw, x.shape, grad.shape, kernel, stride, padding)


def _empty(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)
