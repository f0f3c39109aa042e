"""What a spec means unit by unit: the one reading that cost, modules, supernet, latency and pictures share."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple, Protocol

from vidnas.arch.fusion import FUSED_CHANNELS, FusionSpec
from vidnas.arch.rounding import round_width
from vidnas.arch.spec import (
    ArchSpec,
    AttentionSpec,
    ClipSpec,
    GloReSpec,
    GroupSpec,
    NonLocalSpec,
    SqueezeExciteSpec,
    attention_sizes,
    frames_mistake,
)
from vidnas.arch.units import (
    BlockPlan,
    Conv5Plan,
    FusionPlan,
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
from vidnas.base.errors import VidnasError


class Place(NamedTuple):
    """Where a group of blocks stands, or what follows the last one.

    Attributes:
        stream: index of the group's stream.
        group: index of the group in its stream.
        frames: number of frames of the map that enters.
        side: height and width of the map that enters.
        block: number of blocks of its stage before it.
        every: of how many frames of the clip the map that enters has one.
    """

    stream: int
    group: int
    frames: int
    side: int
    block: int
    every: int = 1


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
    """Every unit of a network in the order of running.

    First the stem of each stream; then, group by group, each stream's blocks with attention and the fusions behind
    them; then each conv5; then the head.

    Args:
        spec: the network.
        clip: the clip whose maps pass through; default the spec's own.

    Raises:
        VidnasError: a stream takes one of so many frames that those of the clip are not a multiple of it.
    """
    streams = [_parts(spec, s, clip) for s in range(len(spec.streams))]
    fusions = fusion_units(spec, clip)
    yield from chain(*(parts[0] for parts in streams))
    for g in range(max(len(stream.groups) for stream in spec.streams)):
        yield from chain(*(parts[g + 1] for parts in streams if g + 2 < len(parts)))
        yield from (fusion for fusion in fusions if fusion.group == g)
    yield from chain(*(parts[-1] for parts in streams))
    yield head_unit(spec, clip)


def stream_units(spec: ArchSpec, index: int, clip: ClipSpec | None = None) -> Iterator[StreamUnit]:
    """The units of one stream in order, without fusions; `clip` as in `network_units`."""
    return chain(*_parts(spec, index, clip))


def fusion_units(spec: ArchSpec, clip: ClipSpec | None = None) -> list[FusionPlan]:
    """The fusions of a network in the order of the spec; `clip` as in `network_units`."""
    places = [_places(spec, s, clip or spec.clip) for s in range(len(spec.streams))]
    return [
        fusion_unit(fusion, *_given(spec, fusion), places[fusion.source][fusion.group + 1]) for fusion in spec.fusions
    ]


def fusion_unit(fusion: FusionSpec, channels: int, ratio: int, behind: Place) -> FusionPlan:
    """The unit of a fusion.

    Args:
        fusion: what it is.
        channels: those of the map that the source gives.
        ratio: number of frames that become one.
        behind: what follows the group in the source.
    """
    return FusionPlan(
        path=f"fusions.{fusion.key}",
        stream=fusion.source,
        target=fusion.target,
        group=fusion.group,
        frames=behind.frames,
        side=behind.side,
        every=behind.every,
        in_channels=channels,
        out_channels=FUSED_CHANNELS[fusion.kind](channels, ratio),
        kind=fusion.kind,
        ratio=ratio,
    )


def _given(spec: ArchSpec, fusion: FusionSpec) -> tuple[int, int]:
    """Channels of the map that the source gives, and how many of its frames become one."""
    source, target = spec.streams[fusion.source], spec.streams[fusion.target]
    return source.groups[fusion.group].channels, target.every // source.every


def _fused_channels(spec: ArchSpec, stream: int, group: int) -> int:
    """Channels that fusions put behind the own ones of a stream after a group."""
    return sum(
        FUSED_CHANNELS[fusion.kind](*_given(spec, fusion))
        for fusion in spec.fusions
        if (fusion.target, fusion.group, fusion.combination) == (stream, group, "concat")
    )


def _parts(spec: ArchSpec, index: int, clip: ClipSpec | None) -> list[list[StreamUnit]]:
    """The units of one stream: its stem, those of each group, its conv5."""
    stream = spec.streams[index]
    *places, last = _places(spec, index, clip or spec.clip)
    fused = [0, *(_fused_channels(spec, index, g) for g in range(len(stream.groups)))]
    own = [stream.stem.channels, *(group.channels for group in stream.groups)]
    stem = StemPlan(
        path=f"streams.{index}.stem",
        stream=index,
        group=None,
        frames=last.frames,
        side=(clip or spec.clip).size,
        stride=2,
        every=last.every,
        in_channels=stream.stem.in_channels,
        out_channels=stream.stem.channels,
        kernel=stream.stem.kernel,
    )
    groups = [
        [*group_units(stream, group, place, entering, fused=given)]
        for group, place, entering, given in zip(stream.groups, places, own[:-1], fused[:-1], strict=True)
    ]
    conv5 = Conv5Plan(
        path=f"streams.{index}.conv5",
        stream=index,
        group=None,
        frames=last.frames,
        side=last.side,
        every=last.every,
        in_channels=own[-1] + fused[-1],
        fused_channels=fused[-1],
        out_channels=stream.conv5,
    )
    return [[stem], *groups, [conv5]]


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


def group_places(groups: Sequence[GroupSize], stream: int, clip: ClipSpec, every: int = 1) -> list[Place]:
    """Where each group of a stream stands, and what follows the last one; a stage starts at each stride of 2.

    The stream, named by its index, takes one frame in `every` of the clip.

    Raises:
        VidnasError: the clip does not have a multiple of so many frames.
    """
    if rule := frames_mistake(clip, every):
        raise VidnasError(f"clip {clip}: streams.{stream}.every: {rule}")
    places = [Place(stream, 0, clip.frames // every, side_after(clip.size, 2), 0, every)]
    for g, group in enumerate(groups):
        before = places[-1]
        start = 0 if group.stride == 2 else before.block
        places[-1] = before._replace(block=start)
        side = side_after(before.side, group.stride)
        places.append(before._replace(group=g + 1, side=side, block=start + group.depth))
    return places


def group_units(
    style: BlockStyle, group: GroupSpec, place: Place, entering: int, fused: int = 0
) -> Iterator[StreamUnit]:
    """The blocks of a group and the attention between them.

    Args:
        style: its stream's.
        group: the group.
        place: where it stands.
        entering: channels of its own stream that enter.
        fused: channels of other streams that enter behind them.
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
            every=place.every,
            in_channels=channels + fused,
            fused_channels=fused,
            out_channels=group.channels,
            hidden=hidden,
            kernel=group.kernel,
            se_channels=round_width(hidden, style.se.ratio) if style.se and has_se else 0,
            shortcut=_shortcut(style, channels, fused, group.channels, stride),
            activation=style.activation,
            depthwise=style.depthwise,
        )
        yield block
        channels, fused, side = block.out_channels, 0, block.out_side
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
        "every": place.every,
        "in_channels": channels,
        "out_channels": channels,
    }
    return _ATTENTION[type(attention)](**(geometry | attention_sizes(attention)))


# The unit of each kind; its fields beside the common ones are the sizes of the spec.
_ATTENTION: Mapping[type[AttentionSpec], type[StreamUnit]] = {GloReSpec: GloRePlan, NonLocalSpec: NonLocalPlan}


def _places(spec: ArchSpec, index: int, clip: ClipSpec) -> list[Place]:
    return group_places(spec.streams[index].groups, index, clip, spec.streams[index].every)


def _last_places(spec: ArchSpec, clip: ClipSpec) -> list[Place]:
    return [_places(spec, s, clip)[-1] for s in range(len(spec.streams))]


def _shortcut(style: BlockStyle, own: int, fused: int, out_channels: int, stride: int) -> Shortcut:
    if stride == 1 and own == out_channels:
        return "identity_and_projection" if fused else "identity"
    if style.projection_norm == "always" or own + fused != out_channels:
        return "projection_norm"
    return "projection"
