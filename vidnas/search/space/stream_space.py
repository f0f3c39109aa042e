"""What may be chosen in a stream: the groups of a spec with lists of choices in place of values."""

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vidnas.arch.spec import AttentionSpec, GroupSpec, Kernel, Positive, SqueezeExciteSpec, StemSpec, Stride
from vidnas.base.document import Frozen
from vidnas.base.mistakes import FieldError
from vidnas.search.space.attention_options import Attention, as_attention, attention_unit, check_attention, envelopes
from vidnas.search.space.choice_lists import as_list, as_numbers, check_distinct
from vidnas.search.space.connections import hidden_mistake, shortcut_mistake
from vidnas.search.space.windows import spacing

Kind = Literal["kernel", "expansion", "channels", "attention"]
KINDS: tuple[Kind, ...] = ("kernel", "expansion", "channels", "attention")


class GroupChoice(NamedTuple):
    """Indices into the four lists of a group, those of one option included."""

    kernel: int
    expansion: int
    channels: int
    attention: int


class GroupSpace(Frozen):
    """Choices of one group of blocks; depth and stride are given.

    Attributes:
        depth: number of blocks.
        stride: spatial stride of the first block.
        channels: candidates in equal steps.
        expansion: candidates in equal steps.
        kernel: candidates in any order.
        attention: `none`, the name of a kind (a unit after the last block, as wide as the group), or units of given
            size and places; see `vidnas.search.space.attention_options`.
        nodes_per_channel: graph nodes of `glore` per channel of the group.
    """

    depth: Positive
    stride: Stride
    channels: Annotated[tuple[Positive, ...], BeforeValidator(as_numbers)]
    expansion: Annotated[tuple[Annotated[float, Field(gt=0, le=1000, strict=True)], ...], BeforeValidator(as_numbers)]
    kernel: Annotated[tuple[Kernel, ...], BeforeValidator(as_list)]
    attention: Annotated[tuple[Annotated[Attention, BeforeValidator(as_attention)], ...], BeforeValidator(as_list)] = (
        "none",
    )
    nodes_per_channel: Annotated[float, Field(gt=0, strict=True)] = 1.5

    @field_validator("channels", "expansion")
    @classmethod
    def _regular(cls, choices: tuple[float, ...]) -> tuple[float, ...]:
        spacing(choices)
        check_distinct(choices)
        return choices

    @field_validator("kernel", "attention")
    @classmethod
    def _distinct(cls, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        check_distinct(choices)
        return choices

    @model_validator(mode="after")
    def _attention_fits(self) -> Self:
        for channels in self.channels:
            check_attention(self.attention, self.attention_units(channels), self.depth)
        return self

    def choices(self, kind: Kind) -> tuple[Any, ...]:
        """The candidates of a kind."""
        return tuple(getattr(self, kind))

    def attention_units(self, channels: int) -> tuple[AttentionSpec | None, ...]:
        """What the options of attention are in a group of this width."""
        return tuple(attention_unit(option, channels, self.nodes_per_channel) for option in self.attention)

    def decode(self, choice: GroupChoice) -> GroupSpec:
        """The group that a choice stands for."""
        channels = self.channels[choice.channels]
        return GroupSpec(
            depth=self.depth,
            stride=self.stride,
            channels=channels,
            expansion=self.expansion[choice.expansion],
            kernel=self.kernel[choice.kernel],
            attention=self.attention_units(channels)[choice.attention],
        )

    def envelopes(self) -> list[GroupSpec]:
        """The groups that hold every other, one per kind of attention; their kernel is one of the candidates."""
        units = [unit for channels in self.channels for unit in self.attention_units(channels)]
        largest: list[AttentionSpec | None] = [*envelopes(units, self.depth)]
        return [
            GroupSpec(
                depth=self.depth,
                stride=self.stride,
                channels=self.channels[-1],
                expansion=self.expansion[-1],
                kernel=self.kernel[0],
                attention=attention,
            )
            for attention in largest or [None]
        ]


class StreamSpace(Frozen):
    """Choices of one pathway; every field but the groups is as in `StreamSpec`."""

    every: Positive = 1
    stem: StemSpec
    groups: Annotated[tuple[GroupSpace, ...], Field(min_length=1)]
    expansion_of: Literal["input", "output"] = "output"
    se: SqueezeExciteSpec | None = SqueezeExciteSpec()
    activation: Literal["swish", "relu"] = "swish"
    depthwise: bool = True
    projection_norm: Literal["always", "on_channel_change"] = "always"
    conv5: Positive

    def input_channels(self, group: int) -> tuple[int, ...]:
        """Candidates of the stream's own channels that enter a group, or conv5 behind the last one."""
        return self.groups[group - 1].channels if group else (self.stem.channels,)

    def bases(self, group: int) -> tuple[tuple[int, ...], ...]:
        """The channel lists that a group's expansion multiplies: of its first block, then of the others."""
        own = self.groups[group].channels
        if self.expansion_of == "output":
            return (own,)
        return (self.input_channels(group), own) if self.groups[group].depth > 1 else (self.input_channels(group),)

    @model_validator(mode="after")
    def _whole_hidden_channels(self) -> Self:
        for g, group in enumerate(self.groups):
            for basis in self.bases(g):
                if rule := hidden_mistake(group.expansion, basis):
                    raise FieldError(("groups", g, "expansion"), rule)
        return self

    @model_validator(mode="after")
    def _clear_shortcuts(self) -> Self:
        """Refuse borders where equal widths are different channels, as an identity shortcut would add those up."""
        for g, group in enumerate(self.groups):
            if group.stride == 2:
                continue
            if rule := shortcut_mistake(self.input_channels(g), group.channels, of_stem=g == 0):
                raise FieldError(("groups", g, "channels"), rule)
        return self
