"""The operator `vidnas::depthwise_conv3d`, differentiable any number of times.

The convolution is linear in its input and in its weight, so its two gradients are convolutions of the same kind, and so
are theirs: three operators whose gradients are each other.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from vidnas.nn.depthwise.backends import Backend, choose
from vidnas.nn.depthwise.shapes import output_shape

_NAMESPACE = "vidnas"


def depthwise_conv3d(
    x: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """F.conv3d(x, weight, stride=stride, padding=padding, groups=C), with a fast backward pass.

    Under autocast both tensors are cast to its type.

    Args:
        x: (N, C, T, H, W), any memory format; best channels_last_3d.
        weight: (C, 1, kt, kh, kw).
        stride: strides of t, h, w, or one for all.
        padding: zeros on both sides of t, h, w, or one for all.
        backend: `cpu` (C++), `torch` (no compiler), `triton` (CUDA) or `stock` force one; `auto` takes the fastest.

    Returns:
        (N, C, T', H', W') in channels_last_3d.

    Raises:
        ValueError: shapes, types or devices that do not go together.
        VidnasError: a forced backend that does not support the tensor.
    """
    steps, sides = _triple(stride), _triple(padding)
    if is_plain(x) and is_plain(weight):
        y: Tensor = _Depthwise.apply(x, weight, steps, sides, backend)
        return y
    return _forward(x, weight, steps, sides, backend)


def _triple(value: int | Sequence[int]) -> list[int]:
    return [value] * 3 if isinstance(value, int) else list(value)


@torch.library.custom_op(f"{_NAMESPACE}::depthwise_conv3d", mutates_args=())
def _forward(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], backend: str) -> Tensor:
    return _run_forward(x, weight, stride, padding, backend)


def _run_forward(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], backend: str) -> Tensor:
    _check(x, weight, stride, padding)
    if not x.numel():
        return _like(output_shape(x.shape, weight.shape[2:], stride, padding), x)
    _, passes = choose(backend, x, weight.shape[2:])
    return _last(passes.forward(_last(x), weight.contiguous(), stride, padding))


@torch.library.custom_op(f"{_NAMESPACE}::depthwise_conv3d_input_gradient", mutates_args=())
def _input_gradient(
    grad: Tensor,
    weight: Tensor,
    input_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    backend: str,
) -> Tensor:
    return _run_input_gradient(grad, weight, input_shape, stride, padding, backend)


def _run_input_gradient(
    grad: Tensor,
    weight: Tensor,
    input_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    backend: str,
) -> Tensor:
    if not grad.numel():
        return _like(input_shape, grad).zero_()
    _, passes = choose(backend, grad, weight.shape[2:])
    return _last(passes.input_gradient(_last(grad), weight.contiguous(), input_shape, stride, padding))


@torch.library.custom_op(f"{_NAMESPACE}::depthwise_conv3d_weight_gradient", mutates_args=())
def _weight_gradient(
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    backend: str,
) -> Tensor:
    return _run_weight_gradient(grad, x, kernel, stride, padding, backend)


def _run_weight_gradient(
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    backend: str,
) -> Tensor:
    if not grad.numel():
        return x.new_zeros((x.shape[1], 1, *kernel))
    _, passes = choose(backend, x, kernel)
    return passes.weight_gradient(_last(grad), _last(x), kernel, stride, padding).contiguous()


@_forward.register_fake
def _(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], backend: str) -> Tensor:
    _check(x, weight, stride, padding)
    return _like(output_shape(x.shape, weight.shape[2:], stride, padding), x)


@_input_gradient.register_fake
def _(
    grad: Tensor,
    weight: Tensor,
    input_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    backend: str,
) -> Tensor:
    return _like(input_shape, grad)


@_weight_gradient.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    backend: str,
) -> Tensor:
    return x.new_empty((x.shape[1], 1, *kernel))


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.settings = inputs[2:]


def _forward_backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    x, weight = ctx.saved_tensors
    stride, padding, backend = ctx.settings
    # Without a graph of the gradients the operators' dispatch would only cost time.
    plain = not torch.is_grad_enabled() and is_plain(grad)
    of_input = _run_input_gradient if plain else _input_gradient
    of_weight = _run_weight_gradient if plain else _weight_gradient
    dx = dweight = None
    if ctx.needs_input_grad[0]:
        dx = of_input(grad, weight, x.shape, stride, padding, backend)
    if ctx.needs_input_grad[1]:
        dweight = of_weight(grad, x, weight.shape[2:], stride, padding, backend)
    return dx, dweight, None, None, None


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is only computed with: nobody traces, transforms or watches the operators."""
    return (
        not torch.compiler.is_compiling()
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.device.type in ("cpu", "cuda")
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._len_torch_dispatch_stack()
        and not torch.is_autocast_enabled(tensor.device.type)
    )


class _Depthwise(torch.autograd.Function):
    """The operator without the dispatcher, which takes as long as a small convolution."""

    @staticmethod
    def forward(ctx, x, weight, stride, padding, backend):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, backend
        return _run_forward(x, weight, stride, padding, backend)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _forward_backward(ctx, grad)


def _input_gradient_backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    outer, weight = ctx.saved_tensors
    _, stride, padding, backend = ctx.settings
    douter = dweight = None
    if ctx.needs_input_grad[0]:
        douter = _forward(grad, weight, stride, padding, backend)
    if ctx.needs_input_grad[1]:
        dweight = _weight_gradient(outer, grad, weight.shape[2:], stride, padding, backend)
    return douter, dweight, None, None, None, None


def _weight_gradient_backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    outer, x = ctx.saved_tensors
    _, stride, padding, backend = ctx.settings
    douter = dx = None
    if ctx.needs_input_grad[0]:
        douter = _forward(x, grad, stride, padding, backend)
    if ctx.needs_input_grad[1]:
        dx = _input_gradient(outer, grad, x.shape, stride, padding, backend)
    return douter, dx, None, None, None, None


_forward.register_autograd(_forward_backward, setup_context=_keep)
_input_gradient.register_autograd(_input_gradient_backward, setup_context=_keep)
_weight_gradient.register_autograd(_weight_gradient_backward, setup_context=_keep)


@register_flop_formula(torch.ops.vidnas.depthwise_conv3d)
def _forward_flops(x_shape, weight_shape, *_, out_shape=None, **__) -> int:  # type: ignore[no-untyped-def]
    """For PyTorch's FLOP counter: two for each tap of each output, as for its own convolution."""
    return 2 * prod(out_shape) * prod(weight_shape[2:])


@register_flop_formula(torch.ops.vidnas.depthwise_conv3d_input_gradient)
def _input_gradient_flops(grad_shape, weight_shape, *_, **__) -> int:  # type: ignore[no-untyped-def]
    return 2 * prod(grad_shape) * prod(weight_shape[2:])


@register_flop_formula(torch.ops.vidnas.depthwise_conv3d_weight_gradient)
def _weight_gradient_flops(grad_shape, x_shape, kernel, *_, **__) -> int:  # type: ignore[no-untyped-def]
    return 2 * prod(grad_shape) * prod(kernel)


def _register_autocast(device: str) -> None:
    """Cast to the type that is active: `torch.library.register_autocast` knows only one, fixed beforehand."""

    def cast(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], backend: str) -> Tensor:
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return _forward(_cast(x, dtype), _cast(weight, dtype), stride, padding, backend)

    torch.library.impl(f"{_NAMESPACE}::depthwise_conv3d", f"Autocast{device.upper()}", func=cast)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype is torch.float64 else tensor.to(dtype)


_register_autocast("cpu")
_register_autocast("cuda")


def _check(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> None:
    if x.dim() != 5 or weight.dim() != 5 or weight.shape[:2] != (x.shape[1], 1):
        raise ValueError(
            f"depthwise_conv3d takes x (N, C, T, H, W) and weight (C, 1, kt, kh, kw), not {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if x.dtype != weight.dtype or x.device != weight.device:
        raise ValueError(f"depthwise_conv3d: x is {x.dtype} on {x.device}, weight {weight.dtype} on {weight.device}")
    if not x.dtype.is_floating_point:
        raise ValueError(f"depthwise_conv3d takes floating point tensors, not {x.dtype}")
    if len(stride) != 3 or len(padding) != 3 or min(stride) < 1 or min(padding) < 0:
        raise ValueError(f"depthwise_conv3d: stride {list(stride)} and padding {list(padding)} must be three each")
    if min(output_shape(x.shape, weight.shape[2:], stride, padding)[2:]) < 1:
        raise ValueError(
            f"depthwise_conv3d: a kernel of {tuple(weight.shape[2:])} with padding {list(padding)} does not fit into "
            f"{tuple(x.shape[2:])}"
        )


def _last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last_3d)


def _like(shape: Sequence[int], tensor: Tensor) -> Tensor:
    return torch.empty(tuple(shape), dtype=tensor.dtype, device=tensor.device, memory_format=torch.channels_last_3d)
