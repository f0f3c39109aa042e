"""What a network executes as one fused step: a convolution with its norm, gates, activation and shortcut.

Latency is measured per sub-layer (`vidnas.arch.latency`); a step's time is that of its layer and its channels.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from vidnas.arch.fusion import FusionKind
from vidnas.arch.plan import network_units
from vidnas.arch.spec import ArchSpec, Kernel, Positive
from vidnas.arch.units import BlockPlan, Conv5Plan, FusionPlan, GloRePlan, HeadPlan, NonLocalPlan, StemPlan, Unit
from vidnas.base.document import Frozen

Kind = Literal[
    "stem", "expand", "depthwise", "project", "shortcut", "attention", "non_local", "fusion", "conv5", "head"
]


class Layer(Frozen):
    """A sub-layer but for its channels.

    Attributes:
        kind: `depthwise` has norm, squeeze-excitation and activation in it, since one pass computes them; `project`
            adds the shortcut; `shortcut` is a projection in it.
        side: height and width of the map (for a stem, of the clip) that enters.
        stride: by how much it divides height and width.
        kernel: kernel of a stem or depthwise step.
        activation: activation of a depthwise step.
        gates: whether a depthwise step has squeeze-excitation.
        dense: whether the middle convolution is one over all channels.
        norm: whether a shortcut has one.
        every: of how many frames of the clip the map that enters has one; for a head it stays 1.
        fusion: what a fusion does.
        ratio: how many frames it makes one of.
    """

    kind: Kind
    side: Positive
    stride: Positive = 1
    kernel: Kernel | None = None
    activation: str | None = None
    gates: bool = False
    dense: bool = False
    norm: bool = True
    every: Positive = 1
    fusion: FusionKind | None = None
    ratio: Positive = 1

    def __str__(self) -> str:
        parts = [self.fusion or self.kind, str(self.kernel or ""), f"stride {self.stride}" if self.stride > 1 else ""]
        parts += [f"{self.ratio} frames to 1" if self.fusion else "", "with gates" if self.gates else ""]
        parts += [f"at {self.side}x{self.side}", f"on one frame in {self.every}" if self.every > 1 else ""]
        return " ".join(part for part in parts if part)


class SubLayer(NamedTuple):
    """A layer and its channels.

    By kind they are: stem (colours, channels); expand (in, hidden); depthwise (hidden,) or (hidden, squeezed); project
    (hidden, out); shortcut (in, out); attention, which is GloRe, (channels, nodes, states); non_local (channels,
    inner); fusion (in, out); conv5 (in, out); head (pooled, hidden) or (pooled, hidden, classes).
    """

    layer: Layer
    channels: tuple[int, ...]


# Few layers make many sub-layers, and validating each would take longer than looking it up.
_layer = cache(Layer)


def network_sub_layers(spec: ArchSpec) -> list[SubLayer]:
    """All sub-layers of a network at its own clip."""
    return [sub_layer for unit in network_units(spec) for sub_layer in unit_sub_layers(unit)]


def unit_sub_layers(unit: Unit) -> list[SubLayer]:
    """The sub-layers of a unit."""
    return list(_SUB_LAYERS[type(unit)](unit))


def number_of_blocks(spec: ArchSpec) -> int:
    """MBConv blocks of a network."""
    return sum(group.depth for stream in spec.streams for group in stream.groups)


def _stem(unit: StemPlan) -> Iterator[SubLayer]:
    layer = _layer(kind="stem", side=unit.side, stride=unit.stride, kernel=unit.kernel, every=unit.every)
    yield SubLayer(layer, (unit.in_channels, unit.out_channels))


def _block(unit: BlockPlan) -> Iterator[SubLayer]:
    middle = _layer(
        kind="depthwise",
        side=unit.side,
        stride=unit.stride,
        kernel=unit.kernel,
        activation=unit.activation,
        gates=unit.se_channels > 0,
        dense=not unit.depthwise,
        every=unit.every,
    )
    squeezed = (unit.se_channels,) if unit.se_channels else ()
    yield SubLayer(_layer(kind="expand", side=unit.side, every=unit.every), (unit.in_channels, unit.hidden))
    yield SubLayer(middle, (unit.hidden, *squeezed))
    yield SubLayer(_layer(kind="project", side=unit.out_side, every=unit.every), (unit.hidden, unit.out_channels))
    if unit.shortcut != "identity":
        layer = _layer(kind="shortcut", side=unit.side, stride=unit.stride, norm=unit.norms_shortcut, every=unit.every)
        yield SubLayer(layer, (unit.in_channels, unit.out_channels))


def _glore(unit: GloRePlan) -> Iterator[SubLayer]:
    layer = _layer(kind="attention", side=unit.side, every=unit.every)
    yield SubLayer(layer, (unit.in_channels, unit.nodes, unit.states))


def _non_local(unit: NonLocalPlan) -> Iterator[SubLayer]:
    layer = _layer(kind="non_local", side=unit.side, every=unit.every)
    yield SubLayer(layer, (unit.in_channels, unit.inner))


def _fusion(unit: FusionPlan) -> Iterator[SubLayer]:
    layer = _layer(kind="fusion", side=unit.side, every=unit.every, fusion=unit.kind, ratio=unit.ratio)
    yield SubLayer(layer, (unit.in_channels, unit.out_channels))


def _conv5(unit: Conv5Plan) -> Iterator[SubLayer]:
    layer = _layer(kind="conv5", side=unit.side, every=unit.every)
    yield SubLayer(layer, (unit.in_channels, unit.out_channels))


def _head(unit: HeadPlan) -> Iterator[SubLayer]:
    classes = (unit.spec.num_classes,) if unit.spec.num_classes else ()
    side = max(last.side for last in unit.maps)
    yield SubLayer(_layer(kind="head", side=side), (unit.in_channels, unit.spec.hidden, *classes))


_SUB_LAYERS: Mapping[type[Unit], Callable[[Any], Iterator[SubLayer]]] = {
    StemPlan: _stem,
    BlockPlan: _block,
    GloRePlan: _glore,
    NonLocalPlan: _non_local,
    FusionPlan: _fusion,
    Conv5Plan: _conv5,
    HeadPlan: _head,
}
