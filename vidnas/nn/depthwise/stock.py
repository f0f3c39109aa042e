"""Depthwise convolution by PyTorch's own operator: every device and type, slow backwards."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def supports(x: Tensor) -> bool:
    """Always."""
    return True


def forward(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """See `Passes`."""
    return F.conv3d(x, weight, None, tuple(stride), tuple(padding), 1, x.shape[1])


def input_gradient(
    grad: Tensor, weight: Tensor, input_shape: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """See `Passes`."""
    like = torch.empty(tuple(input_shape), dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last_3d)
    return _backward(grad, like, weight, stride, padding)[0]


def weight_gradient(
    grad: Tensor, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """See `Passes`."""
    if x.device.type == "cpu" and x.dtype is torch.bfloat16:
        # In channels_last_3d some kernels and sizes get a gradient with uninitialised memory in it (torch 2.14).
        grad, x = grad.contiguous(), x.contiguous()
    return _backward(grad, x, x.new_empty((x.shape[1], 1, *kernel)), stride, padding, of_weight=True)[1]


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], *, of_weight: bool = False
) -> tuple[Tensor, Tensor]:
    wanted = [not of_weight, of_weight, False]
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, None, list(stride), list(padding), [1, 1, 1], False, [0, 0, 0], x.shape[1], wanted
    )
    return gradients[0], gradients[1]
