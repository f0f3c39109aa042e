"""A search space: the tree of an ArchSpec with lists of choices in place of values.

An architecture is an index vector, one index per variable; `decode` turns it into an ArchSpec, `encode` back.
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from vidnas.arch.fusion import FusionSpec, check_fusions
from vidnas.arch.spec import (
    ArchSpec,
    ClassificationSpec,
    ClipSpec,
    GroupSpec,
    HeadSpec,
    StreamSpec,
    frames_mistake,
    head_for,
)
from vidnas.base.document import Document
from vidnas.base.errors import VidnasError
from vidnas.base.mistakes import FieldError
from vidnas.search.space.attention_options import attention_weights
from vidnas.search.space.stream_space import KINDS, GroupChoice, Kind, StreamSpace

Choice = tuple[int, ...]


class Variable(NamedTuple):
    """One searched decision: the `size` options of the list at a `path`, as `streams.0.groups.3.kernel`."""

    path: str
    size: int

    def __str__(self) -> str:
        return self.path

    @property
    def kind(self) -> str:
        """What is decided: the last word of the path."""
        return self.path.rpartition(".")[2]


def path_of(stream: int, group: int, kind: Kind) -> str:
    """The path of a group's list."""
    return f"streams.{stream}.groups.{group}.{kind}"


class Space(Document):
    """A search space: every architecture has this clip and head, and one option of each list."""

    what: ClassVar[str] = "space"
    on_lists: ClassVar[str] = (
        "must be one value; lists may stand for a group's channels, expansion, kernel (of {t, s} pairs) and attention"
    )

    name: Annotated[str, Field(min_length=1)]
    clip: ClipSpec
    streams: Annotated[tuple[StreamSpace, ...], Field(min_length=1, max_length=1)]
    fusions: tuple[FusionSpec, ...] = ()
    head: HeadSpec = ClassificationSpec()

    @model_validator(mode="after")
    def _whole_frames(self) -> Self:
        for s, stream in enumerate(self.streams):
            if rule := frames_mistake(self.clip, stream.every):
                raise FieldError(("streams", s, "every"), rule)
        return self

    @model_validator(mode="after")
    def _fusions_fit(self) -> Self:
        first = GroupChoice(0, 0, 0, 0)
        check_fusions(self._streams([group.decode(first) for group in s.groups] for s in self.streams), self.fusions)
        return self

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The searched decisions, group by group; a list of one option is none."""
        return tuple(
            Variable(path_of(s, g, kind), len(group.choices(kind)))
            for s, stream in enumerate(self.streams)
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
        options: tuple[Any, ...] = self._at(variable.path)
        return options

    def _at(self, path: str) -> Any:
        """What stands at a path."""
        node: Any = self
        for name in path.split("."):
            node = node[int(name)] if name.isdigit() else getattr(node, name)
        return node

    def option_names(self, variable: Variable) -> tuple[str, ...]:
        """The candidates as people read them."""
        return tuple(f"{o:g}" if isinstance(o, int | float) else str(o) for o in self.options(variable))

    def group_choices(self, choice: Choice) -> tuple[tuple[GroupChoice, ...], ...]:
        """Indices into every list of every group, per stream.

        Raises:
            VidnasError: `choice` is not one of this space.
        """
        variables = self.variables
        if len(choice) != len(variables):
            raise VidnasError(f"space {self.name}: a choice has {len(variables)} indices, this one {len(choice)}")
        for variable, index in zip(variables, choice, strict=True):
            if not 0 <= index < variable.size:
                raise VidnasError(f"space {self.name}: {variable} has no option {index} of {variable.size}")
        picks = {variable.path: index for variable, index in zip(variables, choice, strict=True)}
        return tuple(
            tuple(
                GroupChoice(*(picks.get(path_of(s, g, kind), 0) for kind in KINDS)) for g in range(len(stream.groups))
            )
            for s, stream in enumerate(self.streams)
        )

    def choice_of(self, groups: Sequence[Sequence[GroupChoice]]) -> Choice:
        """The index vector of full group choices; the reverse of `group_choices`."""
        picks = {
            path_of(s, g, kind): getattr(choice, kind)
            for s, stream in enumerate(groups)
            for g, choice in enumerate(stream)
            for kind in KINDS
        }
        return tuple(picks[variable.path] for variable in self.variables)

    def decode(self, choice: Choice) -> ArchSpec:
        """The network that a choice stands for; its name follows from its content."""
        indices = self.group_choices(choice)
        spec = self._network(
            [group.decode(index) for group, index in zip(stream.groups, own, strict=True)]
            for stream, own in zip(self.streams, indices, strict=True)
        )
        return spec.model_copy(update={"name": f"{self.name}_{spec.content_hash[:8]}"})

    def envelopes(self) -> list[ArchSpec]:
        """Networks whose units hold those of every other as slices, but for kernels; often none of the space.

        They differ in the kind of attention only, since a group has one kind.
        """
        streams = [[group.envelopes() for group in stream.groups] for stream in self.streams]
        kinds = max(len(group) for groups in streams for group in groups)
        return [
            self._network([group[min(kind, len(group) - 1)] for group in groups] for groups in streams)
            for kind in range(kinds)
        ]

    def _network(self, groups: Iterable[Sequence[GroupSpec]]) -> ArchSpec:
        streams = self._streams(groups)
        return ArchSpec(name=self.name, clip=self.clip, streams=streams, fusions=self.fusions, head=self.head)

    def _streams(self, groups: Iterable[Sequence[GroupSpec]]) -> tuple[StreamSpec, ...]:
        return tuple(
            StreamSpec(
                every=stream.every,
                stem=stream.stem,
                groups=tuple(own),
                expansion_of=stream.expansion_of,
                se=stream.se,
                activation=stream.activation,
                depthwise=stream.depthwise,
                projection_norm=stream.projection_norm,
                conv5=stream.conv5,
            )
            for stream, own in zip(self.streams, groups, strict=True)
        )

    def encode(self, spec: ArchSpec) -> Choice:
        """The choice that `decode` turns into this network, whatever its name.

        Raises:
            VidnasError: the network is not in the space; the message names the first field that is not.
        """
        where = f"{spec.name} is not in the space {self.name}"
        if len(spec.streams) != len(self.streams):
            raise VidnasError(f"{where}: it has {len(spec.streams)} streams, the space {len(self.streams)}")
        found: list[list[GroupChoice]] = []
        for p, (stream, arch) in enumerate(zip(self.streams, spec.streams, strict=True)):
            if len(stream.groups) != len(arch.groups):
                raise VidnasError(f"{where}: it has {len(arch.groups)} groups, the space {len(stream.groups)}")
            found.append([])
            for g, (group, member) in enumerate(zip(stream.groups, arch.groups, strict=True)):
                indices = []
                for kind in KINDS:
                    value, options = getattr(member, kind), group.choices(kind)
                    if kind == "attention":
                        options = group.attention_units(member.channels)
                    if value not in options:
                        offered = ", ".join(str(option or "none") for option in options)
                        raise VidnasError(
                            f"{where}: streams.{p}.groups.{g}.{kind} is {value or 'none'}, the choices are {offered}"
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
        """Most channels and expansion, largest kernel and attention everywhere."""
        return tuple(max(range(v.size), key=self._extent(v)) for v in self.variables)

    def _extent(self, variable: Variable) -> Any:
        options = self.options(variable)
        if variable.kind == "kernel":
            return lambda i: options[i].t * options[i].s ** 2
        if variable.kind == "attention":
            group = self._at(variable.path.rpartition(".")[0])
            widest = group.channels[-1]
            return lambda i: attention_weights(group.attention_units(widest)[i], widest)
        return lambda i: options[i]

    def with_classes(self, num_classes: int, *, multi_label: bool = False) -> "Space":
        """The same space for another number of classes, or for several labels per video (`head_for`)."""
        return self.model_copy(update={"head": head_for(self.head, num_classes, multi_label=multi_label)})

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
