"""Batch norm with all that follows it in a block, in two passes over the tensor forwards and two backwards.

Norm and gates are one affine map per sample and channel, act(x * scale + shift + other), whose coefficients follow from
the moments of x by arithmetic on (N, C) numbers (vidnas/nn/native/norm_step.cpp).
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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

    The fused form needs channels_last_3d float32 tensors on a CPU, the compiled kernels, and eager mode; whatever else
    comes, modules run one after another, and refuse what PyTorch refuses. It can be differentiated once.

    Args:
        norm: nn.BatchNorm3d, or nn.Identity where the norm was folded away.
        x: (N, C, T, H, W).
        act: the activation that follows.
        se: gates between norm and activation.
        other: shortcut, added before the activation; with swish never fused.
        backend: `stock` never fuses.
    """
    if backend != "stock" and isinstance(norm, nn.BatchNorm3d) and _fusible(norm, x, act, se, other):
        return _fused(norm, x, act, se, other)
    x = norm(x)
    if se is not None:
        x = se(x)
    if other is not None:
        x = x + other
    return x if act is None else _ACTS[act](x, inplace=not x.is_leaf)


def _fusible(norm: nn.BatchNorm3d, x: Tensor, act: Act | None, se: SqueezeExcite | None, other: Tensor | None) -> bool:
    """Whether the kernels compute this; what PyTorch refuses must come to PyTorch."""
    return (
        not torch.compiler.is_compiling()  # first: the compiler cannot look for files
        and not torch.compiler.is_exporting()
        and native.library() is not None
        and x.dim() == 5
        and is_map(x, x.shape)
        and (other is None or (act != "swish" and is_map(other, x.shape)))
        and suits(norm, x.shape, se)
    )


def is_map(x: Tensor, shape: Sequence[int]) -> bool:
    """Whether the kernels can read a map, or a shortcut, of this shape (N, C, T, H, W) where it is."""
    return native.readable(x, shape) and x.is_contiguous(memory_format=torch.channels_last_3d)


def suits(norm: nn.BatchNorm3d, shape: Sequence[int], se: SqueezeExcite | None) -> bool:
    """Whether the kernels compute this norm, with these gates, of a map of this shape (N, C, T, H, W)."""
    return (
        _is_norm(norm, shape[1])
        and (se is None or _is_gate(se, shape[1]))
        and prod(shape) > (shape[1] if _of_batch(norm) else 0)  # one value per channel has no variance
    )


def _is_norm(norm: nn.BatchNorm3d, channels: int) -> bool:
    shape, mean, variance = (channels,), norm.running_mean, norm.running_var
    if not (native.readable(norm.weight, shape) and native.readable(norm.bias, shape)):
        return False
    if mean is None or variance is None:
        return mean is variance
    return (
        native.readable(mean, shape)
        and native.readable(variance, shape)
        # The kernels move and read them where they are.
        and mean.is_contiguous()
        and variance.is_contiguous()
    )


def _is_gate(se: SqueezeExcite, channels: int) -> bool:
    squeezed = len(se.reduce.weight)
    shapes = (squeezed, channels), (squeezed,), (channels, squeezed), (channels,)
    return squeezed > 0 and all(map(native.readable, _layers(se), shapes))


def _layers(se: SqueezeExcite) -> tuple[Tensor, ...]:
    return se.reduce.weight, se.reduce.bias, se.expand.weight, se.expand.bias


def _of_batch(norm: nn.BatchNorm3d) -> bool:
    return norm.training or norm.running_mean is None


class Settings(NamedTuple):
    """What the kernels need of a norm beside its parameters.

    `running` is read, or moved where the statistics are the batch's.
    """

    values: native.Settings
    running: tuple[Tensor, Tensor] | None


def settings_of(norm: nn.BatchNorm3d, act: Act | None) -> Settings:
    """Those of the pass to come, which is counted."""
    running, momentum = None, 0.0
    mean, variance = norm.running_mean, norm.running_var
    if mean is not None and variance is not None:
        if not norm.training or norm.track_running_stats:
            running = mean, variance
        if norm.training and norm.track_running_stats:
            momentum = _momentum(norm)
    return Settings((act, _of_batch(norm), norm.eps, momentum), running)


def parameters_of(norm: nn.BatchNorm3d, se: SqueezeExcite | None) -> tuple[Tensor, ...]:
    """Weight and bias of the norm, then those of the gates."""
    return norm.weight, norm.bias, *(_layers(se) if se is not None else ())


def _fused(norm: nn.BatchNorm3d, x: Tensor, act: Act | None, se: SqueezeExcite | None, other: Tensor | None) -> Tensor:
    y: Tensor = _NormAct.apply(x, other, settings_of(norm, act), *parameters_of(norm, se))
    return y


@torch.no_grad()
def _momentum(norm: nn.BatchNorm3d) -> float:
    """As nn.BatchNorm3d: an exponential average, or a plain one where momentum is None. Counts the batch."""
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    if norm.momentum is not None:
        return norm.momentum
    return 0.0 if norm.num_batches_tracked is None else 1.0 / float(norm.num_batches_tracked)


class _NormAct(torch.autograd.Function):
    """(x, other, settings, parameters) -> y; parameters are as in `parameters_of`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, other: Tensor | None, settings: Settings, *parameters: Tensor) -> Tensor:
        parameters = tuple(parameter.contiguous() for parameter in parameters)
        samples, channels = x.shape[:2]
        (act, of_batch, _, _), running = settings
        found = x.new_empty((2 + (3 if len(parameters) > 2 else 2) * samples) * channels)  # see native.Norm
        if not of_batch:
            assert running is not None
            torch.cat(running, out=found[: 2 * channels])  # training may move them before the backward pass
            running = None
        y = torch.empty_like(x)
        native.norm_forward(native.Norm(x, y, other, parameters, running, found, *settings.values))
        # With a shortcut the sign of ReLU's input is not known from x; it is that of the output.
        signs = y if other is not None and act is not None else None
        ctx.save_for_backward(x, signs, found, *parameters)
        ctx.settings, ctx.has_other = settings.values, other is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, signs, found, *parameters = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        norm = native.Norm(x, signs, None, parameters, None, found, *ctx.settings)
        dx = torch.empty_like(grad) if ctx.needs_input_grad[0] else None
        # Without an activation the shortcut's gradient is that of the output.
        dother = grad if ctx.has_other else None
        filled = torch.empty_like(grad) if signs is not None and ctx.needs_input_grad[1] else None
        dparameters = [torch.empty_like(parameter) for parameter in parameters]
        native.norm_backward(norm, grad, dx, filled, dparameters)
        return dx, dother if filled is None else filled, None, *dparameters
