"""Fusions: what one stream of a network gives to another (Auto-TSNet sec. 3.2, after SlowFast)."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Annotated, Literal, NamedTuple, Protocol

from pydantic import Field

from vidnas.base.document import Frozen
from vidnas.base.mistakes import FieldError

FusionKind = Literal["time_strided_convolution", "time_to_channel", "time_strided_sampling"]
Index = Annotated[int, Field(ge=0, strict=True)]

# The temporal side of the kernel of a time-strided convolution (SlowFast sec. 3.4).
TAPS = 5
# Channels that each kind gives, from those that it reads and how many of its frames become one.
FUSED_CHANNELS: Mapping[FusionKind, Callable[[int, int], int]] = {
    "time_strided_convolution": lambda channels, ratio: 2 * channels,
    "time_to_channel": lambda channels, ratio: ratio * channels,
    "time_strided_sampling": lambda channels, ratio: channels,
}


class FusionSpec(Frozen):
    """What a stream gives after a group, brought to the frames of another stream, which reads it next.

    A map is given as its group leaves it, before anything is fused into it, and read by the next group of the target,
    or after the last group by its conv5: so streams never wait for each other in a circle.

    Attributes:
        source: index of the stream that gives.
        target: index of the stream that reads; of `ratio` frames of the source it has one.
        group: index, in both streams, of the group after which this happens.
        kind: how `ratio` frames become one. `time_strided_convolution`: 5 x 1 x 1 with that stride, norm and ReLU, to
            twice the channels. `time_to_channel`: side by side as channels. `time_strided_sampling`: the first stays.
        combination: `concat` puts the given channels behind the target's own; `sum` adds them up.
    """

    source: Index
    target: Index
    group: Index
    kind: FusionKind
    combination: Literal["concat", "sum"] = "concat"

    @property
    def key(self) -> str:
        """Its name among the fusions of a network: `group3_1to0_time_to_channel`."""
        return f"group{self.group}_{self.source}to{self.target}_{self.kind}"


class _Group(Protocol):
    @property
    def stride(self) -> int: ...
    @property
    def channels(self) -> int: ...


class _Stream(Protocol):
    @property
    def every(self) -> int: ...
    @property
    def groups(self) -> Sequence[_Group]: ...


def check_fusions(streams: Sequence[_Stream], fusions: Sequence[FusionSpec]) -> None:
    """Refuse fusions that no network can have.

    Raises:
        FieldError: the first broken rule, with its field.
    """
    for i, fusion in enumerate(fusions):
        mistake = _place_mistake(streams, fusion) or _twice(fusions[:i], fusion) or _map_mistake(streams, fusion)
        if mistake:
            raise FieldError(("fusions", i, mistake.field), mistake.rule)


class _Mistake(NamedTuple):
    field: str
    rule: str


def _place_mistake(streams: Sequence[_Stream], fusion: FusionSpec) -> _Mistake | None:
    """What names a place that is not there."""
    for field, index in (("source", fusion.source), ("target", fusion.target)):
        if index >= len(streams):
            return _Mistake(field, f"there is no stream {index}, the last one is {len(streams) - 1}")
    if fusion.source == fusion.target:
        return _Mistake("target", f"stream {fusion.target} would read itself, which is a cycle; name the other stream")
    for index in (fusion.source, fusion.target):
        groups = len(streams[index].groups)
        if fusion.group >= groups:
            return _Mistake("group", f"stream {index} has no group {fusion.group}, its last one is {groups - 1}")
    return None


def _twice(before: Sequence[FusionSpec], fusion: FusionSpec) -> _Mistake | None:
    for i, other in enumerate(before):
        if (other.source, other.target, other.group) == (fusion.source, fusion.target, fusion.group):
            way = f"from stream {fusion.source} to stream {fusion.target} after group {fusion.group}"
            return _Mistake("group", f"fusions.{i} goes {way} too; keep one of them")
    return None


def _map_mistake(streams: Sequence[_Stream], fusion: FusionSpec) -> _Mistake | None:
    """What keeps the map of the source from becoming one that the target can read."""
    g, source, target = fusion.group, streams[fusion.source], streams[fusion.target]
    frames = f"stream {fusion.source} takes one frame in {source.every}, stream {fusion.target} one in {target.every}"
    if target.every < source.every:
        rule = "the target has more frames than the source, and no kind of fusion adds frames; swap the two"
        return _Mistake("target", f"{frames}: {rule}")
    if target.every % source.every:
        return _Mistake("target", f"{frames}: one must be a multiple of the other, so that whole frames become one")
    ratio = target.every // source.every
    if ratio == 1 and fusion.kind != "time_strided_convolution":
        return _Mistake(
            "kind",
            f"{fusion.kind} needs a source with more frames than the target, here both have as many; "
            "time_strided_convolution does without",
        )
    halved, halved_too = (prod(group.stride for group in stream.groups[: g + 1]) for stream in (source, target))
    if halved != halved_too:
        return _Mistake(
            "group",
            f"sides differ after group {g}: strides up to there divide those of stream {fusion.source} by {halved}, "
            f"those of stream {fusion.target} by {halved_too}",
        )
    given, own = FUSED_CHANNELS[fusion.kind](source.groups[g].channels, ratio), target.groups[g].channels
    if fusion.combination == "sum" and given != own:
        has = f"group {g} of stream {fusion.target} has {own}"
        return _Mistake("combination", f"sum needs equal channels, {fusion.kind} gives {given} and {has}; use concat")
    return None
