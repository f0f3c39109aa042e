"""The spaces that planted video tasks are searched in: few networks, in which it is known what can meet where.

One stream: 9 kernels, GloRe or none, all else fixed. Nothing but the block's kernel mixes frames or neighbours: the
stem's two kernels are 1 and its stride 2 takes one pixel of each cell. There is no squeeze-excitation, which would
relate far positions. One channel is left for the head to pool. Its first layer has no bias, so every logit is linear in
that one number: the head relates no positions either.

Two streams: the same stem and a block in each. Their kernels are searched, and what the dense stream gives of its map
to the sparse one, which reads it in its conv5. Both leave several channels, so the head may join as it likes what each
stream says of a whole clip.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from planted.options import AnyOption, Option, TwoStreamOption
from planted.tasks import Task
from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space.fusion_space import FusionSpace
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

# Pixels along a side of a cell: the stem's stride.
CELL = 2
# Of how many frames the sparse stream takes one.
EVERY = 4


def task_space(task: Task, options: Sequence[AnyOption] = ()) -> Space:
    """The networks of a task: all of them, or those of `options`, which are all combinations of some values."""
    options = options or task.options
    streams, fusions = _PARTS[type(options[0])](options)
    return Space(
        name=f"planted_{task.name}",
        clip=ClipSpec(frames=task.frames, size=CELL * task.side),
        streams=streams,
        fusions=fusions,
        head=ClassificationSpec(num_classes=2, hidden=16, dropout=0.0),
    )


_Parts = tuple[tuple[StreamSpace, ...], tuple[FusionSpace, ...]]


def _one_stream(options: Sequence[AnyOption]) -> _Parts:
    group = GroupSpace(
        depth=1,
        stride=1,
        channels=8,
        expansion=2.0,
        kernel=_listed(options, "streams.0.groups.0.kernel"),
        attention=_listed(options, "streams.0.groups.0.attention"),
        nodes_per_channel=1.0,
    )
    return (_stream(group, conv5=1),), ()


def _two_streams(options: Sequence[AnyOption]) -> _Parts:
    streams = []
    for s, (every, channels) in enumerate(((EVERY, 8), (1, 4))):
        kernel = _listed(options, f"streams.{s}.groups.0.kernel")
        group = GroupSpace(depth=1, stride=1, channels=channels, expansion=2.0, kernel=kernel)
        streams.append(_stream(group, conv5=2 * channels, every=every))
    fusion = FusionSpace(source=1, target=0, group=0, kind=_listed(options, "fusions.0.kind"))
    return tuple(streams), (fusion,)


_PARTS: Mapping[type[AnyOption], Callable[[Sequence[AnyOption]], _Parts]] = {
    Option: _one_stream,
    TwoStreamOption: _two_streams,
}


def _stream(group: GroupSpace, *, conv5: int, every: int = 1) -> StreamSpace:
    """A stem that mixes nothing, and a group as wide as it."""
    stem = StemSpec(channels=group.channels[0], kernel=Kernel(t=1, s=1), in_channels=1)
    return StreamSpace(every=every, stem=stem, groups=(group,), expansion_of="input", se=None, conv5=conv5)


def _listed(options: Sequence[AnyOption], path: str) -> tuple[Any, ...]:
    """The different values at a path."""
    return tuple(dict.fromkeys(option.values()[path] for option in options))


def choice_of(space: Space, option: AnyOption) -> Choice:
    """The index vector of an option."""
    values = option.values()
    return tuple(space.options(variable).index(values[variable.path]) for variable in space.variables)


def option_of(space: Space, choice: Choice, options: Sequence[AnyOption]) -> Any:
    """The option of an index vector; `options` are those of the space."""
    return next(option for option in options if choice_of(space, option) == choice)


def planted_budget(space: Space, task: Task) -> Budget:
    """What the planted network costs, in macs."""
    table = CostTable.of(space)
    return Budget(table, table.cost(choice_of(space, task.planted)))
