"""`DepthwiseConv3d`: nn.Conv3d with groups = channels, on the fast operator."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vidnas.nn.depthwise.backends import Backend
from vidnas.nn.depthwise.op import depthwise_conv3d


class DepthwiseConv3d(nn.Conv3d):
    """A drop-in for nn.Conv3d(channels, channels, ..., groups=channels): same arguments, parameters and state.

    Attributes:
        backend: see `depthwise_conv3d`. While a program is exported the stock operator is used, whatever this says.

    Raises:
        ValueError: groups is not the number of channels, or an option that the operator lacks (dilation, a padding
            mode other than zeros).
    """

    def __init__(self, in_channels: int, out_channels: int, *args: Any, backend: Backend = "auto", **options: Any):
        options.setdefault("groups", in_channels)
        super().__init__(in_channels, out_channels, *args, **options)
        self.backend: Backend = backend
        if reason := unsuited(self):
            raise ValueError(f"DepthwiseConv3d: {reason}")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C, T', H', W')."""
        if self.backend == "stock" or torch.compiler.is_exporting():
            return super().forward(x)
        assert not isinstance(self.padding, str)
        y = depthwise_conv3d(x, self.weight, self.stride, self.padding, backend=self.backend)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None, None]


def unsuited(conv: nn.Conv3d) -> str | None:
    """Why a convolution cannot run on the operator; None if it can."""
    if not conv.groups == conv.in_channels == conv.out_channels:
        return (
            f"groups {conv.groups}, in_channels {conv.in_channels} and out_channels {conv.out_channels} must be equal"
        )
    if any(d != 1 for d in conv.dilation):
        return f"dilation {conv.dilation} is not supported"
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return f"padding {conv.padding!r} of mode {conv.padding_mode!r} is not supported; give numbers and zeros"
    return None


def replace_depthwise(network: nn.Module, *, backend: Backend = "auto") -> int:
    """Put the fast operator into somebody else's network, in place; returns the number of layers replaced.

    Parameters are kept as they are, so an optimizer that holds them stays valid, and so are names and state.
    """
    found = [
        (parent, name, conv)
        for parent in network.modules()
        for name, conv in parent.named_children()
        if type(conv) is nn.Conv3d and conv.in_channels > 1 and unsuited(conv) is None
    ]
    for parent, name, conv in found:
        setattr(parent, name, _of(conv, backend))
    return len(found)


def _of(conv: nn.Conv3d, backend: Backend) -> DepthwiseConv3d:
    with torch.device("meta"):
        fast = DepthwiseConv3d(
            conv.in_channels,
            conv.out_channels,
            _three(conv.kernel_size),
            _three(conv.stride),
            _three(conv.padding),
            bias=conv.bias is not None,
            backend=backend,
        )
    fast.weight, fast.bias = conv.weight, conv.bias
    return fast.train(conv.training)


def _three(values: Sequence[int] | str) -> tuple[int, int, int]:
    assert not isinstance(values, str)  # `unsuited` refuses such convolutions
    t, h, w = values
    return int(t), int(h), int(w)
