"""What a network executes as one fused step: a convolution with its norm, gates, activation and shortcut.

Latency is measured per sub-layer (`vidnas.arch.latency`); a step's time is that of its layer and its channels.
"""

from functools import cache
from typing import Literal, NamedTuple

from vidnas.arch.cost import final_size
from vidnas.arch.plan import BlockPlan, GloRePlan, stream_units
from vidnas.arch.spec import ArchSpec, Kernel, Positive
from vidnas.base.document import Frozen

Kind = Literal["stem", "expand", "depthwise", "project", "shortcut", "attention", "conv5", "head"]


class Layer(Frozen):
    """A sub-layer but for its channels.

    Attributes:
        kind: `depthwise` has norm, squeeze-excitation and activation in it, since one pass computes them; `project`
            adds the shortcut; `shortcut` is a projection in it.
        side: of the square map (of the clip for a stem) that enters.
        stride: spatial.
        kernel: of stem and depthwise.
        activation: of depthwise.
        gates: whether depthwise has squeeze-excitation.
        dense: whether the middle convolution is one over all channels.
        norm: whether a shortcut has one.
    """

    kind: Kind
    side: Positive
    stride: Positive = 1
    kernel: Kernel | None = None
    activation: str | None = None
    gates: bool = False
    dense: bool = False
    norm: bool = True

    def __str__(self) -> str:
        parts = [self.kind, str(self.kernel or ""), f"stride {self.stride}" if self.stride > 1 else ""]
        parts += ["with gates" if self.gates else "", f"at {self.side}x{self.side}"]
        return " ".join(part for part in parts if part)


class SubLayer(NamedTuple):
    """A layer and its channels.

    By kind they are: stem (colours, channels); expand (in, hidden); depthwise (hidden,) or (hidden, squeezed); project
    (hidden, out); shortcut (in, out); attention (channels, nodes, states); conv5 (in, out); head (pooled, hidden) or
    (pooled, hidden, classes).
    """

    layer: Layer
    channels: tuple[int, ...]


# Few layers make many sub-layers, and validating each would take longer than looking it up.
_layer = cache(Layer)


def network_sub_layers(spec: ArchSpec) -> list[SubLayer]:
    """All sub-layers of a network at its own clip."""
    found = outer_sub_layers(spec)
    for stream in spec.streams:
        side = -(-spec.clip.size // 2)
        for unit in stream_units(stream):
            found += unit_sub_layers(unit, side)
            side = side_after(unit, side)
    return found


def outer_sub_layers(spec: ArchSpec) -> list[SubLayer]:
    """Those outside the groups: stem and conv5 of each stream, and the head."""
    found = []
    for stream in spec.streams:
        stem = stream.stem
        layer = _layer(kind="stem", side=spec.clip.size, stride=2, kernel=stem.kernel)
        found.append(SubLayer(layer, (stem.in_channels, stem.channels)))
        side = final_size(spec.clip.size, stream)
        found.append(SubLayer(_layer(kind="conv5", side=side), (stream.groups[-1].channels, stream.conv5)))
    pooled = sum(stream.conv5 for stream in spec.streams)
    classes = (spec.head.num_classes,) if spec.head.num_classes else ()
    return [*found, SubLayer(_layer(kind="head", side=side), (pooled, spec.head.hidden, *classes))]


def number_of_blocks(spec: ArchSpec) -> int:
    """MBConv blocks of a network."""
    return sum(group.depth for stream in spec.streams for group in stream.groups)


def side_after(unit: BlockPlan | GloRePlan, side: int) -> int:
    """Side of the map that leaves a unit."""
    return -(-side // unit.stride) if isinstance(unit, BlockPlan) else side


def unit_sub_layers(unit: BlockPlan | GloRePlan, side: int) -> list[SubLayer]:
    """The sub-layers of a unit that a map of this side enters."""
    if isinstance(unit, GloRePlan):
        return [SubLayer(_layer(kind="attention", side=side), (unit.channels, unit.nodes, unit.states))]
    middle = _layer(
        kind="depthwise",
        side=side,
        stride=unit.stride,
        kernel=unit.kernel,
        activation=unit.activation,
        gates=unit.se_channels > 0,
        dense=not unit.depthwise,
    )
    squeezed = (unit.se_channels,) if unit.se_channels else ()
    found = [
        SubLayer(_layer(kind="expand", side=side), (unit.in_channels, unit.hidden)),
        SubLayer(middle, (unit.hidden, *squeezed)),
        SubLayer(_layer(kind="project", side=side_after(unit, side)), (unit.hidden, unit.out_channels)),
    ]
    if unit.shortcut != "identity":
        layer = _layer(kind="shortcut", side=side, stride=unit.stride, norm=unit.shortcut == "projection_norm")
        found.append(SubLayer(layer, (unit.in_channels, unit.out_channels)))
    return found
