"""What a spec means unit by unit: the one reading that cost, modules, supernet, latency and pictures share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from vidnas.arch.rounding import round_width
from vidnas.arch.spec import (
    ArchSpec,
    AttentionSpec,
    ClipSpec,
    GloReSpec,
    GroupSpec,
    NonLocalSpec,
    SqueezeExciteSpec,
    StreamSpec,
    attention_sizes,
)
from vidnas.arch.units import (
    BlockPlan,
    Conv5Plan,
    GloRePlan,
    HeadPlan,
    LastMap,
    NonLocalPlan,
    Shortcut,
    StemPlan,
    StreamUnit,
    Unit,
    side_after,
)


class Place(NamedTuple):
    """Where a group of blocks stands, or what follows the last one.

    Attributes:
        stream: index of the group's stream.
        group: index of the group in its stream.
        frames: number of frames of the map that enters.
        side: height and width of the map that enters.
        block: number of blocks of its stage before it.
    """

    stream: int
    group: int
    frames: int
    side: int
    block: int


class GroupSize(Protocol):
    """What of a group says where the next one stands: of a spec's, or of a space's."""

    @property
    def depth(self) -> int: ...
    @property
    def stride(self) -> int: ...


class BlockStyle(Protocol):
    """What of a stream the blocks of all its groups share: of a spec's, or of a space's."""

    @property
    def expansion_of(self) -> Literal["input", "output"]: ...
    @property
    def se(self) -> SqueezeExciteSpec | None: ...
    @property
    def activation(self) -> str: ...
    @property
    def depthwise(self) -> bool: ...
    @property
    def projection_norm(self) -> Literal["always", "on_channel_change"]: ...


def network_units(spec: ArchSpec, clip: ClipSpec | None = None) -> Iterator[Unit]:
    """Every unit of a network in order: per stream stem, blocks with attention, conv5; then the head.

    Args:
        spec: the network.
        clip: the clip whose maps pass through; default the spec's own.
    """
    for s, stream in enumerate(spec.streams):
        yield from stream_units(stream, s, clip or spec.clip)
    yield head_unit(spec, clip)


def stream_units(stream: StreamSpec, index: int, clip: ClipSpec) -> Iterator[StreamUnit]:
    """The units of one stream in order."""
    channels = stream.stem.channels
    *places, last = group_places(stream.groups, index, clip)
    yield StemPlan(
        path=f"streams.{index}.stem",
        stream=index,
        group=None,
        frames=clip.frames,
        side=clip.size,
        stride=2,
        in_channels=stream.stem.in_channels,
        out_channels=channels,
        kernel=stream.stem.kernel,
    )
    for group, place in zip(stream.groups, places, strict=True):
        yield from group_units(stream, group, place, channels)
        channels = group.channels
    yield Conv5Plan(
        path=f"streams.{index}.conv5",
        stream=index,
        group=None,
        frames=last.frames,
        side=last.side,
        in_channels=channels,
        out_channels=stream.conv5,
    )


def head_unit(spec: ArchSpec, clip: ClipSpec | None = None) -> HeadPlan:
    """The head; `clip` as in `network_units`."""
    maps, windows = (
        tuple(LastMap(place.frames, place.side) for place in _last_places(spec, seen))
        for seen in (clip or spec.clip, spec.clip)
    )
    return HeadPlan(
        path="head",
        in_channels=sum(stream.conv5 for stream in spec.streams),
        out_channels=spec.head.num_classes or spec.head.hidden,
        spec=spec.head,
        maps=maps,
        windows=windows,
    )


def group_places(groups: Sequence[GroupSize], stream: int, clip: ClipSpec) -> list[Place]:
    """Where each group of a stream stands, and what follows the last one; a stage starts at each stride of 2."""
    places = [Place(stream, 0, clip.frames, side_after(clip.size, 2), 0)]
    for g, group in enumerate(groups):
        before = places[-1]
        start = 0 if group.stride == 2 else before.block
        places[-1] = before._replace(block=start)
        places.append(Place(stream, g + 1, clip.frames, side_after(before.side, group.stride), start + group.depth))
    return places


def group_units(style: BlockStyle, group: GroupSpec, place: Place, entering: int) -> Iterator[StreamUnit]:
    """The blocks of a group and the attention between them.

    Args:
        style: its stream's.
        group: the group.
        place: where it stands.
        entering: channels that enter.
    """
    channels, side = entering, place.side
    path = f"streams.{place.stream}.groups.{place.group}"
    for b in range(1, group.depth + 1):
        stride = group.stride if b == 1 else 1
        hidden = int(group.expansion * (channels if style.expansion_of == "input" else group.channels))
        has_se = style.se is not None and (place.block + b - 1) % style.se.every == 0
        block = BlockPlan(
            path=f"{path}.block{b}",
            stream=place.stream,
            group=place.group,
            frames=place.frames,
            side=side,
            stride=stride,
            in_channels=channels,
            out_channels=group.channels,
            hidden=hidden,
            kernel=group.kernel,
            se_channels=round_width(hidden, style.se.ratio) if style.se and has_se else 0,
            shortcut=_shortcut(style, channels, group.channels, stride),
            activation=style.activation,
            depthwise=style.depthwise,
        )
        yield block
        channels, side = block.out_channels, block.out_side
        attention = group.attention
        if attention and b in (attention.after or (group.depth,)):
            unit = f"{path}.{attention.kind}{b}"
            yield attention_plan(attention, channels, place._replace(side=side), path=unit)


_ALONE = Place(stream=0, group=0, frames=1, side=1, block=0)


def attention_plan(attention: AttentionSpec, channels: int, place: Place = _ALONE, *, path: str = "") -> StreamUnit:
    """A unit of attention on maps of so many channels; without a place on a single position."""
    geometry: dict[str, Any] = {
        "path": path,
        "stream": place.stream,
        "group": place.group,
        "frames": place.frames,
        "side": place.side,
        "in_channels": channels,
        "out_channels": channels,
    }
    return _ATTENTION[type(attention)](**(geometry | attention_sizes(attention)))


# The unit of each kind; its fields beside the common ones are the sizes of the spec.
_ATTENTION: Mapping[type[AttentionSpec], type[StreamUnit]] = {GloReSpec: GloRePlan, NonLocalSpec: NonLocalPlan}


def _last_places(spec: ArchSpec, clip: ClipSpec) -> list[Place]:
    return [group_places(stream.groups, s, clip)[-1] for s, stream in enumerate(spec.streams)]


def _shortcut(style: BlockStyle, in_channels: int, out_channels: int, stride: int) -> Shortcut:
    if stride == 1 and in_channels == out_channels:
        return "identity"
    if style.projection_norm == "always" or in_channels != out_channels:
        return "projection_norm"
    return "projection"
