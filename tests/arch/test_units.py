"""The units of a network against what its modules really read and give."""

import pytest
import torch
from random_specs import random_spec
from torch import Tensor, nn

from vidnas.arch.cost import network_cost
from vidnas.arch.plan import head_unit, network_units
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec
from vidnas.arch.sub_layers import network_sub_layers
from vidnas.arch.units import StreamUnit
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


def two_streams() -> ArchSpec:
    """The same streams with other widths, side by side."""
    first = random_spec(3)
    stem = first.streams[0].stem
    groups = tuple(group.model_copy(update={"channels": 2 * group.channels}) for group in first.streams[0].groups)
    second = first.streams[0].model_copy(update={"groups": groups, "conv5": first.streams[0].conv5 + 4, "stem": stem})
    return first.model_copy(update={"streams": (first.streams[0], second)})


@pytest.mark.parametrize("spec", [*map(random_spec, range(25)), two_streams()], ids=lambda spec: spec.name)
def test_units_are_what_the_modules_read_and_give(spec: ArchSpec) -> None:
    shapes = shapes_of(spec)
    *units, head = network_units(spec)
    assert list(shapes) == [unit.path for unit in (*units, head)]
    for unit in units:
        assert isinstance(unit, StreamUnit)
        assert shapes[unit.path][0] == [(1, unit.in_channels, unit.frames, unit.side, unit.side)]
        assert shapes[unit.path][1] == (1, unit.out_channels, unit.frames, unit.out_side, unit.out_side)
        assert unit.path.startswith(f"streams.{unit.stream}.")
    # The head reads the last map of every stream.
    assert sum(shape[1] for shape in shapes["head"][0]) == head.in_channels
    assert shapes["head"][1] == (1, head.out_channels)
    assert head == head_unit(spec)
    assert [shape[2:] for shape in shapes["head"][0]] == [(last.frames, last.side, last.side) for last in head.maps]


def test_two_streams_are_counted_and_timed_in_full() -> None:
    spec = two_streams()
    with torch.device("meta"):
        network = VideoNetwork(spec)
    assert network_cost(spec).params == sum(parameter.numel() for parameter in network.parameters())
    stems = [sub_layer for sub_layer in network_sub_layers(spec) if sub_layer.layer.kind in ("stem", "conv5", "head")]
    assert [sub_layer.layer.kind for sub_layer in stems] == ["stem", "conv5", "stem", "conv5", "head"]
    assert stems[-1].channels[0] == sum(stream.conv5 for stream in spec.streams)


def test_a_larger_clip_leaves_positions_behind_a_fixed_pool() -> None:
    spec = get_spec("x3d_l")
    head = head_unit(spec, spec.clip.resized("16x356"))
    assert (head.windows[0], head.maps[0], head.positions) == ((16, 10), (16, 12), 9)
    assert head_unit(spec).positions == 1
