"""What may be chosen of a fusion: one of several kinds, or none."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, field_validator

from vidnas.arch.fusion import FUSED_CHANNELS, FusionKind, FusionSpec, Index, check_fusions
from vidnas.base.document import Frozen
from vidnas.base.mistakes import FieldError
from vidnas.search.space.choice_lists import as_list, check_distinct
from vidnas.search.space.stream_space import StreamSpace

FusionOption = Literal["none", FusionKind]


class FusionSpace(Frozen):
    """Choices of what a stream gives to another after a group; every field but the kind is as in `FusionSpec`.

    Attributes:
        kind: candidates in any order; with `none` nothing is given.
    """

    source: Index
    target: Index
    group: Index
    kind: Annotated[tuple[FusionOption, ...], BeforeValidator(as_list)]
    combination: Literal["concat", "sum"] = "concat"

    @field_validator("kind")
    @classmethod
    def _distinct(cls, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        check_distinct(choices)
        return choices

    @property
    def kinds(self) -> tuple[FusionKind, ...]:
        """The candidates that give something."""
        return tuple(kind for kind in self.kind if kind != "none")

    def decode(self, index: int) -> FusionSpec | None:
        """The fusion that a candidate stands for."""
        kind = self.kind[index]
        return None if kind == "none" else self._of(kind)

    def of_every_kind(self) -> tuple[FusionSpec, ...]:
        """The fusions that its candidates stand for."""
        return tuple(map(self._of, self.kinds))

    def is_place_of(self, fusion: FusionSpec) -> bool:
        """Whether a fusion goes the same way after the same group."""
        return (fusion.source, fusion.target, fusion.group) == (self.source, self.target, self.group)

    def _of(self, kind: FusionKind) -> FusionSpec:
        return FusionSpec(
            source=self.source, target=self.target, group=self.group, kind=kind, combination=self.combination
        )


def fused_channels(kind: FusionOption, channels: int, ratio: int) -> int:
    """Channels that a candidate gives, of so many that it reads."""
    return 0 if kind == "none" else FUSED_CHANNELS[kind](channels, ratio)


class _Group(NamedTuple):
    stride: int
    channels: int


class _Stream(NamedTuple):
    every: int
    groups: Sequence[_Group]


def check_fusion_choices(streams: Sequence[StreamSpace], fusions: Sequence[FusionSpace]) -> None:
    """Refuse fusions of which some choice makes a network that cannot be.

    Raises:
        FieldError: the first broken rule, with its field.
    """
    narrowest = [
        _Stream(stream.every, [_Group(group.stride, group.channels[0]) for group in stream.groups])
        for stream in streams
    ]
    places: list[FusionSpec] = []
    for i, fusion in enumerate(fusions):
        # A time-strided convolution, concatenated, can be wherever any fusion can.
        place = FusionSpec(
            source=fusion.source, target=fusion.target, group=fusion.group, kind="time_strided_convolution"
        )
        check_fusions(narrowest, [*places, place])
        if fusion.combination == "sum" and fusion.kinds:
            for stream in (fusion.source, fusion.target):
                if len(streams[stream].groups[fusion.group].channels) > 1:
                    rule = f"sum needs equal channels, group {fusion.group} of stream {stream} has several; use concat"
                    raise FieldError(("fusions", i, "combination"), rule)
        for k in range(len(fusion.kind)):
            own = fusion.decode(k)
            if own is None:
                continue
            try:
                check_fusions(narrowest, [*places, own])
            except FieldError as error:
                path = (*error.path, k) if error.path[-1] == "kind" else error.path
                raise FieldError(path, str(error)) from error
        places.append(place)
