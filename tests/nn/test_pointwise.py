"""Pointwise convolution as a matrix product."""

import pytest
import torch
import torch.nn.functional as F

from vidnas.nn.pointwise import PointwiseConv3d


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 6, 3, 7, 8), (1, 1, 1, 1, 1), (0, 4, 2, 3, 3)])
def test_equals_conv3d(shape: tuple[int, ...], bias: bool, stride: int) -> None:
    torch.manual_seed(0)
    layer = PointwiseConv3d(shape[1], 5, stride=stride, bias=bias).double()
    x = torch.randn(shape).double().to(memory_format=torch.channels_last_3d).requires_grad_()
    y, right = layer(x), F.conv3d(x, layer.weight, layer.bias, (1, stride, stride))
    inputs = (x, *layer.parameters())
    grad = torch.randn_like(right)
    torch.testing.assert_close(y, right)
    for ours, other in zip(torch.autograd.grad(y, inputs, grad), torch.autograd.grad(right, inputs, grad), strict=True):
        torch.testing.assert_close(ours, other)


def test_stays_in_channels_last_at_one_thread() -> None:
    """PyTorch's convolution leaves it there for the default format, and every layer behind is slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        y = PointwiseConv3d(6, 5)(torch.randn(2, 6, 3, 7, 8).to(memory_format=torch.channels_last_3d))
    finally:
        torch.set_num_threads(before)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
