"""Batch norm with all that follows it in a block, in two passes over the tensor forwards and two backwards.

Norm and gates are one affine map per sample and channel, act(x * scale + shift + other), whose coefficients follow from
the moments of x by arithmetic on (N, C) numbers. Autograd differentiates that arithmetic; the kernels do the rest.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from vidnas.nn import native
from vidnas.nn.depthwise import Backend

Act = Literal["relu", "swish"]
_ACTS: dict[Act, Callable[..., Tensor]] = {"relu": F.relu, "swish": F.silu}


class SqueezeExcite(nn.Module):
    """Channel gates from the global mean. Linear layers: at one position a 1 x 1 x 1 convolution is a matmul."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, squeezed)
        self.expand = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> the same, gated."""
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3, 4))))))
        return x * gate[:, :, None, None, None]


def gates(mean: Tensor, reduce: Tensor, reduce_bias: Tensor, expand: Tensor, expand_bias: Tensor) -> Tensor:
    """`SqueezeExcite` from means (N, C) to gates (N, C), on given parameters."""
    return torch.sigmoid(F.linear(F.relu(F.linear(mean, reduce, reduce_bias)), expand, expand_bias))


def norm_act(
    norm: nn.Module,
    x: Tensor,
    act: Act | None = None,
    *,
    se: SqueezeExcite | None = None,
    other: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """act(se(norm(x)) + other).

    The fused form needs a channels_last_3d float32 tensor on a CPU, the compiled kernels, and eager mode; whatever else
    comes, modules run one after another. It can be differentiated once.

    Args:
        norm: nn.BatchNorm3d, or nn.Identity where the norm was folded away.
        x: (N, C, T, H, W).
        act: what follows.
        se: gates between norm and activation.
        other: shortcut, added before the activation; not with swish.
        backend: `stock` never fuses.
    """
    if backend != "stock" and isinstance(norm, nn.BatchNorm3d) and _fusible(x, other):
        return _fused(norm, x, act, se, other)
    x = norm(x)
    if se is not None:
        x = se(x)
    if other is not None:
        x = x + other
    return x if act is None else _ACTS[act](x, inplace=not x.is_leaf)


def _fusible(x: Tensor, other: Tensor | None) -> bool:
    return (
        all(
            tensor.device.type == "cpu"
            and tensor.dtype is torch.float32
            and tensor.is_contiguous(memory_format=torch.channels_last_3d)
            for tensor in (x, other)
            if tensor is not None
        )
        and x.numel() > 0
        and native.library() is not None
        and not torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
    )


class _Moments(NamedTuple):
    """Of x per sample and channel: (N, C) each."""

    mean: Tensor
    squares: Tensor


class _Affine(NamedTuple):
    """Scale and shift (N, C); mean and variance (C,) of the batch where the norm used them."""

    scale: Tensor
    shift: Tensor
    statistics: tuple[Tensor, Tensor] | None


def _coefficients(
    norm: nn.BatchNorm3d, moments: _Moments | None, like: Tensor, parameters: Sequence[Tensor]
) -> _Affine:
    """From moments and parameters (norm's weight and bias, then those of the gates) to the affine map."""
    weight, bias, *of_gates = parameters
    statistics = None
    positions = like[0, 0].numel()
    if norm.training or norm.running_mean is None:
        assert moments is not None
        mean = moments.mean.mean(0)
        squares = moments.squares.sum(0) + positions * (moments.mean - mean).square().sum(0)
        variance = squares / (len(like) * positions)
        statistics = mean, variance
    else:
        assert norm.running_var is not None
        mean, variance = norm.running_mean, norm.running_var
    scale = weight * (variance + norm.eps).rsqrt()
    shift = bias - mean * scale
    if of_gates:
        assert moments is not None
        gate = gates(moments.mean * scale + shift, *of_gates)
        return _Affine(scale * gate, shift * gate, statistics)
    shape = like.shape[:2]
    return _Affine(scale.expand(shape), shift.expand(shape), statistics)


def _fused(norm: nn.BatchNorm3d, x: Tensor, act: Act | None, se: SqueezeExcite | None, other: Tensor | None) -> Tensor:
    needs_moments = norm.training or norm.running_mean is None or se is not None
    parameters = (norm.weight, norm.bias, *(se.parameters() if se is not None else ()))

    def coefficients(moments: _Moments | None, parameters: Sequence[Tensor]) -> _Affine:
        return _coefficients(norm, moments, x, parameters)

    y, *statistics = _NormAct.apply(x, other, act, needs_moments, coefficients, *parameters)
    if norm.training and norm.running_mean is not None:
        _update_running(norm, statistics[0], statistics[1], x.numel() // x.shape[1])
    return y


@torch.no_grad()
def _update_running(norm: nn.BatchNorm3d, mean: Tensor, variance: Tensor, count: int) -> None:
    """As nn.BatchNorm3d: an exponential average, or a plain one where momentum is None."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    if norm.momentum is None:
        assert norm.num_batches_tracked is not None
        momentum = 1.0 / float(norm.num_batches_tracked)
    else:
        momentum = norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), momentum)


def _keep(tensor: Tensor) -> Tensor:
    """Not the tensor itself: what an operation keeps of its own output would hold the operation, and so never go."""
    return tensor.detach()


class _NormAct(torch.autograd.Function):
    """(x, other, parameters) -> y, and the batch's mean and variance where the norm used them."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx: Any,
        x: Tensor,
        other: Tensor | None,
        act: Act | None,
        needs_moments: bool,
        coefficients: Callable[[_Moments | None, Sequence[Tensor]], _Affine],
        *parameters: Tensor,
    ):
        moments = _Moments(*native.moments(x)) if needs_moments else None
        # A graph of its own for the arithmetic on (N, C), from leaves that stand for moments and parameters. It keeps
        # its few numbers itself: under activation checkpointing they would be recomputed once more.
        if any(ctx.needs_input_grad):
            with torch.enable_grad(), saved_tensors_hooks(_keep, _keep):
                moments = None if moments is None else _Moments(*(m.requires_grad_() for m in moments))
                leaves = [p.detach().requires_grad_() for p in parameters]
                affine: _Affine = coefficients(moments, leaves)
            ctx.leaves, ctx.roots = [*(moments or ()), *leaves], (affine.scale, affine.shift)
        else:
            affine = coefficients(moments, parameters)
        scale, shift = affine.scale.detach().contiguous(), affine.shift.detach().contiguous()
        y = native.affine_act(x, scale, shift, act, other)
        # With a shortcut the sign of ReLU's input is not known from x; it is that of the output.
        ctx.save_for_backward(x, y if other is not None and act else None, scale, shift)
        ctx.act, ctx.has_other, ctx.has_moments = act, other is not None, moments is not None
        statistics = tuple(value.detach() for value in affine.statistics or ())
        ctx.mark_non_differentiable(*statistics)
        return y, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor):  # type: ignore[no-untyped-def]
        x, y, scale, shift = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        dscale, dshift = native.affine_act_reduce(x, y, scale, shift, ctx.act, grad)
        # The graph stays for a second backward pass through a graph that is kept.
        inner = torch.autograd.grad(ctx.roots, ctx.leaves, (dscale, dshift), retain_graph=True, allow_unused=True)
        mean = slope = offset = torch.zeros_like(scale)
        if ctx.has_moments:
            dmean, dsquares, *inner = inner
            mean, offset = ctx.leaves[0].detach(), dmean / x[0, 0].numel()
            slope = torch.zeros_like(scale) if dsquares is None else 2 * dsquares
        dother = torch.empty_like(grad) if ctx.has_other and ctx.needs_input_grad[1] and ctx.act else None
        dx = native.affine_act_gradient(x, y, scale, shift, ctx.act, grad, mean, slope, offset, dother)
        if ctx.has_other and not ctx.act:
            dother = grad
        return dx, dother, None, None, None, *inner
