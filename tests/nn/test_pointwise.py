"""Pointwise convolution as a matrix product."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.nn.pointwise import PointwiseConv3d


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((2, 24, 3, 7, 8), 54),
        ((1, 54, 13, 12, 12), 24),
        ((3, 7, 2, 5, 5), 3),
        ((1, 1, 1, 1, 1), 1),
        ((2, 20, 1, 1, 1), 33),
        ((1, 130, 2, 3, 3), 15),
        ((0, 4, 2, 3, 3), 5),
    ],
)
def test_equals_conv3d_in_float64(
    shape: tuple[int, ...], outputs: int, bias: bool, stride: int, threads: int, poisoned_memory: None
) -> None:
    torch.manual_seed(0)
    layer = PointwiseConv3d(shape[1], outputs, stride=stride, bias=bias)
    x = torch.randn(shape).to(memory_format=torch.channels_last_3d).requires_grad_()
    inputs = x, *layer.parameters()
    y = layer(x)
    grad = torch.randn_like(y)
    found = [y, *torch.autograd.grad(y, inputs, grad)]

    def exact(*values: Tensor) -> list[Tensor]:
        values = tuple(value.detach().double().requires_grad_() for value in values)
        y = F.conv3d(values[0], values[1], values[2] if bias else None, (1, stride, stride))
        return [y, *torch.autograd.grad(y, values, grad.double())]

    for value, right in zip(found, exact(*inputs), strict=True):
        # Sums of up to 2000 products in float32.
        torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=2e-5)


def test_a_result_beyond_the_caches_is_that_of_its_parts(threads: int, poisoned_memory: None) -> None:
    """It takes another way to memory."""
    torch.manual_seed(0)
    layer, x = PointwiseConv3d(24, 55), torch.randn(7, 24, 13, 59, 61).to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        y = layer(x)
        assert y.nbytes > 64 << 20 > y[:1].nbytes
        assert torch.equal(y, torch.cat([layer(sample) for sample in x.split(1)]))


def test_other_types_take_pytorchs_product() -> None:
    layer, x = PointwiseConv3d(6, 5), torch.randn(2, 6, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
    torch.testing.assert_close(layer.double()(x.double()), F.conv3d(x.double(), layer.weight))


def test_stays_in_channels_last_at_one_thread() -> None:
    """PyTorch's convolution leaves it there for the default format, and every layer behind is slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        y = PointwiseConv3d(6, 5)(torch.randn(2, 6, 3, 7, 8).to(memory_format=torch.channels_last_3d))
    finally:
        torch.set_num_threads(before)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


def wrong_bias(layer: PointwiseConv3d) -> PointwiseConv3d:
    layer.bias = nn.Parameter(torch.zeros(4))
    return layer


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (PointwiseConv3d(6, 5), (2, 7, 3, 4, 4)),
        (PointwiseConv3d(6, 5), (2, 5, 3, 4, 4)),
        (PointwiseConv3d(6, 5), (2, 6, 4, 4)),
        (PointwiseConv3d(6, 5).double(), (2, 6, 3, 4, 4)),
        (wrong_bias(PointwiseConv3d(6, 5, bias=True)), (2, 6, 3, 4, 4)),
    ],
)
def test_wrong_input_is_refused(layer: PointwiseConv3d, shape: tuple[int, ...]) -> None:
    """By PyTorch; the kernels would read channels that are not there."""
    with pytest.raises(RuntimeError):
        layer(torch.randn(shape))


def test_one_sample_without_a_batch_is_pytorchs() -> None:
    layer, x = PointwiseConv3d(6, 5), torch.randn(6, 3, 4, 4)
    torch.testing.assert_close(layer(x), F.conv3d(x, layer.weight))
