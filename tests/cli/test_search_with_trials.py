"""`vidnas search` ends with a race of what the supernet proposes."""

import json

from search_commands import QUICK, SMALL

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
    (line,) = [line for line in told.out.splitlines() if line.startswith("next: ")]
    recipe = "--train.steps 2", "--train.batch-size 8", "--clips.jitter '[1.0, 1.1]'"
    for words in (f"--arch {out / 'race' / 'winner.json'} --data {videos}", *recipe):
        assert f" {words} " in line
    assert "note: 9 steps on a supernet are few" in told.out
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


def test_budgets_in_parameters_are_raced_for_as_well(videos, tmp_path):
    """What the supernet proposes keeps both budgets, and so do X3D and all others."""
    out = tmp_path / "run"
    argv = ["search", "--data", str(videos), "--out", str(out), *SMALL, *QUICK, *TRIALS, "--target-params", "90K"]
    assert main(argv) == 0
    entries = list(read_trials(out / "race" / "trials.jsonl"))
    assert {"x3d", "supernet"} <= {entry.source for entry in entries}
    for entry in entries:
        assert entry.macs <= 1e6
        assert entry.params <= 90e3
    assert json.loads((out / "result.json").read_text())["targets"] == {"macs": 1e6, "params": 90e3}


def test_a_dry_run_plans_the_race_and_nothing_else(videos, tmp_path, capsys):
    dry = tmp_path / "dry"
    assert main(["search", "--data", str(videos), "--out", str(dry), *SMALL, *QUICK, *TRIALS, "--dry-run"]) == 0
    assert "trainings of 2 steps" in "".join(capsys.readouterr())
    assert not dry.exists()
