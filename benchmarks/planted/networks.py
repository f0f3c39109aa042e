"""The space that every planted video task is searched in: 9 kernels, GloRe or none, all else fixed.

Nothing but the block's kernel mixes frames or neighbours: the stem's two kernels are 1 and its stride 2 takes one pixel
of each cell. There is no squeeze-excitation, which would relate far positions. One channel is left for the head to
pool. Its first layer has no bias, so every logit is linear in that one number: the head relates no positions either.
"""

from collections.abc import Sequence
from itertools import product

from planted.tasks import Option, Task
from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

CHANNELS = 8
# Pixels along a side of a cell: the stem's stride.
CELL = 2
OPTIONS = tuple(Option(t, s, glore) for glore, s, t in product((False, True), (1, 3, 5), (1, 3, 5)))


def task_space(task: Task, options: Sequence[Option] = OPTIONS) -> Space:
    """The networks of a task; `options` are all combinations of some kernels with some kinds of attention."""
    group = GroupSpace(
        depth=1,
        stride=1,
        channels=CHANNELS,
        expansion=2.0,
        kernel=tuple(dict.fromkeys(Kernel(t=option.t, s=option.s) for option in options)),
        attention=tuple(dict.fromkeys("glore" if option.glore else "none" for option in options)),
        nodes_per_channel=1.0,
    )
    stem = StemSpec(channels=CHANNELS, kernel=Kernel(t=1, s=1), in_channels=1)
    return Space(
        name=f"planted_{task.name}",
        clip=ClipSpec(frames=task.frames, size=CELL * task.side),
        streams=(StreamSpace(stem=stem, groups=(group,), expansion_of="input", se=None, conv5=1),),
        head=ClassificationSpec(num_classes=2, hidden=16, dropout=0.0),
    )


def choice_of(space: Space, option: Option) -> Choice:
    """The index vector of an option."""
    values = {"kernel": Kernel(t=option.t, s=option.s), "attention": "glore" if option.glore else "none"}
    return tuple(space.options(variable).index(values[variable.kind]) for variable in space.variables)


def option_of(space: Space, choice: Choice) -> Option:
    """The option of an index vector."""
    (group,) = space.decode(choice).streams[0].groups
    return Option(group.kernel.t, group.kernel.s, group.attention is not None)


def planted_budget(space: Space, task: Task) -> Budget:
    """What the planted network costs, in macs."""
    table = CostTable.of(space)
    return Budget(table, table.cost(choice_of(space, task.planted)))
