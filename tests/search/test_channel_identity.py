"""Which channels of the supernet a sampled network really gets, for every pair of widths that can meet.

Every weight of the supernet is the number of its row and of its column, so that a slice says where it was cut.
"""

from collections.abc import Iterator
from itertools import cycle, product

import pytest
import torch
from torch import Tensor

from vidnas.arch.plan import network_units
from vidnas.arch.spec import ATTENTION_KINDS
from vidnas.arch.units import BlockPlan, GloRePlan, NonLocalPlan
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.windows import WINDOW_MODES, WindowMode
from vidnas.search.supernet import Supernet

SPACES = {"autox3d": autox3d_space(), "tiny": tiny_space(), "auto": auto_space(50e6, num_classes=5)[0]}
# More than any tensor here has columns; products stay below 2^24, where float32 is exact.
_RADIX = 1000


def channels_only(space: Space) -> Space:
    """The same lists of channels, which windows depend on alone, with one kernel, one expansion and one attention."""
    stream = space.streams[0]
    groups = tuple(
        group.model_copy(update={"kernel": group.kernel[:1], "expansion": group.expansion[:1], "attention": (kind,)})
        for group, kind in zip(stream.groups, cycle(ATTENTION_KINDS), strict=False)
    )
    return space.model_copy(update={"streams": (stream.model_copy(update={"groups": groups}),)})


def numbered(space: Space, mode: WindowMode) -> Supernet:
    supernet = Supernet(space, mode)
    with torch.no_grad():
        for parameter in supernet.parameters():
            rows = torch.arange(len(parameter))
            if parameter.dim() == 1:
                parameter.copy_(rows)
            else:
                numbers = rows[:, None] * _RADIX + torch.arange(parameter.shape[1])
                parameter.copy_(numbers.reshape(*numbers.shape, *[1] * (parameter.dim() - 2)).expand_as(parameter))
    return supernet


def every_pair(space: Space) -> Iterator[Choice]:
    """Choices in which any two widths of neighbouring groups meet, and any with itself in groups further on."""
    most = max(space.sizes)
    for pair in product(range(most), repeat=2):
        yield tuple(pair[i % 2] % size for i, size in enumerate(space.sizes))


def rows(weight: Tensor) -> tuple[int, ...]:
    column = weight.flatten(1)[:, 0].long() // _RADIX
    return tuple(column.tolist())


def columns(weight: Tensor) -> tuple[int, ...]:
    row = weight.reshape(*weight.shape[:2], -1)[0, :, 0].long() % _RADIX
    return tuple(row.tolist())


@pytest.mark.parametrize("mode", WINDOW_MODES)
@pytest.mark.parametrize("name", SPACES)
def test_equal_index_is_equal_channels_and_identity_adds_up_the_same(name: str, mode: WindowMode) -> None:
    space = channels_only(SPACES[name])
    supernet = numbered(space, mode)
    lists = {g: group.channels for g, group in enumerate(space.streams[0].groups)}
    used: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = {}
    met: set[tuple[int, int, int]] = set()
    with torch.no_grad():
        for choice in every_pair(space):
            state = supernet.network_state(choice)
            widths = [group.channels for group in space.group_choices(choice)[0]]
            # All channels of the stem enter.
            flowing = tuple(range(space.streams[0].stem.channels))
            for plan in network_units(space.decode(choice)):
                unit = plan.path
                if isinstance(plan, GloRePlan):
                    assert columns(state[f"{unit}.state.weight"]) == rows(state[f"{unit}.extend.weight"]) == flowing
                    assert tuple(state[f"{unit}.norm.weight"].long().tolist()) == flowing
                if isinstance(plan, NonLocalPlan):
                    readers = {columns(state[f"{unit}.{layer}.weight"]) for layer in ("theta", "phi", "g")}
                    assert readers == {rows(state[f"{unit}.extend.weight"])} == {flowing}
                    assert tuple(state[f"{unit}.norm.weight"].long().tolist()) == flowing
                if not isinstance(plan, BlockPlan):
                    continue
                inputs, outputs = columns(state[f"{unit}.expand.weight"]), rows(state[f"{unit}.project.weight"])
                assert inputs == flowing, "what a block reads is what the one before it wrote"
                assert tuple(state[f"{unit}.project_norm.weight"].long().tolist()) == outputs
                assert (len(inputs), len(outputs)) == (plan.in_channels, plan.out_channels)
                # Equal lists and equal index mean equal channels, in whatever block.
                assert used.setdefault((lists[plan.group], widths[plan.group]), outputs) == outputs
                identity = plan.stride == 1 and inputs == outputs
                assert identity == (plan.shortcut == "identity")
                assert identity == (plan.stride == 1 and plan.in_channels == plan.out_channels)
                assert identity != (f"{unit}.shortcut.weight" in state)
                if not identity:
                    assert columns(state[f"{unit}.shortcut.weight"]) == inputs
                    assert rows(state[f"{unit}.shortcut.weight"]) == outputs
                flowing = outputs
            assert columns(state["streams.0.conv5.conv.weight"]) == flowing
            met |= {(g, *widths[g - 1 : g + 1]) for g in range(1, len(widths))}
    borders = {
        (g, before, own)
        for g in range(1, len(lists))
        for before, own in product(range(len(lists[g - 1])), range(len(lists[g])))
    }
    assert met == borders
