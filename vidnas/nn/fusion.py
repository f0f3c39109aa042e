"""What brings the map of one stream to the frames of another (Auto-TSNet sec. 3.2, after SlowFast sec. 3.4)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from vidnas.arch.fusion import TAPS, FusionKind
from vidnas.arch.units import FusionPlan
from vidnas.nn.depthwise import Backend
from vidnas.nn.initialise import UnitModule
from vidnas.nn.norm_act import norm_act


class TimeStridedConv(UnitModule):
    """5 x 1 x 1 with a temporal stride, norm, ReLU: (N, C, T, H, W) -> (N, 2C, T / ratio, H, W).

    The middle tap of each output frame lies on the frame that the target takes of the clip.
    """

    def __init__(self, plan: FusionPlan) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            plan.in_channels,
            plan.out_channels,
            (TAPS, 1, 1),
            stride=(plan.ratio, 1, 1),
            padding=(TAPS // 2, 0, 0),
            bias=False,
        )
        self.norm = nn.BatchNorm3d(plan.out_channels)
        self.backend: Backend = "auto"

    def forward(self, x: Tensor) -> Tensor:
        return norm_act(self.norm, self.conv(x), "relu", backend=self.backend)


class TimeToChannel(UnitModule):
    """(N, C, T, H, W) -> (N, ratio C, T / ratio, H, W): all channels of each of `ratio` frames in turn."""

    def __init__(self, plan: FusionPlan) -> None:
        super().__init__()
        self.ratio = plan.ratio

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :, frame :: self.ratio] for frame in range(self.ratio)], 1)


class TimeStridedSampling(UnitModule):
    """(N, C, T, H, W) -> (N, C, T / ratio, H, W): the first of `ratio` frames, which the target sees too."""

    def __init__(self, plan: FusionPlan) -> None:
        super().__init__()
        self.ratio = plan.ratio

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.ratio]


_MODULES: Mapping[FusionKind, Callable[[FusionPlan], nn.Module]] = {
    "time_strided_convolution": TimeStridedConv,
    "time_to_channel": TimeToChannel,
    "time_strided_sampling": TimeStridedSampling,
}


def make_fusion(plan: FusionPlan) -> nn.Module:
    """The module of a fusion."""
    return _MODULES[plan.kind](plan)
