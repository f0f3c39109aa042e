"""Searches and races under budgets other than multiply-adds: milliseconds, parameters, activations."""

import json
from pathlib import Path

import pytest
from latency_examples import planted_table
from search_commands import command, fails

from vidnas.arch.cost import network_cost
from vidnas.arch.latency import LatencyTable
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.cli.main import main
from vidnas.pipeline.this_machine import machine_name, measured_versions
from vidnas.search.costs import CostTable
from vidnas.search.latency_costs import latency_costs
from vidnas.search.space.published.scaled import tiny_space

# What `command` searches in, on the data set's two classes.
SPACE = tiny_space(ClipSpec(frames=4, size=24, sampling="uniform"), num_classes=2)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file of a made-up machine's milliseconds that says it is of this one, and of one thread."""
    here = {"machine": machine_name("cpu"), "versions": measured_versions("cpu")}
    path = tmp_path / "table.json"
    path.write_text(planted_table(SPACE, every=3).model_copy(update=here).to_json())
    return path


def searching(videos: Path, out: Path, *budgets: str, verb: str = "search") -> list[str]:
    """The quick search of the other tests with budgets of its own."""
    argv = command(verb, videos, out, *budgets)
    macs = argv.index("--target-macs")
    return argv[:macs] + argv[macs + 2 :]


def low(metric: str, table: Path) -> float:
    """A tenth of the way from the cheapest to the dearest, which few networks keep by chance."""
    costs = latency_costs(SPACE, LatencyTable.load(table)) if metric == "ms" else CostTable.of(SPACE, metric)
    least, most = costs.cheapest()[1], costs.dearest()[1]
    target = least + 0.1 * (most - least)
    return target if metric == "ms" else int(target)


def test_milliseconds_of_a_table(videos: Path, tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latency = LatencyTable.load(table)
    target = low("ms", table)
    out = tmp_path / "run"
    before = table.read_bytes()
    assert main(searching(videos, out, "--target-ms", repr(target), "--latency_table", str(table))) == 0
    printed = capsys.readouterr().out
    record = json.loads((out / "result.json").read_text())
    searched = ArchSpec.load(out / "searched.json")
    predicted = latency.network_ms(searched)
    assert predicted <= target
    assert record["targets"] == {"ms": target}
    # The same look-ups, summed in another order.
    assert record["cost"] == {"ms": pytest.approx(predicted, rel=1e-12)}
    assert SPACE.encode(searched) == tuple(record["choice"])
    assert all(candidate["cost"]["ms"] <= target for candidate in record["candidates"])
    assert f"predicted {predicted:.3g} ms" in printed
    assert "measuring" not in printed
    assert table.read_bytes() == (out / "latency.json").read_bytes() == before


def test_a_run_in_milliseconds_and_what_comes_after(
    videos: Path, tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latency, out, target = LatencyTable.load(table), tmp_path / "run", low("ms", table)
    given = ["--target-ms", repr(target), "--latency_table", str(table)]
    assert main(searching(videos, out, *given, verb="run")) == 0
    measured = json.loads((out / "result.json").read_text())["measured_ms"]
    assert list(measured) == ["searched", "x3d"]
    told = ", ".join(f"{name} {ms:.3g} ms" for name, ms in measured.items())
    assert told in capsys.readouterr().out
    assert told in (out / "report.html").read_text()
    wider = 1.2 * target
    argv = ["derive", str(out), "--metric", "ms", "--targets", f"{target!r},{wider!r}ms", "--evaluations", "12"]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    for most in (target, wider):
        folder = out / "derived" / f"{most:.6g}ms"
        predicted = latency.network_ms(ArchSpec.load(folder / "searched.json"))
        assert 0.8 * most <= predicted <= most
        assert json.loads((folder / "result.json").read_text())["cost"] == {"ms": pytest.approx(predicted, rel=1e-12)}
        assert f"{predicted:.3g} ms @ 4x24x24" in printed
    assert main(["pareto", str(out), "--metric", "ms", "-n", "4", "--evaluations", "12"]) == 0
    points = json.loads((out / "pareto_ms.json").read_text())["architectures"]
    costs = latency_costs(SPACE, latency).costs([tuple(point["choice"]) for point in points])
    assert [point["cost"] for point in points] == pytest.approx(costs.tolist())


@pytest.mark.parametrize("metrics", [("params",), ("activations",), ("params", "ms")], ids="+".join)
def test_other_budgets_alone_and_together(videos: Path, tmp_path: Path, table: Path, metrics: tuple[str, ...]) -> None:
    latency = LatencyTable.load(table)
    targets = {metric: low(metric, table) for metric in metrics}
    options = [text for metric, target in targets.items() for text in (f"--target-{metric}", repr(target))]
    assert main(searching(videos, tmp_path / "run", *options, "--latency_table", str(table))) == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    searched = ArchSpec.load(tmp_path / "run" / "searched.json")
    assert record["targets"] == targets
    for metric, target in targets.items():
        cost = latency.network_ms(searched) if metric == "ms" else getattr(network_cost(searched), metric)
        assert cost <= target
        assert record["cost"][metric] == pytest.approx(cost, rel=1e-12)


def racing(videos: Path, out: Path, *more: str, verb: str = "run") -> list[str]:
    """A race of a few tiny trainings."""
    argv = [verb, "--data", str(videos), "--out", str(out), "--trials", "8", "--folds", "2", "--parallel", "1", *more]
    return [*argv, "--train.steps", "1", "--train.batch_size", "6", "--train.threads", "1", "--clips.workers", "0"]


def test_a_run_by_race_times_every_network_once(
    videos: Path, tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Milliseconds that no busy machine exceeds, measured here, beside a budget that is tight."""
    out = tmp_path / "run"
    clip = ["--space", "tiny", "--clip", "4x24", "--sampling", "uniform"]
    argv = racing(videos, out, *clip, "--target-macs", "1M", "--target-ms", "1000", "--latency_table", str(table))
    assert main(argv) == 0
    told = capsys.readouterr().out
    assert f"timing networks on cpu, kept in {out / 'milliseconds.json'}; nothing else should run" in told
    assert "networks within 1.00 MMACs and 1000 ms on cpu, judged on" in told
    timed = json.loads((out / "milliseconds.json").read_text())["ms"]
    entries = [json.loads(line) for line in (out / "race" / "trials.jsonl").read_text().splitlines()]
    assert {"x3d", "random", "entropy"} <= {entry["source"] for entry in entries}
    for entry in entries:
        assert 0 < timed[entry["network"]] < 1000
        assert entry["macs"] <= 1e6
    result = json.loads((out / "result.json").read_text())
    assert result["targets"] == {"macs": 1e6, "ms": 1000.0}
    assert result["race"]["x3d"]["ms"] == timed[result["race"]["x3d"]["network"]]
    assert result["measured_ms"]["searched"] > 0
    page = (out / "report.html").read_text()
    assert "Every network keeps 1.00 MMACs and 1000 ms; the one that uses least leaves " in page
    assert f"{timed[result['race']['x3d']['network']]:.3g} ms @ 4x24x24" in page
    assert main([*argv, "--resume"]) == 0
    assert json.loads((out / "milliseconds.json").read_text())["ms"] == timed
    assert "trial " not in capsys.readouterr().out


def test_a_race_in_parameters_and_multiply_adds(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "race"
    budgets = ["--target-macs", "2M", "--target-params", "60K"]
    assert main(racing(videos, out, *budgets, "--clip", "4x24", "--sampling", "uniform", verb="race")) == 0
    entries = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    assert {"x3d", "near x3d", "entropy"} <= {entry["source"] for entry in entries}
    assert all(entry["macs"] <= 2e6 and entry["params"] <= 60e3 for entry in entries)


def test_what_a_race_cannot_be_held_to(
    videos: Path, tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = ["--target-ms", "30", "--latency_table", str(table)]
    for verb in ("race", "run"):
        argv = racing(videos, out / verb, *given, verb=verb)
        assert "is of the clip 4x24x24, and a race looks for one; add --clip" in fails(capsys, argv)
        assert "is of the clip 4x24x24, the race of 4x32x32" in fails(capsys, [*argv, "--clip", "4x32"])
        line = fails(capsys, racing(videos, out / verb, "--target-params", "60K", verb=verb))
        assert "a budget of 0.060 M params does not say how large a clip may be; add --target-macs or" in line
        assert "give a budget: --target-macs" in fails(capsys, racing(videos, out / verb, verb=verb), code=2)
        line = fails(capsys, racing(videos, out / verb, "--target-macs", "1M", "--device", "cuda", verb=verb), code=2)
        assert "--device cuda: is what --target-ms is measured on; networks are trained on --train.device" in line
        assert not list(out.rglob("trials.jsonl"))


def test_what_cannot_be_is_one_line(
    videos: Path, tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    costs = latency_costs(SPACE, LatencyTable.load(table))
    for target in (costs.cheapest()[1] * 0.9, costs.dearest()[1] * 1.1):
        line = fails(capsys, searching(videos, out, "--target-ms", repr(target), "--latency_table", str(table)))
        assert f"target {target:.3g} ms is outside the space tiny_space" in line
        assert f"{costs.cheapest()[1]:.3g} ms to {costs.dearest()[1]:.3g} ms" in line
    given = ["--target-ms", repr(low("ms", table)), "--latency_table", str(table)]
    right = LatencyTable.load(table)
    for field, value in (("device", "openvino"), ("machine", "Another 9000"), ("threads", 77)):
        table.write_text(right.model_copy(update={field: value}).to_json(), encoding="utf-8")
        line = fails(capsys, searching(videos, out, *given))
        assert f"{table}: this latency table is of {field} {value}, here it is " in line
    assert "give milliseconds above 0" in fails(capsys, searching(videos, out, "--target-ms", "-1"), code=2)
    assert not (out / "result.json").exists()
