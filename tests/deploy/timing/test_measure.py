"""Filling a latency table: on a made-up machine whose truth is known, and on this one."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from latency_examples import planted_ms, small_space
from two_streams import KINDS, small_two_streams

from vidnas.arch.latency import Curve, Device, LatencyTable, Point
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.sub_layers import SubLayer, network_sub_layers, number_of_blocks
from vidnas.base.errors import VidnasError
from vidnas.deploy.timing.measure import measure_table
from vidnas.deploy.timing.openvino_stopwatch import OpenVinoStopwatch
from vidnas.deploy.timing.stopwatch import Call, Stopwatch, in_turns, parts, undisturbed
from vidnas.deploy.timing.sub_layers import make_sub_layer
from vidnas.deploy.timing.torch_stopwatch import TorchStopwatch
from vidnas.search.latency_costs import latency_costs, reached_shapes, spread_choices
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Space


class MadeUpMachine:
    """Takes what a formula says; in a network `scale` times that, and `overhead_ms` more for each block."""

    device: Device = "cpu"

    def __init__(self, overhead_ms: float, *, scale: float = 1.0, bend: float = 0.0) -> None:
        self.overhead_ms, self.scale = overhead_ms, scale
        self.bend = bend
        self.asked: list[SubLayer] = []
        self.fewest_together = 10**9

    def ms(self, sub_layer: SubLayer) -> float:
        """The truth; projections on maps of 3 x 3 grow faster than linearly by `bend` at 84 hidden channels."""
        layer, channels = sub_layer
        bent = layer.kind == "project" and layer.side == 3
        return planted_ms(sub_layer) * (1 + self.bend * (channels[0] / 84) ** 3 if bent else 1.0)

    def sub_layers(self, shapes: Sequence[SubLayer], frames: int, together: int) -> list[float]:
        self.asked += shapes
        self.fewest_together = min(
            self.fewest_together, *(part.stop - part.start for part in parts(len(shapes), together))
        )
        return [self.ms(shape) for shape in shapes]

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        sums = [self.scale * sum(map(self.ms, network_sub_layers(spec))) for spec in specs]
        return [ms + self.overhead_ms * number_of_blocks(spec) for ms, spec in zip(sums, specs, strict=True)]

    def network_call(self, spec: ArchSpec, clip: ClipSpec, batch_size: int = 1) -> Call:
        raise NotImplementedError


def filled(space: Space, stopwatch: Stopwatch, **options: float) -> LatencyTable:
    return measure_table(space, stopwatch, machine="made up", threads=1, versions={}, **options)


@pytest.mark.parametrize(("scale", "overhead_ms"), [(1.0, 0.07), (0.6, -0.01), (1.3, 0.0)])
def test_what_the_formula_says_is_found_from_few_shapes(scale: float, overhead_ms: float) -> None:
    space, machine = tiny_space(), MadeUpMachine(overhead_ms, scale=scale)
    table = filled(space, machine)
    reached = {SubLayer(layer, shape) for layer, shapes in reached_shapes(space).items() for shape in shapes}
    assert set(machine.asked) <= reached
    assert len(set(machine.asked)) == sum(len(curve.points) for curve in table.curves) < 0.6 * len(reached)
    assert table.scale == pytest.approx(scale)
    assert table.overhead_ms == pytest.approx(overhead_ms, abs=1e-9)
    assert table.fit_error < 1e-8
    assert table.held_out_error < 1e-9
    choices = spread_choices(space, 20, seed=5)
    truth = machine.networks([space.decode(choice) for choice in choices])
    # Rounding of least squares.
    assert latency_costs(space, table).costs(choices) == pytest.approx(truth, rel=1e-8)


def test_more_is_measured_where_look_up_was_off() -> None:
    space = tiny_space()
    bent = MadeUpMachine(overhead_ms=0.0, bend=1.0)
    table, even = filled(space, bent), filled(space, MadeUpMachine(overhead_ms=0.0))

    def points(found: LatencyTable) -> dict[str, int]:
        return {str(curve.layer): len(curve.points) for curve in found.curves}

    more = {layer: number - points(even)[layer] for layer, number in points(table).items()}
    assert {layer for layer, number in more.items() if number} == {"project at 3x3"}
    unrefined = filled(space, bent, refine_sec=0.0)
    wide = next(curve for curve in table.curves if str(curve.layer) == "project at 3x3")
    coarse = next(curve for curve in unrefined.curves if curve.layer == wide.layer)
    shapes = reached_shapes(space)[wide.layer]
    truth = np.array([bent.ms(SubLayer(wide.layer, shape)) for shape in shapes])
    errors = [np.abs([curve.ms(shape) for shape in shapes] / truth - 1).mean() for curve in (coarse, wide)]
    assert errors[1] < 0.6 * errors[0]


def test_few_sub_layers_are_never_timed_alone() -> None:
    space = tiny_space()
    machine = MadeUpMachine(overhead_ms=0.0, bend=1.0)
    filled(space, machine)
    assert machine.fewest_together == len(network_sub_layers(space.decode(space.largest())))


def test_calls_take_turns_and_a_few_disturbances_do_not_count() -> None:
    calls: list[int] = []

    def call(i: int) -> Call:
        def run() -> float:
            calls.append(i)
            return 100.0 if len(calls) % 7 == 0 else float(i)

        return run

    times = in_turns([call(i) for i in range(4)], rounds=9, warm_up=1)
    assert [undisturbed(row) for row in times] == [0.0, 1.0, 2.0, 3.0]
    rounds = [calls[i : i + 4] for i in range(0, 40, 4)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1
    assert len(calls) == 40


def test_of_several_calls_in_a_row_the_first_does_not_count() -> None:
    calls: list[int] = []

    def call() -> float:
        calls.append(len(calls))
        return float(calls[-1] % 3)

    assert in_turns([call, call], rounds=2, warm_up=1, in_a_row=3) == [[1.0, 2.0] * 2] * 2
    assert len(calls) == 18


@pytest.mark.parametrize(("number", "least"), [(0, 5), (3, 5), (5, 5), (9, 5), (103, 10)])
def test_parts_are_even_and_large_enough(number: int, least: int) -> None:
    found = [list(range(number))[part] for part in parts(number, least)]
    assert [i for part in found for i in part] == list(range(number))
    sizes = [len(part) for part in found]
    assert min(sizes) >= min(least, number)
    assert max(sizes) - min(sizes) <= 1


def outputs(sub_layer: SubLayer, frames: int) -> tuple[int, ...]:
    layer, channels = sub_layer
    if layer.kind == "head":
        return 1, channels[-1]
    frames //= layer.every * layer.ratio
    out = -(-layer.side // layer.stride)
    leaving = channels[0] if layer.kind in ("depthwise", "attention", "non_local") else channels[-1]
    return 1, leaving, frames, out, out


def test_modules_of_sub_layers_have_their_shapes() -> None:
    space = small_space()
    seen = set()
    for layer, shapes in reached_shapes(space).items():
        module, inputs = make_sub_layer(SubLayer(layer, shapes[-1]), space.clip.frames)
        with torch.inference_mode():
            assert module(*inputs).shape == outputs(SubLayer(layer, shapes[-1]), space.clip.frames)
        assert all(tensor.is_contiguous(memory_format=torch.channels_last_3d) for tensor in inputs)
        seen.add(layer.kind)
    assert seen == {"stem", "expand", "depthwise", "project", "shortcut", "attention", "non_local", "conv5", "head"}


def test_modules_of_sub_layers_of_two_streams_have_their_shapes() -> None:
    spec = small_two_streams()
    shapes = network_sub_layers(spec)
    for shape in shapes:
        module, inputs = make_sub_layer(shape, spec.clip.frames)
        assert all(x.shape[2] == spec.clip.frames // shape.layer.every for x in inputs)
        with torch.inference_mode():
            assert module(*inputs).shape == outputs(shape, spec.clip.frames)
    assert {shape.layer.fusion for shape in shapes if shape.layer.kind == "fusion"} == set(KINDS)
    # Both streams have this one, on other frames: two entries of a table.
    alike = {str(shape.layer) for shape in shapes if shape.layer.kind == "expand" and shape.layer.side == 8}
    assert alike == {"expand at 8x8", "expand at 8x8 on one frame in 4"}


def test_a_table_of_two_streams_is_looked_up() -> None:
    spec = small_two_streams()
    shapes = network_sub_layers(spec)
    curves = {
        layer: Curve(
            layer=layer, points=tuple(Point(c, 1.0) for c in sorted({s.channels for s in shapes if s.layer == layer}))
        )
        for layer in {shape.layer for shape in shapes}
    }
    table = LatencyTable(
        device="cpu", machine="planted", threads=1, versions={}, clip=spec.clip, space="two", overhead_ms=0.5,
        took_sec=0.0, held_out_error=0.0, fit_error=0.0, curves=tuple(curves.values()),
    )  # fmt: skip
    again = LatencyTable.from_json(table.to_json())
    # A millisecond for each sub-layer, half of one for each block.
    assert again.network_ms(spec) == pytest.approx(len(shapes) + 0.5 * number_of_blocks(spec))
    layer = next(shape.layer for shape in shapes if shape.layer.fusion == "time_to_channel")
    with pytest.raises(VidnasError, match="no time_to_channel 4 frames to 1 at 8x8 with 9, 36 channels"):
        again.ms(SubLayer(layer, (9, 36)))


def test_a_very_small_space_on_this_cpu(caplog: pytest.LogCaptureFixture) -> None:
    space = small_space()
    state = torch.random.get_rng_state()
    table = measure_table(space, TorchStopwatch("cpu"), machine="this", threads=1, versions={"torch": "x"})
    assert torch.equal(torch.random.get_rng_state(), state)
    assert "sub-layers measured" in caplog.messages[0]
    assert (table.device, table.machine, table.threads, table.clip, table.space) == (
        "cpu",
        "this",
        1,
        space.clip,
        "small",
    )
    assert table.took_sec > 0
    costs = latency_costs(space, table)
    (cheapest, least), (dearest, most) = costs.cheapest(), costs.dearest()
    assert 0 < least <= most
    measured = TorchStopwatch("cpu").networks([space.decode(cheapest), space.decode(dearest)])
    # Only that units are right, as other work on the machine may slow either side several times.
    assert 0.05 < least / measured[0] < 20


def test_sub_layers_and_networks_in_openvino() -> None:
    pytest.importorskip("openvino")
    space = small_space()
    stopwatch = OpenVinoStopwatch(1)
    spec = space.decode(space.largest())
    shapes = network_sub_layers(spec)
    ms = stopwatch.sub_layers(shapes, space.clip.frames, 5)
    assert len(ms) == len(shapes)
    assert all(value > 0 for value in ms)
    # Nodes are counted without what a request costs, which is most of so small a network.
    assert 0 < sum(ms) < 5 * stopwatch.networks([spec])[0]


def test_a_device_that_is_not_there_is_told() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(VidnasError, match="device cuda: torch finds no GPU here; use --device cpu or openvino"):
        TorchStopwatch("cuda")
