"""Which implementation of the depthwise convolution runs: by device, type and what is installed."""

import os
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from vidnas.base.errors import VidnasError
from vidnas.nn.depthwise import cpu, stock, taps, triton_backend

Backend = Literal["auto", "cpu", "torch", "triton", "stock"]
ENVIRONMENT_VARIABLE = "VIDNAS_DEPTHWISE"


class Passes(Protocol):
    """What a backend is: a module with these functions.

    Tensors are channels_last_3d, of one type and device, with at least one sample; the weight is contiguous.
    """

    def supports(self, x: Tensor) -> bool:
        """Whether it computes on this tensor's device and type."""
        ...

    def forward(self, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
        """(N, C, T, H, W), (C, 1, kt, kh, kw) -> (N, C, T', H', W')."""
        ...

    def input_gradient(
        self, grad: Tensor, weight: Tensor, input_shape: Sequence[int], stride: Sequence[int], padding: Sequence[int]
    ) -> Tensor:
        """Gradient of the input from that of the output."""
        ...

    def weight_gradient(
        self, grad: Tensor, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
    ) -> Tensor:
        """Gradient of the weight from that of the output."""
        ...


_BACKENDS: dict[str, Passes] = {"cpu": cpu, "torch": taps, "triton": triton_backend, "stock": stock}


def choose(name: str, x: Tensor, kernel: Sequence[int]) -> tuple[str, Passes]:
    """The backend for a tensor, by name.

    Args:
        name: `auto` takes what VIDNAS_DEPTHWISE names, else the fastest that supports the tensor; other names force.
        x: input or gradient.
        kernel: t, h, w.

    Raises:
        VidnasError: no such backend, or a forced one that does not support the tensor.
    """
    asked = os.environ.get(ENVIRONMENT_VARIABLE) or "auto" if name == "auto" else name
    if asked == "auto":
        asked = _fastest(x, kernel)
    elif asked not in _BACKENDS:
        raise VidnasError(f"depthwise backend {asked!r}: there are {', '.join(get_args(Backend))}")
    elif not _BACKENDS[asked].supports(x):
        raise VidnasError(
            f"depthwise backend {asked!r} does not compute {str(x.dtype).removeprefix('torch.')} on {x.device.type} "
            f"here{_reason(asked)}; leave the choice to 'auto'"
        )
    return asked, _BACKENDS[asked]


def _fastest(x: Tensor, kernel: Sequence[int]) -> str:
    if triton_backend.supports(x) and x.is_cuda:
        return "triton"
    if cpu.supports(x):
        return "cpu"
    # Each temporal tap is a pass over memory of its own: beyond 3x3x3 PyTorch's slow backward pass is no slower.
    if taps.supports(x) and x.device.type == "cpu" and kernel[0] <= 3 and kernel[1] == kernel[2] == 3:
        return "torch"
    return "stock"


def _reason(name: str) -> str:
    if name == "cpu" and cpu.instruction_set() is None:
        return " (vidnas was installed without a C++ compiler)"
    return ""


def describe_backend(device: torch.device) -> str:
    """One phrase for logs: what runs depthwise convolutions in float32 on a device."""
    name, _ = choose("auto", torch.empty(0, device=device), (3, 3, 3))
    if name == "cpu":
        return f"C++ kernels ({cpu.instruction_set()})"
    return {"torch": "PyTorch's 2D operators", "triton": "Triton kernels", "stock": "PyTorch's own operator"}[name]
