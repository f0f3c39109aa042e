"""A search space: the tree of an ArchSpec with lists of choices in place of values.

An architecture is an index vector, one index per variable; `decode` turns it into an ArchSpec, `encode` back.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import prod
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar

from pydantic import Field, model_validator

from vidnas.arch.fusion import FusionSpec
from vidnas.arch.spec import (
    ArchSpec,
    ClassificationSpec,
    ClipSpec,
    GroupSpec,
    HeadSpec,
    StreamSpec,
    check_streams,
    frames_mistake,
    head_for,
)
from vidnas.base.document import Document
from vidnas.base.errors import VidnasError
from vidnas.search.space.attention_options import attention_weights
from vidnas.search.space.fusion_space import FusionSpace, check_fusion_choices, fused_channels
from vidnas.search.space.stream_space import KINDS, GroupChoice, Kind, StreamSpace

Choice = tuple[int, ...]
_T = TypeVar("_T")


class Variable(NamedTuple):
    """One searched decision: the `size` options of the list at a `path`.

    Paths are as `streams.0.groups.3.kernel` and `fusions.3.kind`.
    """

    path: str
    size: int

    def __str__(self) -> str:
        return self.path

    @property
    def kind(self) -> str:
        """What is decided: the last word of the path, and `fusion` for the kind of one."""
        return "fusion" if self.path.startswith("fusions.") else self.path.rpartition(".")[2]


def path_of(stream: int, group: int, kind: Kind) -> str:
    """The path of a group's list."""
    return f"streams.{stream}.groups.{group}.{kind}"


def fusion_path(fusion: int) -> str:
    """The path of a fusion's list."""
    return f"fusions.{fusion}.kind"


class Space(Document):
    """A search space: every architecture has this clip and head, and one option of each list."""

    what: ClassVar[str] = "space"
    on_lists: ClassVar[str] = (
        "must be one value; lists may stand for a group's channels, expansion, kernel (of {t, s} pairs) and attention, "
        "and for a fusion's kind"
    )

    name: Annotated[str, Field(min_length=1)]
    clip: ClipSpec
    streams: Annotated[tuple[StreamSpace, ...], Field(min_length=1, max_length=2)]
    fusions: tuple[FusionSpace, ...] = ()
    head: HeadSpec = ClassificationSpec()

    @model_validator(mode="after")
    def _streams_fit(self) -> Self:
        first = GroupChoice(0, 0, 0, 0)
        streams = self._stream_specs([group.decode(first) for group in stream.groups] for stream in self.streams)
        check_streams(self.clip, streams, self.head)
        check_fusion_choices(self.streams, self.fusions)
        return self

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The searched decisions, group by group, then fusion by fusion; a list of one option is none."""
        of_groups = (
            Variable(path_of(s, g, kind), len(group.choices(kind)))
            for s, stream in enumerate(self.streams)
            for g, group in enumerate(stream.groups)
            for kind in KINDS
        )
        of_fusions = (Variable(fusion_path(f), len(fusion.kind)) for f, fusion in enumerate(self.fusions))
        return tuple(variable for variable in chain(of_groups, of_fusions) if variable.size > 1)

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
        picks = self._picks(choice)
        return tuple(
            tuple(
                GroupChoice(*(picks.get(path_of(s, g, kind), 0) for kind in KINDS)) for g in range(len(stream.groups))
            )
            for s, stream in enumerate(self.streams)
        )

    def fusion_choices(self, choice: Choice) -> tuple[int, ...]:
        """Indices into the list of every fusion.

        Raises:
            VidnasError: `choice` is not one of this space.
        """
        picks = self._picks(choice)
        return tuple(picks.get(fusion_path(f), 0) for f in range(len(self.fusions)))

    def _picks(self, choice: Choice) -> dict[str, int]:
        """The option of each variable, by its path."""
        variables = self.variables
        if len(choice) != len(variables):
            raise VidnasError(f"space {self.name}: a choice has {len(variables)} indices, this one {len(choice)}")
        for variable, index in zip(variables, choice, strict=True):
            if not 0 <= index < variable.size:
                raise VidnasError(f"space {self.name}: {variable} has no option {index} of {variable.size}")
        return {variable.path: index for variable, index in zip(variables, choice, strict=True)}

    def choice_of(self, groups: Sequence[Sequence[GroupChoice]], fusions: Sequence[int] = ()) -> Choice:
        """The index vector of full choices; the reverse of `group_choices` and `fusion_choices`."""
        picks = {
            path_of(s, g, kind): getattr(choice, kind)
            for s, stream in enumerate(groups)
            for g, choice in enumerate(stream)
            for kind in KINDS
        }
        picks |= {fusion_path(f): index for f, index in enumerate(fusions)}
        return tuple(picks[variable.path] for variable in self.variables)

    def fusion_into(self, stream: int, group: int) -> int | None:
        """Which fusion is concatenated to what enters a group of a stream, or its conv5 behind the last one."""
        into = (
            f
            for f, fusion in enumerate(self.fusions)
            if (fusion.target, fusion.group + 1, fusion.combination) == (stream, group, "concat") and fusion.kinds
        )
        return next(into, None)

    def fusion_ratio(self, fusion: FusionSpace) -> int:
        """How many frames of the source the target has one of."""
        return self.streams[fusion.target].every // self.streams[fusion.source].every

    def decode(self, choice: Choice) -> ArchSpec:
        """The network that a choice stands for; its name follows from its content."""
        indices = self.group_choices(choice)
        groups = (
            [group.decode(index) for group, index in zip(stream.groups, own, strict=True)]
            for stream, own in zip(self.streams, indices, strict=True)
        )
        fusions = (fusion.decode(i) for fusion, i in zip(self.fusions, self.fusion_choices(choice), strict=True))
        spec = self._network(groups, (fusion for fusion in fusions if fusion))
        return spec.model_copy(update={"name": f"{self.name}_{spec.content_hash[:8]}"})

    def envelopes(self) -> list[ArchSpec]:
        """Networks whose units hold those of every other as slices, but for kernels; often none of the space.

        They differ in the kinds of attention and fusions only, since a group has one kind, and so has a fusion. What
        a unit reads of several kinds of fusions is in none of them.
        """
        streams = [[group.envelopes() for group in stream.groups] for stream in self.streams]
        fusions = [own for fusion in self.fusions if (own := fusion.of_every_kind())]
        kinds = max(len(each) for each in chain(*streams, fusions))
        return [
            self._network(
                [[_at_most(group, kind) for group in groups] for groups in streams],
                [_at_most(fusion, kind) for fusion in fusions],
            )
            for kind in range(kinds)
        ]

    def _network(self, groups: Iterable[Sequence[GroupSpec]], fusions: Iterable[FusionSpec]) -> ArchSpec:
        streams = self._stream_specs(groups)
        return ArchSpec(name=self.name, clip=self.clip, streams=streams, fusions=tuple(fusions), head=self.head)

    def _stream_specs(self, groups: Iterable[Sequence[GroupSpec]]) -> tuple[StreamSpec, ...]:
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
        choice = self.choice_of(found, [*self._fusions_of(spec, where)])
        difference = _first_difference(self.decode(choice).model_dump(), spec.model_dump(), "")
        if difference:
            raise VidnasError(f"{where}: {difference}")
        return choice

    def _fusions_of(self, spec: ArchSpec, where: str) -> Iterator[int]:
        """Indices into the list of every fusion."""
        for i, fusion in enumerate(spec.fusions):
            if not any(place.is_place_of(fusion) for place in self.fusions):
                way = f"from stream {fusion.source} to stream {fusion.target} after group {fusion.group}"
                raise VidnasError(f"{where}: fusions.{i} goes {way}, where the space has none")
        for f, place in enumerate(self.fusions):
            kind = next((fusion.kind for fusion in spec.fusions if place.is_place_of(fusion)), "none")
            if kind not in place.kind:
                raise VidnasError(f"{where}: fusions.{f}.kind is {kind}, the choices are {', '.join(place.kind)}")
            yield place.kind.index(kind)

    def smallest(self) -> Choice:
        """Fewest channels, least expansion, smallest kernel and no attention everywhere, least fused."""
        return tuple(min(range(v.size), key=self._extent(v)) for v in self.variables)

    def largest(self) -> Choice:
        """Most channels and expansion, largest kernel and attention everywhere, most fused."""
        return tuple(max(range(v.size), key=self._extent(v)) for v in self.variables)

    def _extent(self, variable: Variable) -> Any:
        options = self.options(variable)
        if variable.kind == "kernel":
            return lambda i: options[i].t * options[i].s ** 2
        if variable.kind == "attention":
            group = self._at(variable.path.rpartition(".")[0])
            widest = group.channels[-1]
            return lambda i: attention_weights(group.attention_units(widest)[i], widest)
        if variable.kind == "fusion":
            fusion = self._at(variable.path.rpartition(".")[0])
            ratio = self.fusion_ratio(fusion)
            return lambda i: fused_channels(options[i], 1, ratio)
        return lambda i: options[i]

    def with_classes(self, num_classes: int, *, multi_label: bool = False) -> "Space":
        """The same space for another number of classes, or for several labels per video (`head_for`)."""
        return self.model_copy(update={"head": head_for(self.head, num_classes, multi_label=multi_label)})

    def with_clip(self, clip: ClipSpec) -> "Space":
        """The same space for networks that see another clip.

        Raises:
            VidnasError: a stream cannot take its frames of it.
        """
        for s, stream in enumerate(self.streams):
            if rule := frames_mistake(clip, stream.every):
                raise VidnasError(f"space {self.name}: streams.{s}.every: {rule}")
        return self.model_copy(update={"clip": clip})


def _at_most(options: Sequence[_T], index: int) -> _T:
    """The option at an index, or the last one before it."""
    return options[min(index, len(options) - 1)]


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
