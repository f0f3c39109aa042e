"""`vidnas search` ends with a race of what the supernet proposes."""

import json

from search_commands import QUICK, SMALL, command

from vidnas.arch.spec import ArchSpec
from vidnas.cli.main import main
from vidnas.pipeline.race.archive import read_trials

TRIALS = ["--race.trials", "14", "--race.folds", "2", "--parallel", "1"]
TRIALS += ["--train.steps", "2", "--train.batch_size", "8", "--train.threads", "1"]


def test_candidates_of_the_supernet_are_trained_beside_x3d(videos, tmp_path, capsys):
    out = tmp_path / "run"
    argv = ["search", "--data", str(videos), "--out", str(out), *SMALL, *QUICK, *TRIALS, "--baselines", "evolution"]
    assert main(argv) == 0
    told = capsys.readouterr()
    assert "race/winner.json" in told.out + told.err
    derived = ArchSpec.load(out / "searched.json")
    entries = list(read_trials(out / "race" / "trials.jsonl"))
    sources = {entry.source for entry in entries}
    assert {"x3d", "supernet", "evolution on the supernet"} <= sources
    assert derived.content_hash in {entry.network for entry in entries}
    winner = ArchSpec.load(out / "race" / "winner.json").content_hash
    assert winner == json.loads((out / "race" / "result.json").read_text())["winner"]["network"]
    # All is there: nothing is searched or trained again.
    before = (out / "race" / "trials.jsonl").read_bytes()
    assert main([*argv, "--resume"]) == 0
    assert (out / "race" / "trials.jsonl").read_bytes() == before
    # What follows a search finds it.
    assert main(["pareto", str(out)]) == 0


def test_no_race_where_there_can_be_none(videos, tmp_path, capsys):
    """Networks of a race are brought to multiply-adds; and a dry run plans race and nothing else."""
    without = [word for word in command("search", videos, tmp_path / "params") if word != "--no-trials"]
    at = without.index("--target-macs")
    assert main([*without[:at], "--target-params", "0.12M", *without[at + 2 :]]) == 0
    assert "no trials of what is found" in "".join(capsys.readouterr())
    assert (tmp_path / "params" / "searched.json").exists()
    assert not (tmp_path / "params" / "race").exists()
    dry = tmp_path / "dry"
    assert main(["search", "--data", str(videos), "--out", str(dry), *SMALL, *QUICK, *TRIALS, "--dry-run"]) == 0
    assert "trainings of 2 steps" in "".join(capsys.readouterr())
    assert not dry.exists()
