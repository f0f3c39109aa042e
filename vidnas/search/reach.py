"""Which blocks and attention units the networks of a space have, and where: what additive costs are summed over."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from vidnas.arch.plan import BlockPlan, Place, StreamUnit, group_places, group_units
from vidnas.arch.spec import ArchSpec
from vidnas.search.space import Space
from vidnas.search.stream_space import GroupChoice

Cells = tuple[int | slice, int | slice, int, int, int]
_ANY = slice(None)


class Placed(NamedTuple):
    """A unit that some choices of a group have.

    Attributes:
        group: which.
        cells: those choices, in an array over (channels of the group before, kernel, expansion, channels, attention).
        unit: the unit.
    """

    group: int
    cells: Cells
    unit: StreamUnit


def placed_units(space: Space) -> Iterator[Placed]:
    """Every unit of every choice of every group."""
    stream = space.streams[0]
    for g, (group, place) in enumerate(zip(stream.groups, group_places(stream.groups, 0, space.clip), strict=False)):
        options = product(range(len(group.expansion)), range(len(group.channels)), range(len(group.attention)))
        for e, c, a in options:
            for p, entering in enumerate(stream.input_channels(g)):
                first, *others = _units(space, place, entering, GroupChoice(0, e, c, a))
                yield from _placed(space, g, first, (p, _ANY, e, c, a))
                # All but the first block are the same whatever enters the group.
                for unit in others if p == 0 else ():
                    yield from _placed(space, g, unit, (_ANY, _ANY, e, c, a))


def with_last_channels(space: Space) -> list[ArchSpec]:
    """The smallest network with each of the channels that its last group may have: they share all but conv5."""
    smallest = space.decode(space.smallest())
    specs = []
    for channels in space.streams[0].groups[-1].channels:
        last = smallest.streams[0].groups[-1].model_copy(update={"channels": channels})
        stream = smallest.streams[0].model_copy(update={"groups": (*smallest.streams[0].groups[:-1], last)})
        specs.append(smallest.model_copy(update={"streams": (stream,)}))
    return specs


def _placed(space: Space, g: int, unit: StreamUnit, cells: Cells) -> Iterator[Placed]:
    """The unit, for a block once per kernel."""
    if not isinstance(unit, BlockPlan):
        yield Placed(g, cells, unit)
        return
    before, _, *others = cells
    for k, kernel in enumerate(space.streams[0].groups[g].kernel):
        yield Placed(g, (before, k, *others), replace(unit, kernel=kernel))  # type: ignore[arg-type]


def _units(space: Space, place: Place, entering: int, choice: GroupChoice) -> list[StreamUnit]:
    stream = space.streams[0]
    return list(group_units(stream, stream.groups[place.group].decode(choice), place, entering))
