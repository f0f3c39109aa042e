"""Which channels of the supernet's tensors a choice uses, unit by unit.

What reads a fusion has, behind the channels of its own stream, a block of columns for each kind that it may be of, in
the order of the list. In such a block stand as many copies of the source's channels as the kind gives channels per
channel: two for a time-strided convolution, one per frame for time-to-channel, one for sampling. Each copy is used on
the window of the source, so that a column belongs to one channel of the source whatever is chosen.
"""

from typing import NamedTuple

from vidnas.arch.units import FusionPlan, StreamUnit
from vidnas.search.space.fusion_space import fused_channels
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import GroupChoice
from vidnas.search.space.windows import Window, WindowMode, channel_window, hidden_window

# The key of a group's first block, which alone reads other channels than the group gives.
FIRST = "block1"


class Windows(NamedTuple):
    """The channels that a choice uses of a unit: those that enter, the hidden ones of a block, those that leave."""

    inputs: Window
    hidden: Window
    outputs: Window


def fused_columns(space: Space, stream: int, group: int) -> int:
    """Columns behind the own ones in what reads the input of a group, or in the conv5 behind the last one."""
    f = space.fusion_into(stream, group)
    if f is None:
        return 0
    fusion = space.fusions[f]
    widest = space.streams[fusion.source].groups[fusion.group].channels[-1]
    return sum(fused_channels(kind, widest, space.fusion_ratio(fusion)) for kind in fusion.kinds)


class ChoiceWindows:
    """The windows of a choice.

    Args:
        space: what it is a choice of.
        choice: the choice.
        mode: which channels a candidate uses, see `vidnas.search.space.windows`.
    """

    def __init__(self, space: Space, choice: Choice, mode: WindowMode) -> None:
        self._space = space
        self._groups: tuple[tuple[GroupChoice, ...], ...] = space.group_choices(choice)
        self._fusions = space.fusion_choices(choice)
        self._mode: WindowMode = mode

    def of(self, plan: StreamUnit) -> Windows:
        """What is used of a unit of the chosen network."""
        s, g = plan.stream, plan.group
        if g is None:
            return Windows(self._entering(s, len(self._groups[s])), (), ())
        own = self._own(s, g)
        if isinstance(plan, FusionPlan):
            return Windows(own, (), self._copies(own, s, g, plan.out_channels // plan.in_channels))
        if plan.key == FIRST:
            return Windows(self._entering(s, g), self._hidden(s, g, first=True), own)
        return Windows(own, self._hidden(s, g), own)

    def _own(self, stream: int, group: int) -> Window:
        """Channels of a stream's own behind a group; -1 is the stem."""
        space = self._space.streams[stream]
        if group < 0:
            return tuple(range(space.stem.channels))
        return channel_window(space.groups[group].channels, self._groups[stream][group].channels, self._mode)

    def _hidden(self, stream: int, group: int, *, first: bool = False) -> Window:
        space = self._space.streams[stream]
        basis, index = space.groups[group].channels, self._groups[stream][group].channels
        if first and space.expansion_of == "input":
            basis, index = space.input_channels(group), self._groups[stream][group - 1].channels if group else 0
        expansion = self._groups[stream][group].expansion
        return hidden_window(space.groups[group].expansion, expansion, basis, index, self._mode)

    def _entering(self, stream: int, group: int) -> Window:
        """Channels that enter a group or, behind the last one, conv5: its own, then fused ones."""
        own = self._own(stream, group - 1)
        f = self._space.fusion_into(stream, group)
        if f is None:
            return own
        fusion = self._space.fusions[f]
        chosen, ratio = fusion.kind[self._fusions[f]], self._space.fusion_ratio(fusion)
        source = self._own(fusion.source, fusion.group)
        start = self._space.streams[stream].input_channels(group)[-1]
        for kind in fusion.kinds:
            if kind == chosen:
                copies = fused_channels(kind, 1, ratio)
                given = self._copies(source, fusion.source, fusion.group, copies)
                return (*own, *(start + column for column in given))
            start += fused_channels(kind, self._widest(fusion.source, fusion.group), ratio)
        return own

    def _copies(self, window: Window, stream: int, group: int, number: int) -> Window:
        """A window on the channels behind a group in so many copies of these, side by side."""
        widest = self._widest(stream, group)
        return tuple(copy * widest + channel for copy in range(number) for channel in window)

    def _widest(self, stream: int, group: int) -> int:
        return self._space.streams[stream].groups[group].channels[-1]
