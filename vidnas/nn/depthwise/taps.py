"""Depthwise convolution in terms of PyTorch operators that are fast on a CPU: no compiler needed.

The forward pass is the stock one. With stride 1 the input gradient is a forward pass with the kernel turned round.
Otherwise, and for the weight gradient, each temporal tap is a 2D convolution over frames; oneDNN has its backward pass.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vidnas.nn.depthwise import stock


def supports(x: Tensor) -> bool:
    """Every device and type."""
    return True


def forward(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """See `Passes`."""
    return stock.forward(x, weight, stride, padding)


def input_gradient(
    grad: Tensor, weight: Tensor, input_shape: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """See `Passes`."""
    turned = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
    if all(step == 1 for step in stride) and min(turned) >= 0:
        return F.conv3d(grad, weight.flip(2, 3, 4), None, 1, turned, 1, grad.shape[1])
    if stride[0] != 1:
        return stock.input_gradient(grad, weight, input_shape, stride, padding)
    n, channels, frames, height, width = input_shape
    dx = torch.zeros(tuple(input_shape), dtype=grad.dtype, device=grad.device).to(memory_format=torch.channels_last_3d)
    for tap, (outputs, inputs) in _spans(frames, grad.shape[2], weight.shape[2], padding[0]):
        part = _frames(grad[:, :, outputs])
        like = part.new_empty((len(part), height, width, channels)).permute(0, 3, 1, 2)
        share = _backward(part, like, weight[:, :, tap], stride, padding, 0)
        dx[:, :, inputs] += share.permute(0, 2, 3, 1).reshape(n, -1, height, width, channels).permute(0, 4, 1, 2, 3)
    return dx


def weight_gradient(
    grad: Tensor, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """See `Passes`."""
    if stride[0] != 1:
        return stock.weight_gradient(grad, x, kernel, stride, padding)
    dw = x.new_zeros((x.shape[1], 1, *kernel))
    for tap, (outputs, inputs) in _spans(x.shape[2], grad.shape[2], kernel[0], padding[0]):
        dw[:, :, tap] = _backward(
            _frames(grad[:, :, outputs]), _frames(x[:, :, inputs]), dw[:, :, tap], stride, padding, 1
        )
    return dw


def _spans(frames: int, outputs: int, kernel: int, padding: int) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """For each temporal tap the output frames that use it, and the input frames they use it on."""
    for tap in range(kernel):
        shift = tap - padding
        first, last = max(0, -shift), min(outputs, frames - shift)
        if first < last:
            yield tap, (slice(first, last), slice(first + shift, last + shift))


def _frames(x: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N * T, C, H, W) in channels_last."""
    n, c, t, h, w = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(n * t, h, w, c).permute(0, 3, 1, 2)


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], which: int
) -> Tensor:
    """Gradient of a 2D depthwise convolution: of its input (0) or its weight (1)."""
    wanted = [which == 0, which == 1, False]
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad, x, weight, None, list(stride[1:]), list(padding[1:]), [1, 1], False, [0, 0], x.shape[1], wanted
    )
    return gradients[which]
