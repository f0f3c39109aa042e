"""Chains of convolutions and norms against PyTorch's modules in float64: values, every gradient, running statistics."""

import copy
import random
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.arch.spec import Kernel
from vidnas.arch.units import BlockPlan
from vidnas.nn import native
from vidnas.nn.blocks import MBConv3D, conv3d
from vidnas.nn.chain import Layer, run_chain
from vidnas.nn.norm_act import SqueezeExcite

pytestmark = pytest.mark.skipif(native.library() is None, reason="installed without a C++ compiler")
ACTS = {None: lambda x: x, "relu": F.relu, "swish": F.silu}


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last_3d)


def random_norm(channels: int) -> nn.BatchNorm3d:
    norm = nn.BatchNorm3d(channels)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def random_layers(draw: random.Random, channels: int, side: int) -> tuple[list[Layer], list[int]]:
    """One to three layers, and the shape (C, S) of what they write."""
    layers: list[Layer] = []
    for i in range(draw.randint(1, 3)):
        act, se = draw.choice([None, "relu", "swish"]), draw.random() < 0.3
        if draw.random() < 0.5:
            stride = draw.randint(1, 2)
            kernel = Kernel(t=draw.choice([1, 3, 5]), s=draw.choice([1, 3, 5]))
            if kernel == Kernel(t=1, s=1):
                kernel = Kernel(t=3, s=1)
            conv = conv3d(channels, channels, kernel, stride=stride, groups=channels)
        else:
            stride, inputs = (draw.randint(1, 2) if i == 0 else 1), channels
            channels = draw.choice([1, 4, 9, 16, 18, 40, 54, 77])
            conv = conv3d(inputs, channels, stride=stride)
        side = (side - 1) // stride + 1
        layers.append(Layer(conv, random_norm(channels), act, SqueezeExcite(channels, 8) if se else None))
    return layers, [channels, side]


def plain(x: Tensor, layers: Sequence[Layer], other: Tensor | None) -> Tensor:
    """The definition."""
    for layer in layers:
        conv, norm = layer.conv, layer.norm
        x = norm(F.conv3d(x, conv.weight, None, conv.stride, conv.padding, 1, conv.groups))
        x = x if layer.se is None else layer.se(x)
        x = x if other is None or layer is not layers[-1] else x + other
        x = ACTS[layer.act](x)
    return x


def modules(layers: Sequence[Layer]) -> nn.ModuleList:
    return nn.ModuleList(module for layer in layers for module in layer[:2] + layer[3:] if module is not None)


def assert_equal(layers: Sequence[Layer], x: Tensor, other: Tensor | None, grad: Tensor, *, training: bool) -> None:
    """As the definition in float64, or nearly as near to it as that in float32."""
    found = []
    for dtype in (torch.float64, torch.float32, None):
        own = copy.deepcopy(list(layers))
        parts = modules(own).to(dtype or torch.float32).train(training)
        inputs = [t.to(dtype or torch.float32).detach().requires_grad_() for t in (x, other) if t is not None]
        added = None if other is None else inputs[0] if other is x else inputs[1]
        if dtype is None:
            y = run_chain(inputs[0], own, other=added)
            assert type(y.grad_fn).__name__ == "_ChainBackward"
        else:
            y = plain(inputs[0], own, added)
        wanted = [*(inputs[:1] if other is x else inputs), *parts.parameters()]
        found.append([y.detach(), *torch.autograd.grad(y, wanted, grad.to(y.dtype)), *parts.buffers()])
    for exact, stock, ours in zip(*found, strict=True):
        # Norms take most of some gradients away, all but rounding: hence the floor.
        allowed = max(4 * float((stock - exact).abs().max()), 2e-5 * float(exact.abs().max()), 1e-3)
        assert float((ours - exact).abs().max()) <= allowed


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_equals_plain_modules(seed: int, training: bool, threads: int, poisoned_memory: None) -> None:
    torch.manual_seed(seed)
    draw = random.Random(seed)
    samples, channels = draw.randint(1, 5), draw.choice([3, 4, 9, 18, 24])
    frames, side = draw.randint(1, 5), draw.randint(4, 20)
    layers, (out, out_side) = random_layers(draw, channels, side)
    x = channels_last(torch.randn(samples, channels, frames, side, side) + 0.5)
    shape = samples, out, frames, out_side, out_side
    other = None
    if layers[-1].act != "swish" and draw.random() < 0.6:
        other = x if shape == tuple(x.shape) else channels_last(torch.randn(shape))
    assert_equal(layers, x, other, channels_last(torch.randn(shape)), training=training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_without_gradients_values_and_statistics_are_the_same(seed: int, training: bool, poisoned_memory: None) -> None:
    torch.manual_seed(seed)
    layers, _ = random_layers(random.Random(seed), 9, 12)
    x = channels_last(torch.randn(3, 9, 4, 12, 12))
    modules(layers).train(training)
    first, second = copy.deepcopy(layers), copy.deepcopy(layers)
    y = run_chain(x, first)
    with torch.no_grad():
        assert torch.equal(run_chain(x, second), y)
    states = (modules(own).state_dict().values() for own in (layers, first, second))
    for before, one, two in zip(*states, strict=True):
        assert torch.equal(one, two)
        assert training or torch.equal(one, before)


def test_statistics_that_are_not_neighbours_in_memory() -> None:
    """The kernels would read what lies between."""
    layer = Layer(conv3d(6, 9), random_norm(9), "relu")
    x = channels_last(torch.randn(2, 6, 3, 4, 4))
    modules([layer]).eval()
    expected = run_chain(x, [layer])
    for name in ("running_mean", "running_var"):
        spread = torch.full((9, 2), float("nan"))
        spread[:, 0] = getattr(layer.norm, name)
        setattr(layer.norm, name, spread[:, 0])
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            torch.testing.assert_close(run_chain(x, [layer]), expected)


def test_forward_derivatives_are_refused_not_lost() -> None:
    network = block().eval()
    with torch.no_grad(), torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match="forward"):
        network(torch.autograd.forward_ad.make_dual(clip().detach(), torch.ones_like(clip())))


@pytest.mark.parametrize("act", [None, "relu"])
def test_its_own_input_as_shortcut(act: str | None, threads: int, poisoned_memory: None) -> None:
    torch.manual_seed(0)
    layers = [
        Layer(conv3d(9, 20), random_norm(20), "relu"),
        Layer(conv3d(20, 20, Kernel(t=3, s=3), groups=20), random_norm(20), "swish", SqueezeExcite(20, 8)),
        Layer(conv3d(20, 9), random_norm(9), act),  # type: ignore[arg-type]
    ]
    x, grad = (channels_last(torch.randn(3, 9, 4, 31, 31)) for _ in range(2))  # more than one piece of a sample
    assert_equal(layers, x, x, grad, training=True)


def block() -> MBConv3D:
    plan = BlockPlan(
        path="block",
        stream=0,
        group=0,
        frames=4,
        side=8,
        stride=1,
        in_channels=6,
        out_channels=6,
        hidden=14,
        kernel=Kernel(t=3, s=3),
        se_channels=8,
        shortcut="identity",
        activation="swish",
        depthwise=True,
    )
    torch.manual_seed(0)
    return MBConv3D(plan)


def clip() -> Tensor:
    return channels_last(torch.randn(2, 6, 4, 8, 8)).requires_grad_()


def test_a_block_is_one_node() -> None:
    x = clip()
    y = block()(x)
    assert type(y.grad_fn).__name__ == "_ChainBackward"
    (node, *_) = [edge for edge, _ in y.grad_fn.next_functions if edge is not None]  # type: ignore[union-attr]
    assert "AccumulateGrad" in type(node).__name__


def test_inputs_without_gradient_and_frozen_weights() -> None:
    first, x = block(), clip()
    second = copy.deepcopy(first)
    first.middle.weight.requires_grad_(False)
    first(x.detach()).sum().backward()
    second(x).sum().backward()
    assert first.middle.weight.grad is None
    for (name, one), two in zip(first.named_parameters(), second.parameters(), strict=True):
        assert name == "middle.weight" or torch.equal(one.grad, two.grad)  # type: ignore[arg-type]


def test_hooks_on_convolutions_are_called() -> None:
    network, seen = block(), []
    expected = network.eval()(clip())
    network.project.register_forward_hook(lambda *_: seen.append(1))
    y = network(clip())
    assert seen
    assert type(y.grad_fn).__name__ != "_ChainBackward"
    assert y.shape == expected.shape


@pytest.mark.parametrize("reason", ["type", "memory format", "autocast", "stock convolution", "asked"])
def test_what_cannot_be_fused_runs_layer_by_layer(reason: str) -> None:
    network, x = block().eval(), clip()
    expected = network(x)
    if reason == "type":
        network, x = network.double(), x.double()
    elif reason == "memory format":
        x = x.contiguous()
    elif reason == "stock convolution":
        network.expand.backend = "stock"
    elif reason == "asked":
        network.backend = "stock"
    with torch.autocast("cpu", torch.bfloat16, enabled=reason == "autocast"):
        y = network(x)
    assert type(y.grad_fn).__name__ != "_ChainBackward"
    tolerance = 0.1 if reason == "autocast" else 1e-5
    torch.testing.assert_close(y, expected, rtol=tolerance, atol=tolerance, check_dtype=False)


def test_second_gradients_are_refused() -> None:
    x = clip()
    (first,) = torch.autograd.grad(block()(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_kept_graph_runs_backward_again() -> None:
    network, x = block(), clip()
    loss = network(x).square().sum()
    first = torch.autograd.grad(loss, (x, *network.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, (x, *network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("wrong", ["channels of x", "weight", "norm"])
def test_wrong_shapes_are_refused(wrong: str) -> None:
    """The kernels would read what is not there."""
    network, x = block(), clip()
    if wrong == "channels of x":
        x = channels_last(torch.randn(2, 5, 4, 8, 8))
    elif wrong == "weight":
        network.expand.weight = nn.Parameter(torch.randn(14, 5, 1, 1, 1))
    else:
        network.expand_norm = nn.BatchNorm3d(13)
    with pytest.raises((RuntimeError, ValueError)):
        network(x)
