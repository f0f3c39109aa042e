"""`vidnas race`, and `vidnas run` by race, as a user calls them."""

import json
import shlex
import shutil
import signal
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from program import Program
from search_commands import QUICK, SMALL, fails

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.cli.main import main
from vidnas.engine.train.config import TrainConfig
from vidnas.search.space.space import Space

QUICK_RACE = ["--target-macs", "2M", "--clip", "4x24", "--sampling", "uniform", "--trials", "8", "--folds", "2"]
QUICK_RACE += ["--train.steps", "1", "--train.batch_size", "6", "--clips.workers", "0", "--parallel", "1"]


def race(verb: str, videos: Path, out: Path, *more: str) -> list[str]:
    return [verb, "--data", str(videos), "--out", str(out), *QUICK_RACE, *more]


@pytest.fixture(scope="module")
def raced(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run by race, with two seeds at the end."""
    out = tmp_path_factory.mktemp("raced") / "run"
    assert main(race("run", videos, out, "--final-seeds", "2", "--train.seed", "5")) == 0
    return out


def test_run_by_race_leaves_everything(raced: Path) -> None:
    result = json.loads((raced / "result.json").read_text())
    winner = ArchSpec.load(raced / "race" / "winner.json")
    assert result["searched"]["macs"] == network_cost(winner).macs
    assert result["seeds"] == [5, 6]
    assert result["trainings_each"] == 2
    assert len(result["searched"]["headlines"]) == len(result["x3d"]["headlines"]) == 2
    differences = [a - b for a, b in zip(result["searched"]["headlines"], result["x3d"]["headlines"], strict=True)]
    assert result["ahead"]["mean"] == pytest.approx(sum(differences) / 2)
    assert 0.99 <= result["x3d"]["macs"] / result["searched"]["macs"] <= 1.01
    entries = [json.loads(line) for line in (raced / "race" / "trials.jsonl").read_text().splitlines()]
    assert len(entries) == result["race"]["trials"] <= 8
    page = (raced / "report.html").read_text()
    assert "The race" in page
    assert "the test list had no part in it" in page
    for entry in entries:
        assert entry["name"] in page
    for name in ("searched", "searched_2"):
        assert (raced / name / "model.safetensors").exists()


def test_finished_run_trains_nothing_again(raced: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in raced.rglob("*.safetensors")}
    result = json.loads((raced / "result.json").read_text())
    capsys.readouterr()
    assert main(race("run", videos, raced, "--final-seeds", "2", "--train.seed", "5", "--resume")) == 0
    assert "trial " not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in raced.rglob("*.safetensors")} == before
    again = json.loads((raced / "result.json").read_text())
    assert {**again, "phases_sec": 0} == {**result, "phases_sec": 0}
    # What went on is what both attempts took.
    for phase in ("race", "last trainings and tests"):
        assert again["phases_sec"][phase] > result["phases_sec"][phase]
    video = next((videos / "videos" / "test").iterdir())
    assert main(["predict", str(raced), str(video)]) == 0


def test_folders_of_something_else(raced: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in raced.rglob("*")}
    assert "holds a run already; add --resume" in fails(capsys, race("run", videos, raced))
    # Whoever finds a network in another way would come to the last trainings only to see that others lie there.
    assert "holds a run already; add --resume" in fails(capsys, race("run", videos, raced, "--method", "supernet"))
    for method in ("supernet", "both"):
        argv = race("run", videos, raced, "--method", method, "--resume")
        assert "its network is found by --method race; leave --method out" in fails(capsys, argv)
    for more in ([], ["--resume"]):
        argv = race("search", videos, raced, "--no-trials", *more)
        assert "holds a race, and no supernet alone" in fails(capsys, argv)
    assert {path: path.stat().st_mtime_ns for path in raced.rglob("*")} == before
    assert "leaves no supernet" in fails(capsys, ["derive", str(raced), "--targets", "1M"])
    assert "holds a search or a whole run" in fails(capsys, race("race", videos, raced))


def test_no_race_of_several_processes(videos: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    for name, value in (("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    assert "leave torchrun out" in fails(capsys, race("race", videos, tmp_path / "race"), 2)
    argv = race("run", videos, tmp_path / "run", "--method", "supernet", "--parallel", "2")
    assert "torchrun train all networks together" in fails(capsys, argv, 2)
    assert not list(tmp_path.iterdir())


def test_race_alone_and_its_winner(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, recipe = tmp_path / "a race", tmp_path / "recipe.yaml"
    recipe.write_text("train:\n  label_smoothing: 0.2\nclips:\n  flip: [[move_left, move_right]]\n")
    lists = ["--test", str(videos / "test.csv"), "--group-regex", r"(\w+/\w+)\.\w+$"]
    given = ["--config", str(recipe), "--clips.jitter", "[1.0,1.2]", "--train.activation-checkpointing", "true"]
    assert main(race("race", videos, out, "--parallel", "2", *lists, *given)) == 0
    printed = capsys.readouterr().out
    assert "winner: " in printed
    assert main(["info", str(out / "winner.json")]) == 0
    assert "a race, whose winner is not trained yet" in fails(capsys, ["test", str(out), "--data", str(videos)])
    assert "holds a race" in fails(capsys, race("run", videos, out))
    # The winner is trained on these lists and with this recipe by what the race says next.
    (line,) = [line for line in printed.splitlines() if line.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: "))
    assert words[:4] == ["vidnas", "train", "--arch", str(out / "winner.json")]
    for option, value in zip(lists[::2], lists[1::2], strict=True):
        assert words[words.index(option) + 1] == value
    assert main(words[1:]) == 0
    settings = json.loads((out / "trained" / "run.json").read_text())["settings"]
    raced = {"steps": 1, "batch_size": 6, "label_smoothing": 0.2, "activation_checkpointing": True}
    assert settings["train"] == {**asdict(TrainConfig()), **raced}
    made = {"workers": 0, "jitter": [1.0, 1.2], "flip": [["move_left", "move_right"]]}
    assert {name: settings["data"][name] for name in made} == made
    assert settings["data"]["group_regex"] == lists[3]


def test_supernet_and_race_together(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "both"
    more = ["--method", "both", "--space", "tiny", *QUICK, "--target-macs", "1M"]
    assert main(race("run", videos, out, *more)) == 0
    entries = [json.loads(line) for line in (out / "race" / "trials.jsonl").read_text().splitlines()]
    assert {"supernet", "mutant"} <= {entry["source"] for entry in entries}
    space = Space.load(out / "search" / "space.json")
    for entry in entries:
        if entry["source"] != "x3d":
            assert space.encode(ArchSpec.load(out / "race" / "networks" / f"{entry['network']}.json"))
    assert "Probabilities" in (out / "report.html").read_text()
    assert "note: 9 steps on a supernet are few" in capsys.readouterr().out


def test_auto_with_time_for_both_gives_the_supernet_the_steps_that_it_names(videos: Path, tmp_path: Path) -> None:
    """Seen once the search has begun, which is stopped then."""
    out = tmp_path / "run"
    argv = race("run", videos, out, "--space", "tiny", "--target-macs", "1M", "--search.threads", "1")
    program = Program([*argv, "--max-hours", "1e5"], tmp_path / "said")
    end = time.monotonic() + 100
    while not (out / "search" / "run.json").exists():
        assert program.process.is_alive(), program.said()
        assert time.monotonic() < end
        time.sleep(0.02)
    assert program.stop_after(0, signal.SIGTERM) == 143
    said = program.said()
    assert "method both: one half of 1e+05 hours is enough for all 8 trainings of a race and the last ones" in said
    assert "the other for a supernet of 9,000 steps" in said
    assert "(6,000 steps on alpha)" in said
    assert "steps on a supernet are few" not in said
    assert json.loads((out / "settled.json").read_text())["search"]["steps"] == 9000


def test_auto_names_the_length_of_the_supernet_that_was_asked_for(videos: Path, tmp_path: Path, capsys) -> None:
    """Seven passes over the 14 videos of its part; a list of two videos per class cannot be divided for it."""
    argv = race("run", videos, tmp_path / "run", "--search.batch-size", "4", "--max-hours", "1e5", "--dry-run")
    assert main([*argv, "--search.epochs", "7"]) == 0
    told = capsys.readouterr().out
    assert "method race: 1e+05 hours leave time for 8 trainings; a supernet of 21 steps is too short to judge" in told
    few = shutil.copytree(videos, tmp_path / "few")
    rows = (few / "train.csv").read_text().splitlines(keepends=True)
    (few / "train.csv").write_text("".join(row for row in rows if "_0000." in row or "_0001." in row))
    assert main([*argv, "--data", str(few)]) == 0
    assert "the list is too short to be divided for a supernet" in capsys.readouterr().out


def test_auto_without_time_for_a_race_takes_a_supernet_and_stays_with_it(videos: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    argv = ["run", "--data", str(videos), "--out", str(out), *SMALL, *QUICK]
    argv += ["--train.steps", "2", "--train.batch_size", "8", "--train.threads", "1", "--parallel", "1"]
    assert main([*argv, "--max-hours", "1e-5"]) == 0
    told = capsys.readouterr().out
    assert "method supernet: 1e-05 hours leave time for 0 trainings beside the last ones, and a race needs 8" in told
    (out / "result.json").unlink()
    assert main([*argv, "--resume"]) == 0
    assert "method supernet: as at the start of the run" in capsys.readouterr().out
    assert not (out / "race").exists()


def test_dry_run_writes_nothing(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(race("run", videos, tmp_path / "run", "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "race: 8 trainings of 1 steps at most" in printed
    assert "estimated 1 min with the trainings that follow" in printed
    assert not (tmp_path / "run").exists()


def test_what_a_race_cannot_do(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert "give 8 or more" in fails(capsys, race("run", videos, out, "--trials", "3"))
    assert "trainings fit" in fails(capsys, race("run", videos, out, "--max-hours", "1e-7", "--method", "race"))
    assert "each class needs 13 groups" in fails(capsys, race("run", videos, out, "--folds", "13"))
    assert "folds 1: give a whole number at least 2" in fails(capsys, race("run", videos, out, "--folds", "1"), 2)
    for verb in ("run", "race"):
        assert "--max-hours -1: give hours above 0" in fails(capsys, race(verb, videos, out, "--max-hours", "-1"), 2)
    assert not (out / "race" / "trials.jsonl").exists()
