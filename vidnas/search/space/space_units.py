"""Which units the networks of a space have, and where: what additive costs are summed over."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from vidnas.arch.plan import Place, fusion_units, group_places, group_units, head_unit, stream_units
from vidnas.arch.units import BlockPlan, Conv5Plan, FusionPlan, Unit
from vidnas.search.space.fusion_space import fused_channels
from vidnas.search.space.space import Space, fusion_path, path_of
from vidnas.search.space.stream_space import GroupChoice, StreamSpace


class SpaceUnit(NamedTuple):
    """A unit that some networks of a space have.

    Attributes:
        options: the option of each decision that it depends on, by path, which tell the networks that have it; lists
            of one option, which are no decisions, may be among them.
        unit: the unit.
        instead_of: the unit that these networks do not have after all, though it was given for fewer decisions. It
            differs by what other streams give, which concerns expansion and shortcut alone: the difference of any
            additive cost is the same for every kernel, so that no table is over all of this at once.
    """

    options: dict[str, int]
    unit: Unit
    instead_of: Unit | None = None


class _Given(NamedTuple):
    """Channels of other streams that enter a group, and the decisions that say so."""

    options: dict[str, int]
    channels: int


def space_units(space: Space) -> Iterator[SpaceUnit]:
    """Every unit of every network, once per option of the decisions that it depends on."""
    smallest = space.decode(space.smallest())
    for s, stream in enumerate(space.streams):
        stem, *_, conv5 = stream_units(smallest, s)
        assert isinstance(conv5, Conv5Plan)
        yield SpaceUnit({}, stem)
        for place in group_places(stream.groups, s, space.clip, stream.every)[:-1]:
            yield from _blocks(stream, place, _given(space, s, place.group))
            yield from _attention(stream, place)
        last = path_of(s, len(stream.groups) - 1, "channels")
        given = _given(space, s, len(stream.groups))
        for (c, channels), fused in product(enumerate(stream.groups[-1].channels), given):
            plan = replace(conv5, in_channels=channels + fused.channels, fused_channels=fused.channels)
            yield SpaceUnit({last: c, **fused.options}, plan)
    yield from _fusions(space)
    yield SpaceUnit({}, head_unit(smallest))


def _given(space: Space, stream: int, group: int) -> list[_Given]:
    """What may be concatenated to what enters a group, or the conv5 behind the last one."""
    f = space.fusion_into(stream, group)
    if f is None:
        return [_Given({}, 0)]
    fusion = space.fusions[f]
    ratio = space.fusion_ratio(fusion)
    widths = space.streams[fusion.source].groups[fusion.group].channels
    source = path_of(fusion.source, fusion.group, "channels")
    return [
        _Given({fusion_path(f): k, source: c}, fused_channels(kind, channels, ratio))
        for (k, kind), (c, channels) in product(enumerate(fusion.kind), enumerate(widths))
    ]


def _blocks(stream: StreamSpace, place: Place, given: Sequence[_Given]) -> Iterator[SpaceUnit]:
    """The blocks of a group; the first one depends on what enters."""
    s, g, group = place.stream, place.group, stream.groups[place.group]
    kernel, expansion, channels = (path_of(s, g, kind) for kind in ("kernel", "expansion", "channels"))
    before = path_of(s, g - 1, "channels")
    usual = given[0].channels
    for e, c in product(range(len(group.expansion)), range(len(group.channels))):
        spec = group.decode(GroupChoice(0, e, c, 0)).model_copy(update={"attention": None})
        alone = spec.model_copy(update={"depth": 1})
        for p, entering in enumerate(stream.input_channels(g)):
            first, *others = (
                unit for unit in group_units(stream, spec, place, entering, usual) if isinstance(unit, BlockPlan)
            )
            sizes = {expansion: e, channels: c}
            entered = sizes if g == 0 else {before: p, **sizes}
            for k, size in enumerate(group.kernel):
                yield SpaceUnit({**entered, kernel: k}, replace(first, kernel=size))
                # The others are the same whatever enters the group.
                for block in others if p == 0 else ():
                    yield SpaceUnit({**sizes, kernel: k}, replace(block, kernel=size))
            for fused in {other.channels for other in given} - {usual}:
                (wider,) = group_units(stream, alone, place, entering, fused)
                for other in given:
                    if other.channels == fused:
                        yield SpaceUnit({**entered, **other.options}, wider, first)


def _attention(stream: StreamSpace, place: Place) -> Iterator[SpaceUnit]:
    s, g, group = place.stream, place.group, stream.groups[place.group]
    for c, a in product(range(len(group.channels)), range(len(group.attention))):
        options = {path_of(s, g, "channels"): c, path_of(s, g, "attention"): a}
        for unit in group_units(stream, group.decode(GroupChoice(0, 0, c, a)), place, stream.input_channels(g)[0]):
            if not isinstance(unit, BlockPlan):
                yield SpaceUnit(options, unit)


def _fusions(space: Space) -> Iterator[SpaceUnit]:
    """The fusions, which depend on the channels that they read."""
    largest = {plan.path: plan for spec in space.envelopes() for plan in fusion_units(spec)}
    for f, fusion in enumerate(space.fusions):
        widths = space.streams[fusion.source].groups[fusion.group].channels
        source = path_of(fusion.source, fusion.group, "channels")
        for k in range(len(fusion.kind)):
            spec = fusion.decode(k)
            if spec is None:
                continue
            plan: FusionPlan = largest[f"fusions.{spec.key}"]
            for c, channels in enumerate(widths):
                given = fused_channels(spec.kind, channels, plan.ratio)
                unit = replace(plan, in_channels=channels, out_channels=given)
                yield SpaceUnit({fusion_path(f): k, source: c}, unit)
