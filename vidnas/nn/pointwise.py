"""1 x 1 x 1 convolution as a matrix product over channels-last rows.

PyTorch sends it to a slow kernel at one thread, which also drops channels_last_3d and so slows every layer behind it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.nn.depthwise import Backend


class PointwiseConv3d(nn.Conv3d):
    """nn.Conv3d with a kernel of 1 x 1 x 1; same parameters and state.

    Attributes:
        backend: `stock` uses PyTorch's convolution, as an exported program always does.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False) -> None:
        super().__init__(in_channels, out_channels, 1, stride=(1, stride, stride), bias=bias)
        self.backend: Backend = "auto"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T, H / stride, W / stride), channels_last_3d."""
        if self.backend == "stock" or torch.compiler.is_exporting():
            return super().forward(x)
        _, h, w = self.stride
        rows = x.permute(0, 2, 3, 4, 1)[:, :, ::h, ::w]
        return F.linear(rows, self.weight.flatten(1), self.bias).permute(0, 4, 1, 2, 3)
