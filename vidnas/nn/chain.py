"""Convolutions with their norms, one after another, in one node of autograd.

What lies between a norm and the next convolution is in no memory but a cache, forwards and backwards
(vidnas/nn/native/chain.cpp). Kept for the backward pass are what the convolutions wrote.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vidnas.nn import native
from vidnas.nn.depthwise import Backend, DepthwiseConv3d
from vidnas.nn.depthwise.backends import choose
from vidnas.nn.depthwise.op import is_plain
from vidnas.nn.depthwise.shapes import output_shape
from vidnas.nn.norm_act import Act, Settings, SqueezeExcite, is_map, norm_act, parameters_of, settings_of, suits
from vidnas.nn.pointwise import PointwiseConv3d


class Layer(NamedTuple):
    """act(se(norm(conv(x)))).

    Attributes:
        conv: the convolution.
        norm: nn.BatchNorm3d, or nn.Identity where it was folded away.
        act: the activation that follows.
        se: gates between norm and activation.
    """

    conv: nn.Conv3d
    norm: nn.Module
    act: Act | None = None
    se: SqueezeExcite | None = None


def run_chain(x: Tensor, layers: Sequence[Layer], *, other: Tensor | None = None, backend: Backend = "auto") -> Tensor:
    """One layer after another; `other`, a shortcut, is added before the last activation.

    Fused for channels_last_3d float32 tensors on a CPU with the compiled kernels, in eager mode and without hooks on
    the convolutions; whatever else comes, layers run by themselves. The fused form can be differentiated once.

    Args:
        x: (N, C, T, H, W).
        layers: first to last.
        other: of the last layer's shape; with swish never fused.
        backend: `stock` never fuses.
    """
    plan = _plan(x, layers, other) if backend != "stock" else None
    if plan is not None:
        return _fused(x, layers, plan, other)
    *inner, last = layers
    for layer in inner:
        x = norm_act(layer.norm, layer.conv(x), layer.act, se=layer.se, backend=backend)
    return norm_act(last.norm, last.conv(x), last.act, se=last.se, other=other, backend=backend)


class _Geometry(NamedTuple):
    """What a layer's shapes follow from."""

    depthwise: bool
    channels: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    squeezed: int


class _Plan(NamedTuple):
    """A chain for one shape of input.

    Attributes:
        stages: its layers.
        shape: of the output.
        size: of the buffer, in floats.
    """

    stages: list[native.Stage]
    shape: tuple[int, ...]
    size: int


@lru_cache(maxsize=4096)
def _lay_out(shape: tuple[int, ...], layers: tuple[_Geometry, ...]) -> tuple[_Plan, list[tuple[int, ...]]] | None:
    """The plan, and the shape of what each convolution writes; None where nothing is left, or no passes exist."""
    stages, shapes, size = [], [], 0
    for i, layer in enumerate(layers):
        samples, inputs, *sides = shape
        if not layer.depthwise and i and max(layer.stride) > 1:
            return None
        after = (samples, layer.channels, *output_shape(shape, layer.kernel, layer.stride, layer.padding)[2:])
        if min(after) < 1:
            return None
        geometry = None
        if layer.depthwise:
            geometry = (samples, inputs, *sides, *after[2:], *layer.kernel, *layer.stride, *layer.padding)
        found = (2 + (3 if layer.squeezed else 2) * samples) * layer.channels  # see native.Norm
        places = size, size + _aligned(found)
        positions = prod(after[2:])
        stages.append(
            native.Stage(geometry, inputs, samples, positions, layer.channels, layer.squeezed, places[1], places[0])
        )
        size = places[1] + _aligned(prod(after))
        shape = after
        shapes.append(after)
    return _Plan(stages, shape, size), shapes


def _aligned(count: int) -> int:
    """Floats that fill whole cache lines."""
    return -(-count // 16) * 16


def _plan(x: Tensor, layers: Sequence[Layer], other: Tensor | None) -> _Plan | None:
    """How the kernels compute the chain, if they do; what PyTorch refuses must come to PyTorch."""
    if (
        torch.compiler.is_compiling()  # first: the compiler cannot look for files
        or torch.compiler.is_exporting()
        or native.library() is None
        or x.dim() != 5
        or not is_map(x, x.shape)
        or not is_plain(x)
        or torch.nn.modules.module._has_any_global_hook()
        or not all(map(_runs, layers))
    ):
        return None
    laid_out = _lay_out(tuple(x.shape), tuple(map(_geometry, layers)))
    if laid_out is None:
        return None
    plan, shapes = laid_out
    inputs = x.shape[1]
    for layer, shape in zip(layers, shapes, strict=True):
        conv, norm = layer.conv, layer.norm
        assert isinstance(norm, nn.BatchNorm3d)
        inner = 1 if isinstance(conv, DepthwiseConv3d) else inputs
        fits = conv.in_channels == inputs and native.readable(conv.weight, (shape[1], inner, *conv.kernel_size))
        if not fits or not suits(norm, shape, layer.se):
            return None
        inputs = shape[1]
    fits = other is None or (layers[-1].act != "swish" and is_map(other, plan.shape))
    return plan if fits else None


def _runs(layer: Layer) -> bool:
    """Whether the kernels know the convolution and the norm, and nobody looks on."""
    conv = layer.conv
    if type(conv) is DepthwiseConv3d:
        known = conv.backend in ("auto", "cpu") and choose(conv.backend, conv.weight, conv.kernel_size)[0] == "cpu"
    else:
        known = type(conv) is PointwiseConv3d and conv.backend != "stock"
    hooks = conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks or conv._backward_pre_hooks
    # What else keeps a tensor from being plain holds for all alike, and the input has been looked at.
    plain = type(conv.weight) in (Tensor, nn.Parameter)
    return known and isinstance(layer.norm, nn.BatchNorm3d) and not hooks and conv.bias is None and plain


def _geometry(layer: Layer) -> _Geometry:
    conv = layer.conv
    assert not isinstance(conv.padding, str)
    squeezed = len(layer.se.reduce.weight) if layer.se is not None else 0
    depthwise = isinstance(conv, DepthwiseConv3d)
    return _Geometry(depthwise, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, squeezed)


def _fused(x: Tensor, layers: Sequence[Layer], plan: _Plan, other: Tensor | None) -> Tensor:
    first, is_input = plan.stages[0], other is x
    if first.geometry is None and layers[0].conv.stride != (1, 1, 1):
        _, h, w = layers[0].conv.stride
        x = _Strided.apply(x, h, w)
    settings, parameters = [], []
    for layer in layers:
        assert isinstance(layer.norm, nn.BatchNorm3d)
        settings.append(settings_of(layer.norm, layer.act))
        parameters.append((layer.conv.weight, *parameters_of(layer.norm, layer.se)))
    counts, flat = tuple(map(len, parameters)), [p for own in parameters for p in own]
    # Nothing goes back, and no forward derivative along, which a node would refuse.
    if not torch.is_grad_enabled() and torch.autograd.forward_ad._current_level < 0:
        return _compute(plan, settings, counts, x, other, flat, kept=False)[0]
    y: Tensor = _Chain.apply(plan, settings, counts, is_input, x, None if is_input else other, *flat)
    return y


def _compute(
    plan: _Plan,
    settings: Sequence[Settings],
    counts: Sequence[int],
    x: Tensor,
    shortcut: Tensor | None,
    parameters: Sequence[Tensor],
    *,
    kept: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The output, the buffer, and the parameters as the kernels read them; with `kept` they serve a backward pass."""
    parameters = [parameter.contiguous() for parameter in parameters]
    y = torch.empty(plan.shape, memory_format=torch.channels_last_3d)
    buffer = torch.empty(plan.size)
    ends = y.data_ptr(), 0 if shortcut is None else shortcut.data_ptr()
    stages, last = [], plan.stages[-1]
    for stage, own, (values, running) in zip(plan.stages, _by_layer(parameters, counts), settings, strict=True):
        if kept and not values[1]:
            assert running is not None
            # Training may move them before the backward pass.
            torch.cat(running, out=buffer[stage.found : stage.found + 2 * stage.channels])
            running = None
        stages.append(stage.pack(values, running, buffer.data_ptr(), own, *(ends if stage is last else (0, 0))))
    native.chain_forward(stages, x)
    return y, buffer, parameters


def _by_layer(tensors: Sequence[Tensor], counts: Sequence[int]) -> list[Sequence[Tensor]]:
    first, layers = 0, []
    for count in counts:
        layers.append(tensors[first : first + count])
        first += count
    return layers


class _Strided(torch.autograd.Function):
    """(x, h, w) -> every h-th row and w-th column; slices would fill two tensors with zeros on their way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: int, w: int) -> Tensor:
        ctx.shape, ctx.steps = x.shape, (h, w)
        return x[..., ::h, ::w].contiguous(memory_format=torch.channels_last_3d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        h, w = ctx.steps
        dx = torch.empty(ctx.shape, memory_format=torch.channels_last_3d).zero_()
        dx[..., ::h, ::w] = grad
        return dx, None, None


class _Chain(torch.autograd.Function):
    """(plan, settings, numbers of parameters, whether the shortcut is x, x, another shortcut, parameters) -> y."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: _Plan,
        settings: Sequence[Settings],
        counts: Sequence[int],
        is_input: bool,
        x: Tensor,
        other: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        shortcut = x if is_input else other
        y, buffer, read = _compute(plan, settings, counts, x, shortcut, parameters, kept=True)
        # With a shortcut the sign of ReLU's input is not known from what it was added to; it is that of the output.
        signs = y if shortcut is not None and settings[-1].values[0] is not None else None
        ctx.save_for_backward(x, signs, buffer, *read)
        ctx.plan, ctx.settings, ctx.counts = plan, settings, counts
        ctx.is_input, ctx.has_other = is_input, other is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, signs, buffer, *parameters = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        gradients = [torch.empty_like(parameter) for parameter in parameters]
        dx = torch.empty_like(x) if ctx.needs_input_grad[4] else None
        # Without an activation the shortcut's gradient is that of the output.
        dother = grad if ctx.has_other else None
        filled = dx if ctx.is_input and signs is not None else None
        if signs is not None and ctx.needs_input_grad[5]:
            dother = filled = torch.empty_like(grad)
        stages, of_stages, last = [], [], ctx.plan.stages[-1]
        groups = _by_layer(parameters, ctx.counts), _by_layer(gradients, ctx.counts), ctx.settings
        for stage, own, of_own, (values, _) in zip(ctx.plan.stages, *groups, strict=True):
            y = back = of_other = 0
            if stage is last:
                y, back = 0 if signs is None else signs.data_ptr(), grad.data_ptr()
                of_other = 0 if filled is None else filled.data_ptr()
            stages.append(stage.pack(values, None, buffer.data_ptr(), own, y, 0))
            of_stages.append(native.pack_gradients(of_own, back, of_other))
        native.chain_backward(stages, of_stages, x, dx)
        if ctx.is_input and signs is None and dx is not None:
            dx += grad
        return None, None, None, None, dx, dother, *gradients
