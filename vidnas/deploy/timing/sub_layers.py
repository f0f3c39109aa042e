"""Single sub-layers as modules with inputs, to be timed or converted on their own."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vidnas.arch.spec import ClassificationSpec, Kernel
from vidnas.arch.sub_layers import Kind, SubLayer
from vidnas.arch.units import BlockPlan, Conv5Plan, FusionPlan, GloRePlan, HeadPlan, LastMap, NonLocalPlan, StemPlan
from vidnas.nn.attention import GloRe, NonLocal
from vidnas.nn.blocks import FinalConv, MBConv3D, Stem
from vidnas.nn.fusion import make_fusion
from vidnas.nn.heads import ClassificationHead

Step = Literal["run_shortcut", "run_expand", "run_middle", "run_project"]


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
    """The sub-layer as networks execute it for one clip, with random weights and inputs in channels_last_3d.

    Args:
        shape: the sub-layer.
        frames: number of frames of the clip.
    """
    frames //= shape.layer.every
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, entering = _module(shape, frames)
        inputs = tuple(_map(channels, frames, side) for channels, side in entering)
    return Runnable(module.eval().to(memory_format=torch.channels_last_3d), inputs)


def _module(shape: SubLayer, frames: int) -> tuple[nn.Module, list[tuple[int, int]]]:
    """The module, and channels and side of what enters it."""
    layer, channels = shape
    # A project step adds the shortcut to what it gives.
    entering = channels[:2] if layer.kind == "project" else channels[:1]
    return _MODULES[layer.kind](shape, frames), [(number, layer.side) for number in entering]


def _geometry(shape: SubLayer, frames: int) -> dict[str, Any]:
    """Fields of a stream's unit that stands alone."""
    layer, channels = shape
    return {
        "path": layer.kind,
        "stream": 0,
        "group": None,
        "frames": frames,
        "side": layer.side,
        "stride": layer.stride,
        "every": layer.every,
        "in_channels": channels[0],
        "out_channels": channels[-1],
    }


def _stem(shape: SubLayer, frames: int) -> nn.Module:
    assert shape.layer.kernel is not None
    return Stem(StemPlan(**_geometry(shape, frames), kernel=shape.layer.kernel))


def _attention(shape: SubLayer, frames: int) -> nn.Module:
    channels, nodes, states = shape.channels
    geometry = _geometry(shape, frames) | {"out_channels": channels}
    return GloRe(GloRePlan(**geometry, nodes=nodes, states=states))


def _non_local(shape: SubLayer, frames: int) -> nn.Module:
    channels, inner = shape.channels
    return NonLocal(NonLocalPlan(**_geometry(shape, frames) | {"out_channels": channels}, inner=inner))


def _fusion(shape: SubLayer, frames: int) -> nn.Module:
    layer = shape.layer
    assert layer.fusion is not None
    return make_fusion(FusionPlan(**_geometry(shape, frames), target=1, kind=layer.fusion, ratio=layer.ratio))


def _conv5(shape: SubLayer, frames: int) -> nn.Module:
    return FinalConv(Conv5Plan(**_geometry(shape, frames)))


def _head(shape: SubLayer, frames: int) -> nn.Module:
    pooled, hidden, *classes = shape.channels
    spec = ClassificationSpec(hidden=hidden, num_classes=sum(classes))
    maps = (LastMap(frames, shape.layer.side),)
    return ClassificationHead(
        HeadPlan(path="head", in_channels=pooled, out_channels=shape.channels[-1], spec=spec, maps=maps, windows=maps)
    )


def _step(step: Step, **channels: int) -> Callable[[SubLayer, int], nn.Module]:
    """Maker of a block with this step in it.

    Args:
        step: which.
        channels: of the block, as places in the sub-layer's; what the step does not need is as small as can be.
    """

    def make(shape: SubLayer, frames: int) -> nn.Module:
        layer = shape.layer
        given = {"in_channels": 1, "out_channels": 1, "hidden": 1} | {
            name: shape.channels[place] for name, place in channels.items()
        }
        plan = BlockPlan(
            **_geometry(shape, frames) | given,
            kernel=layer.kernel or Kernel(t=1, s=1),
            se_channels=shape.channels[-1] if layer.gates else 0,
            shortcut="projection_norm" if layer.norm else "projection",
            activation=layer.activation or "relu",
            depthwise=not layer.dense,
        )
        return BlockStep(MBConv3D(plan), step)

    return make


_MODULES: Mapping[Kind, Callable[[SubLayer, int], nn.Module]] = {
    "stem": _stem,
    "expand": _step("run_expand", in_channels=0, hidden=1),
    "depthwise": _step("run_middle", hidden=0),
    "project": _step("run_project", hidden=0, out_channels=1),
    "shortcut": _step("run_shortcut", in_channels=0, out_channels=1),
    "attention": _attention,
    "non_local": _non_local,
    "fusion": _fusion,
    "conv5": _conv5,
    "head": _head,
}


def _map(channels: int, frames: int, side: int) -> Tensor:
    return torch.randn(1, channels, frames, side, side).to(memory_format=torch.channels_last_3d)
