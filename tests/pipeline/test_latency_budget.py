"""A search's costs in milliseconds: measured once, kept in a file, refused where the file does not hold."""

import io
import json
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from latency_examples import small_space

from vidnas.arch.cost import network_cost
from vidnas.arch.latency import Device
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.sub_layers import SubLayer
from vidnas.base.errors import VidnasError
from vidnas.base.log import printed
from vidnas.deploy.timing.stopwatch import Call
from vidnas.pipeline.bench import bench
from vidnas.pipeline.latency import latency_budget_costs, macs_within
from vidnas.pipeline.this_machine import machine_name
from vidnas.search.costs import CostTable
from vidnas.search.space.published.scaled import scaled_space, tiny_space
from vidnas.search.space.space import Space


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CostTable, list[str]]:
    """The file, the costs that came with measuring it, and what was said."""
    path = tmp_path_factory.mktemp("latency") / "cpu.json"
    with printed(), redirect_stdout(io.StringIO()) as said:
        costs = latency_budget_costs(small_space(), "cpu", path)
    return path, costs, said.getvalue().splitlines()


def changed(measured: tuple[Path, CostTable, list[str]], folder: Path, **fields: Any) -> Path:
    path = folder / "changed.json"
    path.write_text(json.dumps({**json.loads(measured[0].read_text()), **fields}))
    return path


def test_the_file_is_measured_once(
    measured: tuple[Path, CostTable, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    path, costs, said = measured
    assert [line.startswith(f"{path}: measuring") for line in said] == [True, False]
    before = path.read_bytes()
    again = latency_budget_costs(small_space(), "cpu", path)
    assert caplog.messages == []
    assert path.read_bytes() == before
    assert again.metric == costs.metric == "ms"
    pairs = zip(again.terms.factors, costs.terms.factors, strict=True)
    assert all((a.values == b.values).all() for a, b in pairs)
    data = json.loads(before)
    assert (data["machine"], data["threads"]) == (machine_name("cpu"), torch.get_num_threads())
    assert {"vidnas", "torch", "kernels"} <= data["versions"].keys()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"device": "openvino"}, "is of device openvino, here it is cpu; name another file or remove this one"),
        ({"machine": "Another 9000"}, "is of machine Another 9000, here it is "),
        ({"threads": 77}, "is of threads 77, here it is "),
        ({"curves": 3}, "curves"),
    ],
)
def test_a_file_that_does_not_hold_here_is_refused(
    measured: tuple[Path, CostTable, list[str]], tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    path = changed(measured, tmp_path, **fields)
    with pytest.raises(VidnasError) as error:
        latency_budget_costs(small_space(), "cpu", path)
    assert str(error.value).startswith((f"{path}: ", f"{path}, line "))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (small_space().with_clip(small_space().clip.resized("4x16")), "at 2x16x16, the space small sees 4x16x16; name"),
        (tiny_space().with_clip(small_space().clip), "measured for small, does not cover the space tiny_space: no "),
    ],
)
def test_a_file_of_another_clip_or_space_is_refused(
    measured: tuple[Path, CostTable, list[str]], space: Space, message: str
) -> None:
    with pytest.raises(VidnasError) as error:
        latency_budget_costs(space, "cpu", measured[0])
    assert str(error.value).startswith(f"{measured[0]}: the latency table")
    assert message in str(error.value)


def test_other_versions_are_noted(
    measured: tuple[Path, CostTable, list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    versions = {**json.loads(measured[0].read_text())["versions"], "torch": "2.0"}
    latency_budget_costs(small_space(), "cpu", changed(measured, tmp_path, versions=versions))
    (line,) = caplog.messages
    assert "was measured with torch 2.0, now there is torch " in line


def test_a_folder_that_is_not_there_is_told_before_measuring(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(VidnasError, match=r"none/cpu\.json: there is no folder .*none; make it first"):
        latency_budget_costs(small_space(), "cpu", tmp_path / "none" / "cpu.json")
    assert caplog.messages == []


class Affine:
    """A device (`Stopwatch`) on which a network takes `start_ms`, then a rate of its macs."""

    device: Device = "cpu"
    ms_per_mac = 1e-7

    def __init__(self, start_ms: float) -> None:
        self.start_ms = start_ms

    def of(self, macs: float) -> float:
        return self.start_ms + self.ms_per_mac * macs

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        return [self.of(network_cost(spec).macs) for spec in specs]

    def sub_layers(self, shapes: Sequence[SubLayer], frames: int, together: int) -> list[float]:
        raise NotImplementedError("only whole networks are timed on the way to a target")

    def network_call(self, spec: ArchSpec, clip: ClipSpec, batch_size: int = 1) -> Call:
        raise NotImplementedError("only whole networks are timed on the way to a target")


@pytest.mark.parametrize("start_ms", [0.0, 1.0])
@pytest.mark.parametrize("target_ms", [2.0, 30.0, 600.0])
def test_the_multiply_adds_of_a_target_are_found(target_ms: float, start_ms: float) -> None:
    """From a tenth of what the way begins with to a hundred times as much."""
    stopwatch = Affine(start_ms)
    macs = macs_within(target_ms, space_of_about, stopwatch.networks)
    # Exact where the rate is the same for all; else the last space's networks are near the target, not at it: twelve
    # draws of them were off by up to 35% where half of the time is the start, otherwise by up to 3%.
    off = 1e-9 if start_ms == 0 else 0.4 if target_ms == 2 * start_ms else 0.05
    assert stopwatch.of(macs) == pytest.approx(target_ms, rel=off)


def space_of_about(macs: float) -> Space:
    """Its middle network costs so much within a factor of two; `auto_space`, which is exact, takes a second."""
    return scaled_space(ClipSpec(frames=4, size=round(100 * math.sqrt(macs / 150e6))), width_factor=0.4)


def test_what_is_timed_is_the_batch_and_what_is_told_is_one_clip() -> None:
    space = small_space()
    spec = space.decode(space.smallest())
    one, many = (bench(spec, "cpu", batch_size=n) for n in (1, 16))
    assert one.cost == many.cost
    for found in (one, many):
        low, middle, high = found.ms
        assert 0 < low <= middle <= high
        assert found.calls >= 15
        assert found.memory_mib > 0
    # Sixteen of so small clips take hardly longer than one; on a busy machine either may take several times as long.
    assert many.ms[1] < one.ms[1]
