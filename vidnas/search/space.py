"""A search space: the tree of an ArchSpec with lists of choices in place of values.

An architecture is an index vector, one index per variable; `decode` turns it into an ArchSpec, `encode` back.
"""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vidnas.arch.document import Document, Frozen
from vidnas.arch.spec import (
    ArchSpec,
    ClipSpec,
    GloReSpec,
    GroupSpec,
    HeadSpec,
    Kernel,
    Positive,
    SqueezeExciteSpec,
    StemSpec,
    StreamSpec,
)
from vidnas.errors import VidnasError
from vidnas.search.windows import WINDOW_MODES, channel_window, exact, spacing, unit

Choice = tuple[int, ...]
Kind = Literal["kernel", "expansion", "channels", "attention"]
KINDS: tuple[Kind, ...] = ("kernel", "expansion", "channels", "attention")
Attention = Literal["none", "glore"]
MAX_NODES = 216


def glore_spec(channels: int, nodes_per_channel: float = 1.5) -> GloReSpec:
    """The unit that stands after a group of this width, with two states per node.

    Deviation: the paper gives no sizes; 1.5 nodes per channel are fitted to its costs (docs/discrepancies.md).
    """
    nodes = max(1, min(int(nodes_per_channel * channels), MAX_NODES))
    return GloReSpec(nodes=nodes, states=2 * nodes)


def _as_list(value: Any) -> Any:
    """A plain value stands for a list of one, so that any spec can be written as a space."""
    return value if isinstance(value, list | tuple) else ("none",) if value is None else (value,)


class Variable(NamedTuple):
    """One searched decision: `size` options of `kind` in a group of a stream (`part`)."""

    part: int
    group: int
    kind: Kind
    size: int

    def __str__(self) -> str:
        return f"groups.{self.group}.{self.kind}"


class GroupChoice(NamedTuple):
    """Indices into the four lists of a group, those of one option included."""

    kernel: int
    expansion: int
    channels: int
    attention: int


class GroupSpace(Frozen):
    """Choices of one group of blocks; depth and stride are given.

    Attributes:
        channels: candidates in equal steps.
        expansion: candidates in equal steps.
        kernel: candidates in any order.
        attention: what may follow the group's last block.
        nodes_per_channel: size of such a unit (`glore_spec`).
    """

    depth: Positive
    stride: Literal[1, 2]
    channels: Annotated[tuple[Positive, ...], BeforeValidator(_as_list)]
    expansion: Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_as_list)]
    kernel: Annotated[tuple[Kernel, ...], BeforeValidator(_as_list)]
    attention: Annotated[tuple[Attention, ...], BeforeValidator(_as_list)] = ("none",)
    nodes_per_channel: Annotated[float, Field(gt=0)] = 1.5

    @field_validator("channels", "expansion")
    @classmethod
    def _regular(cls, choices: tuple[float, ...]) -> tuple[float, ...]:
        spacing(choices)
        return choices

    @field_validator("kernel", "attention")
    @classmethod
    def _distinct(cls, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        if not choices:
            raise ValueError("is empty; give at least one choice")
        if len(set(choices)) < len(choices):
            raise ValueError("names a choice twice")
        return choices

    def choices(self, kind: Kind) -> tuple[Any, ...]:
        """The candidates of a kind."""
        return tuple(getattr(self, kind))

    def decode(self, choice: GroupChoice) -> GroupSpec:
        """The group that a choice stands for."""
        channels = self.channels[choice.channels]
        attends = self.attention[choice.attention] == "glore"
        return GroupSpec(
            depth=self.depth,
            stride=self.stride,
            channels=channels,
            expansion=self.expansion[choice.expansion],
            kernel=self.kernel[choice.kernel],
            attention=glore_spec(channels, self.nodes_per_channel) if attends else None,
        )


class StreamSpace(Frozen):
    """Choices of one pathway; every field that is not searched is as in `StreamSpec`."""

    stem: StemSpec
    groups: Annotated[tuple[GroupSpace, ...], Field(min_length=1)]
    expansion_of: Literal["input", "output"] = "input"
    se: SqueezeExciteSpec | None = SqueezeExciteSpec()
    activation: Literal["swish", "relu"] = "swish"
    depthwise: bool = True
    projection_norm: Literal["always", "on_channel_change"] = "always"
    conv5: Positive

    def input_channels(self, group: int) -> tuple[int, ...]:
        """Candidates of the channels that enter a group."""
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
                step = unit(group.expansion) * unit(basis)
                # The spec multiplies in floating point and cuts: it must find the same whole number.
                if step.denominator != 1 or any(int(e * c) != exact(e) * c for e, c in product(group.expansion, basis)):
                    raise ValueError(
                        f"groups.{g}.expansion: {_shown(group.expansion)} times {_shown(basis)} channels does not "
                        "give whole numbers of hidden channels in equal steps; change the step of either"
                    )
        return self

    @model_validator(mode="after")
    def _clear_shortcuts(self) -> Self:
        """Refuse borders where equal widths are different channels, as an identity shortcut would add those up."""
        for g, group in enumerate(self.groups):
            if group.stride == 2:
                continue
            before = self.input_channels(g)
            for (i, c_in), (o, c_out) in product(enumerate(before), enumerate(group.channels)):
                same = {
                    channel_window(before, i, mode) == channel_window(group.channels, o, mode) for mode in WINDOW_MODES
                }
                if same != {c_in == c_out}:
                    raise ValueError(
                        f"groups.{g}.channels: {c_in} channels in and out have a shortcut that adds different "
                        f"channels of the supernet ({_shown(before)} enter, {_shown(group.channels)} leave); give "
                        "both the same list, or the group stride 2"
                    )
        return self


def _shown(choices: Sequence[float]) -> str:
    return f"{choices[0]:g}" if len(choices) == 1 else f"{choices[0]:g}~{choices[-1]:g}"


class Space(Document):
    """A search space: every architecture has this clip and head, and one option of each list."""

    what: ClassVar[str] = "space"

    name: Annotated[str, Field(min_length=1)]
    clip: ClipSpec
    streams: Annotated[tuple[StreamSpace, ...], Field(min_length=1, max_length=1)]
    head: HeadSpec = HeadSpec()

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The searched decisions, group by group; a list of one option is none."""
        return tuple(
            Variable(p, g, kind, len(group.choices(kind)))
            for p, stream in enumerate(self.streams)
            for g, group in enumerate(stream.groups)
            for kind in KINDS
            if len(group.choices(kind)) > 1
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of options of each variable."""
        return tuple(variable.size for variable in self.variables)

    @property
    def size(self) -> int:
        """Number of architectures."""
        return prod(self.sizes)

    def options(self, variable: Variable) -> tuple[Any, ...]:
        """The candidates that a variable's index counts."""
        return self.streams[variable.part].groups[variable.group].choices(variable.kind)

    def group_choices(self, choice: Choice) -> tuple[tuple[GroupChoice, ...], ...]:
        """Indices into every list of every group, per stream.

        Raises:
            VidnasError: `choice` is not one of this space.
        """
        variables = self.variables
        if len(choice) != len(variables):
            raise VidnasError(f"space {self.name}: a choice has {len(variables)} indices, this one {len(choice)}")
        indices: dict[tuple[int, int, Kind], int] = {}
        for variable, index in zip(variables, choice, strict=True):
            if not 0 <= index < variable.size:
                raise VidnasError(f"space {self.name}: {variable} has no option {index} of {variable.size}")
            indices[variable.part, variable.group, variable.kind] = index
        return tuple(
            tuple(GroupChoice(*(indices.get((p, g, kind), 0) for kind in KINDS)) for g in range(len(stream.groups)))
            for p, stream in enumerate(self.streams)
        )

    def choice_of(self, groups: Sequence[Sequence[GroupChoice]]) -> Choice:
        """The index vector of full group choices; the reverse of `group_choices`."""
        return tuple(getattr(groups[v.part][v.group], v.kind) for v in self.variables)

    def decode(self, choice: Choice) -> ArchSpec:
        """The network that a choice stands for; its name follows from its content."""
        streams = tuple(
            StreamSpec(
                stem=stream.stem,
                groups=tuple(group.decode(index) for group, index in zip(stream.groups, indices, strict=True)),
                expansion_of=stream.expansion_of,
                se=stream.se,
                activation=stream.activation,
                depthwise=stream.depthwise,
                projection_norm=stream.projection_norm,
                conv5=stream.conv5,
            )
            for stream, indices in zip(self.streams, self.group_choices(choice), strict=True)
        )
        spec = ArchSpec(name=self.name, clip=self.clip, streams=streams, head=self.head)
        return spec.model_copy(update={"name": f"{self.name}_{spec.content_hash[:8]}"})

    def encode(self, spec: ArchSpec) -> Choice:
        """The choice that `decode` turns into this network, whatever its name.

        Raises:
            VidnasError: the network is not in the space; the message names the first field that is not.
        """
        where = f"{spec.name} is not in the space {self.name}"
        found: list[list[GroupChoice]] = []
        for p, (stream, arch) in enumerate(zip(self.streams, spec.streams, strict=True)):
            if len(stream.groups) != len(arch.groups):
                raise VidnasError(f"{where}: it has {len(arch.groups)} groups, the space {len(stream.groups)}")
            found.append([])
            for g, (group, member) in enumerate(zip(stream.groups, arch.groups, strict=True)):
                values = (member.kernel, member.expansion, member.channels, "glore" if member.attention else "none")
                indices = []
                for kind, value in zip(KINDS, values, strict=True):
                    options = group.choices(kind)
                    if value not in options:
                        offered = ", ".join(map(str, options))
                        raise VidnasError(
                            f"{where}: streams.{p}.groups.{g}.{kind} is {value}, the choices are {offered}"
                        )
                    indices.append(options.index(value))
                found[-1].append(GroupChoice(*indices))
        choice = self.choice_of(found)
        difference = _first_difference(self.decode(choice).model_dump(), spec.model_dump(), "")
        if difference:
            raise VidnasError(f"{where}: {difference}")
        return choice

    def smallest(self) -> Choice:
        """Fewest channels, least expansion, smallest kernel and no attention everywhere."""
        return tuple(min(range(v.size), key=self._extent(v)) for v in self.variables)

    def largest(self) -> Choice:
        """Most of everything: the whole supernet."""
        return tuple(max(range(v.size), key=self._extent(v)) for v in self.variables)

    def _extent(self, variable: Variable) -> Any:
        options = self.options(variable)
        if variable.kind == "kernel":
            return lambda i: options[i].t * options[i].s ** 2
        if variable.kind == "attention":
            return lambda i: options[i] != "none"
        return lambda i: options[i]

    def with_classes(self, num_classes: int) -> "Space":
        """The same space for another number of classes."""
        return self.model_copy(update={"head": self.head.model_copy(update={"num_classes": num_classes})})

    def with_clip(self, clip: ClipSpec) -> "Space":
        """The same space for networks that see another clip."""
        return self.model_copy(update={"clip": clip})


def _first_difference(ours: Any, theirs: Any, path: str) -> str | None:
    """The first field whose values differ, as `field is THEIRS, the space has OURS`; names are free."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours:
            if not path and key == "name":
                continue
            if found := _first_difference(ours[key], theirs.get(key), f"{path}.{key}"):
                return found
        return None
    if isinstance(ours, tuple | list) and isinstance(theirs, tuple | list) and len(ours) == len(theirs):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if found := _first_difference(a, b, f"{path}.{i}"):
                return found
        return None
    return None if ours == theirs else f"{path.lstrip('.')} is {theirs}, the space has {ours}"
