"""What a network executes as one fused step: a convolution with its norm, gates, activation and shortcut.

Latency is measured per sub-layer (`vidnas.arch.latency`); a step's time is that of its layer and its channels.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from vidnas.arch.plan import network_units
from vidnas.arch.spec import ArchSpec, Kernel, Positive
from vidnas.arch.units import BlockPlan, Conv5Plan, GloRePlan, HeadPlan, NonLocalPlan, StemPlan, Unit
from vidnas.base.document import Frozen

Kind = Literal["stem", "expand", "depthwise", "project", "shortcut", "attention", "non_local", "conv5", "head"]


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
    (hidden, out); shortcut (in, out); attention, which is GloRe, (channels, nodes, states); non_local (channels,
    inner); conv5 (in, out); head (pooled, hidden) or (pooled, hidden, classes).
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
    layer = _layer(kind="stem", side=unit.side, stride=unit.stride, kernel=unit.kernel)
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
    )
    squeezed = (unit.se_channels,) if unit.se_channels else ()
    yield SubLayer(_layer(kind="expand", side=unit.side), (unit.in_channels, unit.hidden))
    yield SubLayer(middle, (unit.hidden, *squeezed))
    yield SubLayer(_layer(kind="project", side=unit.out_side), (unit.hidden, unit.out_channels))
    if unit.shortcut != "identity":
        layer = _layer(kind="shortcut", side=unit.side, stride=unit.stride, norm=unit.shortcut == "projection_norm")
        yield SubLayer(layer, (unit.in_channels, unit.out_channels))


def _glore(unit: GloRePlan) -> Iterator[SubLayer]:
    yield SubLayer(_layer(kind="attention", side=unit.side), (unit.in_channels, unit.nodes, unit.states))


def _non_local(unit: NonLocalPlan) -> Iterator[SubLayer]:
    yield SubLayer(_layer(kind="non_local", side=unit.side), (unit.in_channels, unit.inner))


def _conv5(unit: Conv5Plan) -> Iterator[SubLayer]:
    yield SubLayer(_layer(kind="conv5", side=unit.side), (unit.in_channels, unit.out_channels))


def _head(unit: HeadPlan) -> Iterator[SubLayer]:
    classes = (unit.spec.num_classes,) if unit.spec.num_classes else ()
    side = max(last.side for last in unit.maps)
    yield SubLayer(_layer(kind="head", side=side), (unit.in_channels, unit.spec.hidden, *classes))


_SUB_LAYERS: Mapping[type[Unit], Callable[[Any], Iterator[SubLayer]]] = {
    StemPlan: _stem,
    BlockPlan: _block,
    GloRePlan: _glore,
    NonLocalPlan: _non_local,
    Conv5Plan: _conv5,
    HeadPlan: _head,
}
