"""`vidnas derive`, `pareto` and `rank` on one small finished run, and what keeps a run from being opened."""

import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from itertools import combinations, permutations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from search_commands import command, fails

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.cli.main import main
from vidnas.search.archive import read
from vidnas.search.costs import CostTable
from vidnas.search.rank_correlation import kendall
from vidnas.search.space.space import Space
from vidnas.search.supernet import Supernet


def test_baselines_have_as_many_evaluations_and_candidates(finished_run: Path) -> None:
    record = json.loads((finished_run / "search" / "result.json").read_text())
    evaluations = len(list(read(finished_run / "search" / "archive.jsonl")))
    assert list(record["baselines"]) == ["random", "evolution"]
    for baseline in record["baselines"].values():
        assert baseline["architectures"] * baseline["batches"] == baseline["evaluations"]
        assert evaluations - baseline["batches"] < baseline["evaluations"] <= evaluations
        assert len(baseline["candidates"]) == len(record["candidates"]) == 2
        assert all(candidate["cost"]["macs"] <= 1e6 for candidate in baseline["candidates"])
        scores = [candidate["holdout_log_likelihood"] for candidate in baseline["candidates"]]
        assert scores == sorted(scores, reverse=True)


def test_baselines_can_be_asked_for_after_the_search(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("search", videos, tmp_path / "run")) == 0
    before = json.loads((tmp_path / "run" / "result.json").read_text())
    capsys.readouterr()
    assert main(command("search", videos, tmp_path / "run", "--resume", "--baselines", "random")) == 0
    printed = capsys.readouterr().out
    assert printed.count("<- best") == 1
    after = json.loads((tmp_path / "run" / "result.json").read_text())
    assert list(after.pop("baselines")) == ["random"]
    assert after == before
    line = fails(capsys, command("search", videos, tmp_path / "other", "--baselines", "luck"))
    assert "search.baselines: must be of random, evolution" in line


def test_a_family_is_derived_inherited_and_trained_once(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["derive", str(own_run), "--targets", "0.6M,1M", "--inherit", "--scratch", "--evaluations", "12"]
    assert main(argv) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if " @ 4x24x24  " in line]
    assert len(table) == 2
    state = torch.load(own_run / "search" / "last.ckpt", weights_only=True)
    space = Space.load(own_run / "search" / "space.json")
    supernet = Supernet(space)
    supernet.load_state_dict(state["supernet"])
    for target, folder in ((6e5, own_run / "derived" / "600k"), (1e6, own_run / "derived" / "1M")):
        spec = ArchSpec.load(folder / "searched.json")
        record = json.loads((folder / "result.json").read_text())
        assert space.encode(spec) == tuple(record["choice"])
        assert network_cost(spec).macs == record["cost"]["macs"] <= target
        assert all(0.8 * target <= candidate["cost"]["macs"] <= target for candidate in record["candidates"])
        best = max(record["candidates"], key=lambda candidate: candidate["holdout_log_likelihood"])
        assert best["choice"] == record["choice"]
        assert {name for candidate in record["candidates"] for name in candidate["from"]} == {"k-best", "evolution"}
        inherited = load_file(folder / "inherited" / "model.safetensors")
        for name, value in supernet.network_state(tuple(record["choice"])).items():
            assert torch.equal(inherited[name], value), name
        assert (inherited["streams.0.conv5.norm.running_var"] != 1).any(), "norm statistics are the network's own"
        # Three steps at a small rate stay near the weights that they started from, random ones are elsewhere.
        ends = [load_file(folder / kind / "model.safetensors")["head.fc1.weight"] for kind in ("fine_tuned", "scratch")]
        moved = [float((end - inherited["head.fc1.weight"]).norm()) for end in ends]
        assert 0 < moved[0] < 0.1 * moved[1]
        tests = {kind: json.loads((folder / kind / "test" / "result.json").read_text()) for kind in ("inherited",)}
        assert tests["inherited"]["videos"] == 8
    rows = json.loads((own_run / "derived" / "family.json").read_text())
    assert [list(row["tests"]) for row in rows] == [["inherited", "fine_tuned", "scratch"]] * 2
    written = {path: path.stat().st_mtime_ns for path in own_run.rglob("derived/*/**/*.safetensors")}
    assert len(written) == 6
    assert main(argv) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if " @ 4x24x24  " in line] == table
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert "train.epochs 1 then, 2 now; ask for the same, or remove the folder" in fails(
        capsys, [*argv, "--epochs", "2"]
    )


@pytest.mark.long
def test_a_family_is_the_same_trained_side_by_side(own_run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(own_run, tmp_path / "other"))
    options = ["--targets", "0.6M,1M", "--inherit", "--scratch", "--evaluations", "2", "--threads", "1"]
    assert main(["derive", str(own_run), *options]) == 0
    # Processes of their own would not see a change to this one, so it tells who trains.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidnas.engine.trials.job.train", None)
        assert main(["derive", str(other), *options, "--parallel", "2"]) == 0
    families = [(run / "derived" / "family.json").read_text() for run in (own_run, other)]
    assert families[0] == families[1]
    models = sorted(own_run.glob("derived/*/*/model.safetensors"))
    assert len(models) == 6
    for model in models:
        assert model.read_bytes() == (other / model.relative_to(own_run)).read_bytes()


def test_a_training_of_a_family_that_diverges_leaves_the_others(
    own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--targets", "0.6M,1M", "--inherit", "--scratch", "--evaluations", "2", "--fine-tune-lr", "1e30"]
    line = fails(capsys, ["derive", str(own_run), *options])
    assert str(own_run / "derived" / "600k" / "fine_tuned") in line
    rows = json.loads((own_run / "derived" / "family.json").read_text())
    assert [list(row["tests"]) for row in rows] == [["inherited", "scratch"]] * 2


def test_unreachable_targets_are_one_line_with_the_range(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target in ("1k", "1M,900G"):
        line = fails(capsys, ["derive", str(own_run), "--targets", target])
        assert line.count("MACs") == 3, "the target and both ends of the range"
    assert not (own_run / "derived").exists()
    assert "write multiply-adds" in fails(capsys, ["derive", str(own_run), "--targets", "1M,"])
    assert "write milliseconds" in fails(capsys, ["derive", str(own_run), "--targets", "1M", "--metric", "ms"])
    for verb in (["derive", str(own_run), "--targets", "3ms"], ["pareto", str(own_run)]):
        assert "the search had no budget in milliseconds" in fails(capsys, [*verb, "--metric", "ms"])


def test_a_family_by_parameters(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = CostTable.of(Space.load(own_run / "search" / "space.json"), "params")
    least, most = table.cheapest()[1], table.dearest()[1]
    target = round((least + most) / 2)
    assert main(["derive", str(own_run), "--targets", str(target), "--metric", "params", "--evaluations", "12"]) == 0
    assert "M params @ 4x24x24  " in capsys.readouterr().out
    (folder,) = (own_run / "derived").glob("*_params")
    spec, record = ArchSpec.load(folder / "searched.json"), json.loads((folder / "result.json").read_text())
    assert network_cost(spec).params == record["cost"]["params"] <= target == record["target"]
    assert all(candidate["cost"]["params"] <= target for candidate in record["candidates"])


def test_the_front_is_what_nothing_judged_beats(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = Space.load(own_run / "search" / "space.json")
    chosen = json.loads((own_run / "search" / "result.json").read_text())["choice"]
    for metric in ("macs", "params"):
        assert main(["pareto", str(own_run), "-n", "7", "--evaluations", "12", "--metric", metric]) == 0
        assert "not trained networks" in capsys.readouterr().out
        stem = own_run / ("pareto" if metric == "macs" else "pareto_params")
        points = json.loads(stem.with_suffix(".json").read_text())["architectures"]
        assert len(points) == 7
        assert [point["choice"] for point in points if point["source"] == "search"] == [chosen]
        for point in points:
            assert point["cost"] == getattr(network_cost(space.decode(tuple(point["choice"]))), metric)
            beaten = any(
                (other["cost"] <= point["cost"] and other["top1"] > point["top1"])
                or (other["cost"] < point["cost"] and other["top1"] >= point["top1"])
                for other in points
            )
            # Of equals one is enough.
            assert not (point["on_front"] and beaten)
            assert point["on_front"] or beaten or any(p["on_front"] and p["cost"] == point["cost"] for p in points)
        assert "not trained networks" in stem.with_suffix(".svg").read_text()
        assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_ranking_goes_on_with_the_next_network(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real process, killed without warning once the first network is trained and tested."""
    whole = Path(shutil.copytree(own_run, tmp_path / "whole"))
    argv = ["rank", "-n", "4", "--epochs", "2"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "vidnas", *argv, str(own_run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (tested := list(own_run.glob("rank/*/test/result.json"))):
        assert killed.poll() is None, killed.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(list(own_run.glob("rank/*/test/result.json"))) < 4
    assert not (own_run / "rank.json").exists()
    first = {path: path.stat().st_mtime_ns for path in tested}
    assert main([*argv, str(own_run)]) == 0
    assert main([*argv, str(whole)]) == 0
    assert {path: path.stat().st_mtime_ns for path in tested} == first
    assert (own_run / "rank.json").read_bytes() == (whole / "rank.json").read_bytes()
    record = json.loads((whole / "rank.json").read_text())
    networks = record["networks"]
    assert len({tuple(network["choice"]) for network in networks}) == 4
    costs = [network["macs"] for network in networks]
    assert costs == sorted(costs)
    assert costs[-1] <= 1e6
    found = kendall([n["supernet_log_likelihood"] for n in networks], [n["alone_log_likelihood"] for n in networks])
    assert record["kendall"]["supernet_and_log_likelihood"]["tau"] == found.tau
    printed = capsys.readouterr().out
    # Multiply-adds rise from network to network, so pairs agree where the supernet's score rises too.
    supernet = [network["supernet_log_likelihood"] for network in networks]
    rises = [math.copysign(1, later - earlier) for earlier, later in combinations(supernet, 2)]
    of_orders = [kendall(range(4), order).tau for order in permutations(range(4))]
    expected = {
        "MACs, supernet score": ("macs_and_supernet", sum(rises) / 6),
        "supernet score, stand-alone log-likelihood": ("supernet_and_log_likelihood", found.tau),
    }
    for words, (name, tau) in expected.items():
        assert record["kendall"][name]["tau"] == pytest.approx(tau)
        assert record["kendall"][name]["null_standard_error"] == pytest.approx(statistics.pstdev(of_orders))
        # Both runs print the same.
        (line,) = {line for line in printed.splitlines() if line.strip().startswith(f"{words}  ")}
        assert f"  {tau:+.3f} (null s.e. {statistics.pstdev(of_orders):.3f}, p = " in line
        assert line.endswith(", n = 4)")
    # Only the holdout's videos were scored, and none of them was trained on.
    scored = {line.split(",")[0] for line in next(whole.glob("rank/*/test/scores.csv")).read_text().splitlines()[1:]}
    assert len(scored) == 4
    assert all(path.startswith("videos/train/") for path in scored)
    assert "picture: " in printed
    assert (whole / "rank.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_no_finished_search_is_one_line(
    own_run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no such run folder" in fails(capsys, ["pareto", str(tmp_path / "nowhere")])
    assert "no job.json" in fails(capsys, ["rank", str(videos)])
    state = own_run / "search" / "last.ckpt"
    state.rename(tmp_path / "last.ckpt")
    (own_run / "search" / "previous_last.ckpt").unlink(missing_ok=True)
    assert "last.ckpt: missing" in fails(capsys, ["derive", str(own_run), "--targets", "1M"])
    (own_run / "search" / "result.json").unlink()
    assert "not finished" in fails(capsys, ["derive", str(own_run), "--targets", "1M"])
    assert "-n 1: give 3 or more" in fails(capsys, ["rank", str(own_run), "-n", "1"])
    assert "least and the largest" in fails(capsys, ["rank", str(own_run), "--range", "2M,1M"])


def test_moved_data_are_found_and_changed_lists_refused(
    own_run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(videos, tmp_path / "moved"))
    argv = ["derive", str(own_run), "--targets", "0.7M", "--evaluations", "2"]
    job = own_run / "job.json"
    job.write_text(job.read_text().replace(str(videos), str(tmp_path / "gone")))
    assert "--data says where" in fails(capsys, argv)
    assert main([*argv, "--data", str(moved)]) == 0
    rows = (moved / "train.csv").read_text().splitlines()
    (moved / "train.csv").write_text("\n".join([*rows[:-2], rows[-1]]) + "\n")
    assert "training list is not the one of" in fails(capsys, [*argv, "--data", str(moved)])
    # Nor does the run itself go on with other lists, or forget its own.
    line = fails(capsys, command("run", moved, own_run, "--resume"))
    assert "training list is not the one of" in line
    assert str(moved) not in job.read_text()
