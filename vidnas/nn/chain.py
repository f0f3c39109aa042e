"""Convolutions with their norms, one after another, in one node of autograd.

What lies between a norm and the next convolution is in no memory but a cache, forwards and backwards
(vidnas/nn/native/chain.cpp). Kept for the backward pass are what the convolutions wrote.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vidnas.nn import native
from vidnas.nn.depthwise import Backend, DepthwiseConv3d
from vidnas.nn.depthwise.backends import choose
from vidnas.nn.depthwise.op import is_plain
from vidnas.nn.depthwise.shapes import output_shape
from vidnas.nn.norm_act import Act, Settings, SqueezeExcite, describe, is_map, norm_act, parameters_of, settings_of, suits
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

    Fused for channels_last_3d float32 tensors on a CPU with the compiled kernels, in eager mode and without hooks on the
    convolutions; whatever else comes, layers run by themselves. The fused form can be differentiated once.

    Args:
        x: (N, C, T, H, W).
        layers: first to last.
        other: of the last layer's shape; with swish never fused.
        backend: `stock` never fuses.
    """
    shapes = _shapes(x, layers, other) if backend != "stock" else None
    if shapes is not None:
        return _fused(x, layers, shapes, other)
    *inner, last = layers
    for layer in inner:
        x = norm_act(layer.norm, layer.conv(x), layer.act, se=layer.se, backend=backend)
    return norm_act(last.norm, last.conv(x), last.act, se=last.se, other=other, backend=backend)


def _shapes(x: Tensor, layers: Sequence[Layer], other: Tensor | None) -> list[tuple[int, ...]] | None:
    """The shape of what each convolution writes if the kernels compute the chain; what PyTorch refuses comes to it."""
    if (
        torch.compiler.is_compiling()  # first: the compiler cannot look for files
        or torch.compiler.is_exporting()
        or native.library() is None
        or x.dim() != 5
        or not is_map(x, x.shape)
        or not is_plain(x)
        or not x.numel()
    ):
        return None
    shapes: list[tuple[int, ...]] = []
    shape: tuple[int, ...] = tuple(x.shape)
    for layer in layers:
        conv = layer.conv
        if not (_is_convolution(conv, shape) and (isinstance(conv, DepthwiseConv3d) or not shapes or _dense(conv))):
            return None
        shape = (shape[0], conv.out_channels, *output_shape(shape, conv.kernel_size, conv.stride, conv.padding)[2:])
        if min(shape) < 1 or not isinstance(layer.norm, nn.BatchNorm3d) or not suits(layer.norm, shape, layer.se):
            return None
        shapes.append(shape)
    fits = other is None or (layers[-1].act != "swish" and is_map(other, shape))
    return shapes if fits else None


def _is_convolution(conv: nn.Conv3d, shape: Sequence[int]) -> bool:
    """Whether the kernels compute it of a map of this shape, and nobody looks on."""
    if isinstance(conv, DepthwiseConv3d):
        runs = conv.backend in ("auto", "cpu") and choose(conv.backend, conv.weight, conv.kernel_size)[0] == "cpu"
    else:
        runs = isinstance(conv, PointwiseConv3d) and conv.backend != "stock"
    inner = 1 if isinstance(conv, DepthwiseConv3d) else shape[1]
    return (
        runs
        and conv.bias is None
        and conv.in_channels == shape[1]
        and is_plain(conv.weight)
        and native.readable(conv.weight, (conv.out_channels, inner, *conv.kernel_size))
        and not (conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks or conv._backward_pre_hooks)
        and not torch.nn.modules.module._has_any_global_hook()
    )


def _dense(conv: nn.Conv3d) -> bool:
    return conv.stride == (1, 1, 1)


def _fused(x: Tensor, layers: Sequence[Layer], shapes: Sequence[tuple[int, ...]], other: Tensor | None) -> Tensor:
    first = layers[0].conv
    is_input = other is x
    if not isinstance(first, DepthwiseConv3d) and not _dense(first):
        _, h, w = first.stride
        x = x[..., ::h, ::w].contiguous(memory_format=torch.channels_last_3d)
    plans, parameters, before = [], [], tuple(x.shape)
    for layer, shape in zip(layers, shapes, strict=True):
        conv, norm = layer.conv, layer.norm
        assert isinstance(norm, nn.BatchNorm3d)
        geometry = None
        if isinstance(conv, DepthwiseConv3d):
            assert not isinstance(conv.padding, str)
            geometry = (*before, *shape[2:], *conv.kernel_size, *conv.stride, *conv.padding)
        plans.append(_Plan(geometry, shape, settings_of(norm, layer.act), 7 if layer.se is not None else 3))
        parameters += [conv.weight, *parameters_of(norm, layer.se)]
        before = shape
    y: Tensor = _Chain.apply(plans, is_input, x, None if is_input else other, *parameters)
    return y


class _Plan(NamedTuple):
    """A layer without its tensors."""

    geometry: tuple[int, ...] | None
    shape: tuple[int, ...]
    settings: Settings
    parameters: int


class _Chain(torch.autograd.Function):
    """(plans, whether the shortcut is x, x, another shortcut, parameters of all layers) -> y."""

    @staticmethod
    def forward(
        ctx: Any, plans: Sequence[_Plan], is_input: bool, x: Tensor, other: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        parameters = tuple(parameter.contiguous() for parameter in parameters)
        shortcut = x if is_input else other
        y = _empty(plans[-1].shape, x)
        stages, first = [], 0
        for plan in plans:
            is_last = plan is plans[-1]
            weight, *of_norm = parameters[first : first + plan.parameters]
            added = (y, shortcut) if is_last else (None, None)
            norm = describe(plan.settings, _empty(plan.shape, x), *added, of_norm)
            stages.append(native.Stage(plan.geometry, weight, norm))
            first += plan.parameters
        native.chain_forward(stages, x)
        # With a shortcut the sign of ReLU's input is not known from what it was added to; it is that of the output.
        signs = y if shortcut is not None and plans[-1].settings.act is not None else None
        kept = [tensor for stage in stages for tensor in (stage.norm.x, stage.norm.found)]
        ctx.save_for_backward(x, signs, *kept, *parameters)
        ctx.plans, ctx.is_input, ctx.has_other = plans, is_input, other is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, signs, *rest = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        plans: Sequence[_Plan] = ctx.plans
        kept, parameters = rest[: 2 * len(plans)], rest[2 * len(plans) :]
        stages, gradients, first = [], [], 0
        for i, plan in enumerate(plans):
            weight, *of_norm = parameters[first : first + plan.parameters]
            y = signs if i == len(plans) - 1 else None
            norm = native.Norm(kept[2 * i], y, None, of_norm, None, kept[2 * i + 1], *plan.settings[:-1])
            stages.append(native.Stage(plan.geometry, weight, norm))
            gradients.append([torch.empty_like(tensor) for tensor in (weight, *of_norm)])
            first += plan.parameters
        dx = torch.empty_like(x) if ctx.needs_input_grad[2] else None
        # Without an activation the shortcut's gradient is that of the output.
        dother = grad if ctx.has_other else None
        filled = dx if ctx.is_input else None
        if signs is not None and ctx.needs_input_grad[3]:
            dother = filled = torch.empty_like(grad)
        native.chain_backward(stages, x, grad, dx, filled, gradients)
        if ctx.is_input and signs is None and dx is not None:
            dx += grad
        return None, None, dx, dother, *(tensor for of_layer in gradients for tensor in of_layer)


def _empty(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(tuple(shape), dtype=like.dtype, memory_format=torch.channels_last_3d)
