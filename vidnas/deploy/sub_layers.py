"""Single sub-layers as modules with inputs, to be timed or converted on their own."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from vidnas.arch.plan import BlockPlan, GloRePlan
from vidnas.arch.spec import HeadSpec, Kernel, StemSpec
from vidnas.arch.sub_layers import SubLayer
from vidnas.nn.attention import GloRe
from vidnas.nn.blocks import FinalConv, MBConv3D, Stem
from vidnas.nn.heads import ClassificationHead

Step = Literal["shortened", "expanded", "filtered", "projected"]


class Runnable(NamedTuple):
    """A module in evaluation mode and the inputs of one call."""

    module: nn.Module
    inputs: tuple[Tensor, ...]


class BlockStep(nn.Module):
    """One step of a block by the block's own code."""

    def __init__(self, block: MBConv3D, step: Step) -> None:
        super().__init__()
        self.block = block
        self.step = step

    def forward(self, *inputs: Tensor) -> Tensor:
        output: Tensor = getattr(self.block, self.step)(*inputs)
        return output


def make_sub_layer(shape: SubLayer, frames: int) -> Runnable:
    """The sub-layer as networks execute it for one clip, with random weights and inputs in channels_last_3d."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, entering = _module(shape, frames)
        inputs = tuple(_map(channels, frames, side) for channels, side in entering)
    return Runnable(module.eval().to(memory_format=torch.channels_last_3d), inputs)


def _module(shape: SubLayer, frames: int) -> tuple[nn.Module, list[tuple[int, int]]]:
    """The module, and channels and side of what enters it."""
    layer, channels = shape
    side, first, last = layer.side, channels[0], channels[-1]
    if layer.kind == "stem":
        assert layer.kernel is not None
        return Stem(StemSpec(in_channels=first, channels=last, kernel=layer.kernel)), [(first, side)]
    if layer.kind == "attention":
        _, nodes, states = channels
        return GloRe(GloRePlan(name="", group=0, channels=first, nodes=nodes, states=states)), [(first, side)]
    if layer.kind == "conv5":
        return FinalConv(first, last), [(first, side)]
    if layer.kind == "head":
        spec = HeadSpec(hidden=channels[1], num_classes=channels[2] if len(channels) > 2 else 0)
        return ClassificationHead(spec, first, (frames, side, side)), [(first, side)]
    if layer.kind == "expand":
        return BlockStep(_block(shape, in_channels=first, hidden=last), "expanded"), [(first, side)]
    if layer.kind == "depthwise":
        return BlockStep(_block(shape, hidden=first, se_channels=last if layer.gates else 0), "filtered"), [
            (first, side)
        ]
    if layer.kind == "project":
        return BlockStep(_block(shape, hidden=first, out_channels=last), "projected"), [(first, side), (last, side)]
    return BlockStep(_block(shape, in_channels=first, out_channels=last), "shortened"), [(first, side)]


def _block(
    shape: SubLayer, *, in_channels: int = 1, hidden: int = 1, out_channels: int = 1, se_channels: int = 0
) -> MBConv3D:
    """A block with this step in it; what the step does not need is as small as can be."""
    layer = shape.layer
    plan = BlockPlan(
        name="",
        group=0,
        in_channels=in_channels,
        hidden=hidden,
        out_channels=out_channels,
        kernel=layer.kernel or Kernel(t=1, s=1),
        stride=layer.stride,
        se_channels=se_channels,
        shortcut="projection_norm" if layer.norm else "projection",
        activation=layer.activation or "relu",
        depthwise=not layer.dense,
    )
    return MBConv3D(plan)


def _map(channels: int, frames: int, side: int) -> Tensor:
    return torch.randn(1, channels, frames, side, side).to(memory_format=torch.channels_last_3d)
