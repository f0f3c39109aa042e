"""1 x 1 x 1 convolution as a matrix product over channels-last rows.

PyTorch sends it to a slow kernel at one thread, which also drops channels_last_3d and so slows every layer behind it;
and general matrix products are slow where one side is as narrow as the channels of these networks.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vidnas.nn import native
from vidnas.nn.depthwise import Backend


class PointwiseConv3d(nn.Conv3d):
    """nn.Conv3d with a kernel of 1 x 1 x 1; same parameters and state.

    In float32 on a CPU it runs on the compiled kernels, and can be differentiated once.

    Attributes:
        backend: `stock` uses PyTorch's convolution, as an exported program always does.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False) -> None:
        super().__init__(in_channels, out_channels, 1, stride=(1, stride, stride), bias=bias)
        self.backend: Backend = "auto"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T, H / stride, W / stride), channels_last_3d."""
        if self.backend == "stock" or x.dim() != 5 or torch.compiler.is_exporting():
            return super().forward(x)
        _, h, w = self.stride
        rows, weight = x.permute(0, 2, 3, 4, 1)[:, :, ::h, ::w], self.weight.flatten(1)
        if _has_kernel(rows, weight, self.bias):
            y = _Product.apply(rows, weight)
            y = y if self.bias is None else y + self.bias
        else:
            y = F.linear(rows, weight, self.bias)
        return y.permute(0, 4, 1, 2, 3)


def _has_kernel(rows: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the kernels compute this; what PyTorch refuses must come to PyTorch."""
    return (
        not torch.compiler.is_compiling()  # first: the compiler cannot look for files
        and native.library() is not None
        and native.readable(rows, (*rows.shape[:-1], weight.shape[-1]))
        and native.readable(weight, weight.shape)
        and (bias is None or native.readable(bias, weight.shape[:1]))
        and rows.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


class _Product(torch.autograd.Function):
    """(..., C) and (C', C) -> (..., C')."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        rows, weight = rows.contiguous(), weight.contiguous()
        ctx.save_for_backward(rows, weight)
        out = rows.new_empty((*rows.shape[:-1], len(weight)))
        return native.pointwise(native.FORWARD, rows, weight, out, *_sizes(rows, weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        grad, sizes = grad.contiguous(), _sizes(rows, weight)
        drows = dweight = None
        if ctx.needs_input_grad[0]:
            drows = native.pointwise(native.INPUT_GRADIENT, grad, weight, torch.empty_like(rows), *sizes)
        if ctx.needs_input_grad[1]:
            dweight = native.pointwise(native.WEIGHT_GRADIENT, grad, rows, torch.empty_like(weight), *sizes)
        return drows, dweight


def _sizes(rows: Tensor, weight: Tensor) -> tuple[int, int, int]:
    """Rows, columns in and columns out."""
    return rows.numel() // rows.shape[-1], rows.shape[-1], len(weight)
