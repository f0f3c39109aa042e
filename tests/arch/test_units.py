"""The units of a network against what its modules really read and give."""

import pytest
import torch
from random_specs import random_spec, random_two_streams
from torch import Tensor, nn

from vidnas.arch.cost import network_cost
from vidnas.arch.plan import head_unit, network_units, stream_units
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec
from vidnas.arch.sub_layers import network_sub_layers
from vidnas.arch.units import BlockPlan, Conv5Plan, FusionPlan, StreamUnit
from vidnas.base.errors import VidnasError
from vidnas.nn.build import VideoNetwork


def shapes_of(spec: ArchSpec) -> dict[str, tuple[list[torch.Size], torch.Size]]:
    """What enters and leaves the module at each unit's path, without computing anything."""
    found: dict[str, tuple[list[torch.Size], torch.Size]] = {}

    def watch(path: str, module: nn.Module) -> None:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[path] = ([x.shape for x in inputs], output.shape)

        module.register_forward_hook(note)

    with torch.device("meta"):
        network = VideoNetwork(spec).eval()
        for unit in network_units(spec):
            watch(unit.path, network.get_submodule(unit.path))
        colours = next(network_units(spec)).in_channels
        network(torch.empty(1, colours, spec.clip.frames, spec.clip.size, spec.clip.size))
    return found


@pytest.mark.parametrize(
    "spec", [*map(random_spec, range(25)), *map(random_two_streams, range(40))], ids=lambda spec: spec.name
)
def test_units_are_what_the_modules_read_and_give(spec: ArchSpec) -> None:
    shapes = shapes_of(spec)
    *units, head = network_units(spec)
    assert list(shapes) == [unit.path for unit in (*units, head)]
    for unit in units:
        assert isinstance(unit, StreamUnit)
        assert shapes[unit.path][0] == [(1, unit.in_channels, unit.frames, unit.side, unit.side)]
        assert shapes[unit.path][1] == (1, unit.out_channels, unit.out_frames, unit.out_side, unit.out_side)
        assert unit.frames == spec.clip.frames // unit.every
        assert unit.path.startswith("fusions." if isinstance(unit, FusionPlan) else f"streams.{unit.stream}.")
    # The head reads the last map of every stream.
    assert sum(shape[1] for shape in shapes["head"][0]) == head.in_channels
    assert shapes["head"][1] == (1, head.out_channels)
    assert head == head_unit(spec)
    assert [shape[2:] for shape in shapes["head"][0]] == [(last.frames, last.side, last.side) for last in head.maps]


def test_two_streams_are_timed_in_full() -> None:
    spec = random_two_streams(0)
    stems = [sub_layer for sub_layer in network_sub_layers(spec) if sub_layer.layer.kind in ("stem", "conv5", "head")]
    assert [sub_layer.layer.kind for sub_layer in stems] == ["stem", "stem", "conv5", "conv5", "head"]
    assert stems[-1].channels[0] == sum(stream.conv5 for stream in spec.streams)


def test_streams_run_group_by_group() -> None:
    """All that a fusion gives is there before it is read."""
    spec = get_spec("auto_tsnet_s")
    units = [unit for unit in network_units(spec) if isinstance(unit, StreamUnit)]
    ends = [(unit.key, unit.stream) for unit in units if unit.group is None]
    assert ends == [("stem", 0), ("stem", 1), ("conv5", 0), ("conv5", 1)]
    inner = [unit for unit in units if unit.group is not None]
    assert inner == sorted(inner, key=lambda unit: (unit.group, isinstance(unit, FusionPlan), unit.stream))
    assert [unit.group for unit in inner if isinstance(unit, FusionPlan)] == [0, 3, 5, 6, 9]
    for s in (0, 1):
        own = [unit for unit in units if unit.stream == s and not isinstance(unit, FusionPlan)]
        assert [*stream_units(spec, s)] == own


def test_what_reads_fused_channels() -> None:
    """Auto-TSNet-S: 8 x 8, 2 x 16, 8 x 16, 16 and 8 x 48 channels come to the sparse stream."""
    units = [unit for unit in network_units(get_spec("auto_tsnet_s")) if isinstance(unit, BlockPlan | Conv5Plan)]
    reading = {unit.path: unit for unit in units if unit.fused_channels}
    assert {path: unit.fused_channels for path, unit in reading.items()} == {
        "streams.0.groups.1.block1": 64,
        "streams.0.groups.4.block1": 32,
        "streams.0.groups.6.block1": 128,
        "streams.0.groups.7.block1": 16,
        "streams.0.groups.10.block1": 384,
    }
    block = reading["streams.0.groups.7.block1"]
    # Between equal widths of its own, and a projection as well; hidden channels are those of its own stream times e.
    assert isinstance(block, BlockPlan)
    assert (block.in_channels, block.out_channels, block.shortcut) == (144 + 16, 144, "identity_and_projection")
    assert block.hidden == int(1.5 * 144)
    # Behind the last group it is conv5 that reads: 2 x 48 channels of Manual-TSNet-70%.
    (conv5, _) = (unit for unit in network_units(get_spec("manual_tsnet_70")) if isinstance(unit, Conv5Plan))
    assert (conv5.in_channels, conv5.fused_channels) == (304 + 96, 96)


def test_equal_numbers_of_channels_are_no_identity_where_some_are_fused() -> None:
    spec = get_spec("auto_tsnet_s")
    sparse, dense = spec.streams
    groups = list(sparse.groups)
    # 144 own channels and 16 fused ones, to 160.
    groups[7] = groups[7].model_copy(update={"channels": 160})
    for norm, shortcut in (("always", "projection_norm"), ("on_channel_change", "projection")):
        stream = sparse.model_copy(update={"groups": tuple(groups), "projection_norm": norm})
        first, second = (
            unit
            for unit in network_units(spec.model_copy(update={"streams": (stream, dense)}))
            if unit.path in ("streams.0.groups.7.block1", "streams.0.groups.7.block2")
        )
        assert (first.in_channels, first.out_channels, first.shortcut) == (160, 160, shortcut)
        assert (second.fused_channels, second.shortcut) == (0, "identity")


def test_more_frames_move_all_windows_together() -> None:
    spec = get_spec("manual_tsnet_70")
    head = head_unit(spec, spec.clip.resized("48x182"))
    assert (head.windows, head.maps, head.steps) == (((4, 5), (32, 5)), ((6, 6), (48, 6)), (1, 8))
    assert head.positions == 3 * 2**2


def test_a_clip_that_a_stream_cannot_take_its_frames_of() -> None:
    spec = get_spec("manual_tsnet_70")
    message = r"streams\.0\.every: one frame in 8 is taken of a clip of 13 frames; make frames a multiple of 8"
    with pytest.raises(VidnasError, match=f"clip 13x160x160: {message}"):
        network_cost(spec, spec.clip.resized("13x160"))
    with pytest.raises(VidnasError, match=f"manual_tsnet_70: {message}"):
        spec.with_clip(spec.clip.resized("13x160"))


def test_a_larger_clip_leaves_positions_behind_a_fixed_pool() -> None:
    spec = get_spec("x3d_l")
    head = head_unit(spec, spec.clip.resized("16x356"))
    assert (head.windows[0], head.maps[0], head.positions) == ((16, 10), (16, 12), 9)
    assert head_unit(spec).positions == 1
