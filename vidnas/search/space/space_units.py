"""Which blocks and attention units the networks of a space have, and where: what additive costs are summed over."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from vidnas.arch.plan import Place, group_places, group_units, head_unit, stream_units
from vidnas.arch.units import BlockPlan, Unit
from vidnas.search.space.space import Space, path_of
from vidnas.search.space.stream_space import GroupChoice, StreamSpace


class SpaceUnit(NamedTuple):
    """A unit that some networks of a space have.

    Attributes:
        options: the option of each decision that it depends on, by path, which tell the networks that have it; lists
            of one option, which are no decisions, may be among them.
        unit: the unit.
    """

    options: dict[str, int]
    unit: Unit


def space_units(space: Space) -> Iterator[SpaceUnit]:
    """Every unit of every network, once per option of the decisions that it depends on."""
    smallest = space.decode(space.smallest())
    for s, stream in enumerate(space.streams):
        stem, *_, conv5 = stream_units(smallest, s)
        yield SpaceUnit({}, stem)
        for place in group_places(stream.groups, s, space.clip, stream.every)[:-1]:
            yield from _blocks(stream, place)
            yield from _attention(stream, place)
        for c, channels in enumerate(stream.groups[-1].channels):
            last = path_of(s, len(stream.groups) - 1, "channels")
            yield SpaceUnit({last: c}, replace(conv5, in_channels=channels))
    yield SpaceUnit({}, head_unit(smallest))


def _blocks(stream: StreamSpace, place: Place) -> Iterator[SpaceUnit]:
    """The blocks of a group; the first one depends on what enters."""
    s, g, group = place.stream, place.group, stream.groups[place.group]
    kernel, expansion, channels = (path_of(s, g, kind) for kind in ("kernel", "expansion", "channels"))
    before = path_of(s, g - 1, "channels")
    for e, c in product(range(len(group.expansion)), range(len(group.channels))):
        spec = group.decode(GroupChoice(0, e, c, 0)).model_copy(update={"attention": None})
        for p, entering in enumerate(stream.input_channels(g)):
            first, *others = (
                unit for unit in group_units(stream, spec, place, entering) if isinstance(unit, BlockPlan)
            )
            for k, size in enumerate(group.kernel):
                own = {kernel: k, expansion: e, channels: c}
                yield SpaceUnit(own if g == 0 else {before: p, **own}, replace(first, kernel=size))
                # The others are the same whatever enters the group.
                for block in others if p == 0 else ():
                    yield SpaceUnit(own, replace(block, kernel=size))


def _attention(stream: StreamSpace, place: Place) -> Iterator[SpaceUnit]:
    s, g, group = place.stream, place.group, stream.groups[place.group]
    for c, a in product(range(len(group.channels)), range(len(group.attention))):
        options = {path_of(s, g, "channels"): c, path_of(s, g, "attention"): a}
        for unit in group_units(stream, group.decode(GroupChoice(0, 0, c, a)), place, stream.input_channels(g)[0]):
            if not isinstance(unit, BlockPlan):
                yield SpaceUnit(options, unit)
