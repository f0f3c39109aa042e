"""What a spec means unit by unit: the one reading that cost, modules, supernet and pictures share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vidnas.arch.rounding import round_width
from vidnas.arch.spec import GloReSpec, Kernel, StreamSpec

Shortcut = Literal["identity", "projection", "projection_norm"]


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """One MBConv block. `se_channels` 0 means no squeeze-excitation; `stride` is spatial."""

    name: str
    group: int
    in_channels: int
    hidden: int
    out_channels: int
    kernel: Kernel
    stride: int
    se_channels: int
    shortcut: Shortcut
    activation: str
    depthwise: bool


@dataclass(frozen=True, slots=True)
class GloRePlan:
    """One global reasoning unit."""

    name: str
    group: int
    channels: int
    nodes: int
    states: int


def stream_units(stream: StreamSpec) -> Iterator[BlockPlan | GloRePlan]:
    """The units of a stream in order; `name` is the path inside it: `groups.3.block2`, `groups.3.glore2`."""
    channels = stream.stem.channels
    index_in_stage = 0
    for g, group in enumerate(stream.groups):
        if group.stride == 2:
            index_in_stage = 0
        for b in range(1, group.depth + 1):
            stride = group.stride if b == 1 else 1
            basis = channels if stream.expansion_of == "input" else group.channels
            hidden = int(group.expansion * basis)
            has_se = stream.se is not None and index_in_stage % stream.se.every == 0
            yield BlockPlan(
                name=f"groups.{g}.block{b}",
                group=g,
                in_channels=channels,
                hidden=hidden,
                out_channels=group.channels,
                kernel=group.kernel,
                stride=stride,
                se_channels=round_width(hidden, stream.se.ratio) if stream.se and has_se else 0,
                shortcut=_shortcut(stream, channels, group.channels, stride),
                activation=stream.activation,
                depthwise=stream.depthwise,
            )
            if _attention_follows(group.attention, b, group.depth):
                assert group.attention is not None
                yield GloRePlan(
                    f"groups.{g}.glore{b}", g, group.channels, group.attention.nodes, group.attention.states
                )
            channels = group.channels
            index_in_stage += 1


def _shortcut(stream: StreamSpec, in_channels: int, out_channels: int, stride: int) -> Shortcut:
    if stride == 1 and in_channels == out_channels:
        return "identity"
    if stream.projection_norm == "always" or in_channels != out_channels:
        return "projection_norm"
    return "projection"


def _attention_follows(attention: GloReSpec | None, block: int, depth: int) -> bool:
    return attention is not None and block in (attention.after or (depth,))
