"""Which blocks and attention units the networks of a space have, and where: what additive costs are summed over."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from vidnas.arch.plan import BlockPlan, GloRePlan, stream_units
from vidnas.arch.spec import ArchSpec, StemSpec, StreamSpec
from vidnas.search.space import Space
from vidnas.search.stream_space import GroupChoice

Unit = BlockPlan | GloRePlan
Cells = tuple[int | slice, int | slice, int, int, int]
_ANY = slice(None)


class Placed(NamedTuple):
    """A unit that some choices of a group have.

    Attributes:
        group: which.
        cells: those choices, in an array over (channels of the group before, kernel, expansion, channels, attention).
        unit: the unit.
        side: of the map that enters it.
    """

    group: int
    cells: Cells
    unit: Unit
    side: int


def placed_units(space: Space) -> Iterator[Placed]:
    """Every unit of every choice of every group."""
    stream = space.streams[0]
    side = -(-space.clip.size // 2)
    stage_start = 0
    for g, group in enumerate(stream.groups):
        if group.stride == 2:
            stage_start = g
        after = -(-side // group.stride)
        options = product(range(len(group.expansion)), range(len(group.channels)), range(len(group.attention)))
        for e, c, a in options:
            for p, entering in enumerate(stream.input_channels(g)):
                first, *others = _units(space, g, stage_start, entering, GroupChoice(0, e, c, a))
                yield from _placed(space, g, first, (p, _ANY, e, c, a), side)
                # All but the first block are the same whatever enters the group.
                for unit in others if p == 0 else ():
                    yield from _placed(space, g, unit, (_ANY, _ANY, e, c, a), after)
        side = after


def with_last_channels(space: Space) -> list[ArchSpec]:
    """The smallest network with each of the channels that its last group may have: they share all but conv5."""
    smallest = space.decode(space.smallest())
    specs = []
    for channels in space.streams[0].groups[-1].channels:
        last = smallest.streams[0].groups[-1].model_copy(update={"channels": channels})
        stream = smallest.streams[0].model_copy(update={"groups": (*smallest.streams[0].groups[:-1], last)})
        specs.append(smallest.model_copy(update={"streams": (stream,)}))
    return specs


def _placed(space: Space, g: int, unit: Unit, cells: Cells, side: int) -> Iterator[Placed]:
    """The unit, for a block once per kernel."""
    if isinstance(unit, GloRePlan):
        yield Placed(g, cells, unit, side)
        return
    before, _, *others = cells
    for k, kernel in enumerate(space.streams[0].groups[g].kernel):
        yield Placed(g, (before, k, *others), replace(unit, kernel=kernel), side)  # type: ignore[arg-type]


def _units(space: Space, g: int, stage_start: int, entering: int, choice: GroupChoice) -> list[Unit]:
    """The units of a group that `entering` channels reach; squeeze-excitation counts blocks from the stage's start."""
    stream = space.streams[0]
    earlier = [
        stream.groups[i].decode(GroupChoice(0, 0, 0, 0)).model_copy(update={"channels": entering})
        for i in range(stage_start, g)
    ]
    arch = StreamSpec.model_construct(
        stem=StemSpec.model_construct(channels=entering),
        groups=(*earlier, stream.groups[g].decode(choice)),
        expansion_of=stream.expansion_of,
        se=stream.se,
        activation=stream.activation,
        depthwise=stream.depthwise,
        projection_norm=stream.projection_norm,
        conv5=stream.conv5,
    )
    return [unit for unit in stream_units(arch) if unit.group == len(earlier)]
