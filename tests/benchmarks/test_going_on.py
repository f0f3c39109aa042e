"""Benchmarks that go on from a result file: never with other settings, and without losing what it has."""

import json
import random
import shutil
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import budgets
import pytest
import race_evidence
import recipe
import supernet_ranks
import two_stream_ablations
from going_on import hold_to, settings
from race_rows import round_deviation, same_order, table
from tiny_races import course
from tiny_training import tiny_config, tiny_data

from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.engine.supernet.config import SearchConfig
from vidnas.pipeline.lists import load_lists
from vidnas.search.limits import BoundedSpace
from vidnas.search.proposals import drawn
from vidnas.search.space.published.auto import auto_space

TRAINING = tiny_config()
MAINS: dict[str, tuple[Callable[[], None], list[str]]] = {
    "race": (race_evidence.main, ["--name", "generated"]),
    "budgets": (budgets.main, []),
    "recipe": (recipe.main, ["--group-regex", r"_(\d+)\."]),
    "ranks": (supernet_ranks.main, ["--networks", "2"]),
    "ablations": (two_stream_ablations.main, ["--group-regex", ""]),
}


@pytest.fixture
def run(synthetic_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a benchmark with OUT as its result file."""

    def run(name: str, *more: str) -> None:
        main, own = MAINS[name]
        folders = ["--data", str(synthetic_data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.json")]
        monkeypatch.setattr("sys.argv", [name, *folders, *own, *more])
        main()

    return run


def test_a_record_is_held_to_its_first_identity(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    record: dict[str, Any] = {}
    identity = {"macs": 4e6, **settings(train=TRAINING, clips=data, search=SearchConfig(seed=1))}
    hold_to(record, identity, tmp_path)
    record = {**json.loads(json.dumps(record)), "results": [1]}
    # Seeds, and what changes no result, may differ.
    other = settings(train=replace(TRAINING, seed=5, log_every_steps=7), clips=replace(data, workers=2))
    hold_to(record, {**identity, **other}, tmp_path)
    for change, told in (
        ({"macs": 5e6}, r"macs 4000000\.0 then, 5000000\.0 now"),
        (settings(train=replace(TRAINING, steps=9)), r"train\.steps 6 then, 9 now"),
        (settings(clips=replace(data, jitter=(1.0, 1.5))), r"clips\.jitter \[.*\] then, \[1\.0, 1\.5\] now"),
        ({"clip": "8x40"}, "clip None then, 8x40 now"),
    ):
        with pytest.raises(SystemExit, match=rf"out\.json: cannot go on from this: {told};"):
            hold_to(record, {**identity, **change}, tmp_path / "out.json")
    assert record["identity"] == json.loads(json.dumps(identity))


def test_a_record_without_identity_is_held_by_what_stands_beside_its_results(tmp_path: Path) -> None:
    record: dict[str, Any] = {"results": [1], "macs": 4e6, "steps": 6}
    with pytest.raises(SystemExit, match="does not say what its results were made with"):
        hold_to(dict(record), {"macs": 4e6}, tmp_path)
    named = ("macs", "steps")
    for own in ({"macs": 4e6, "steps": 7}, {"macs": 5e6, "steps": 6}):
        with pytest.raises(SystemExit, match="cannot go on from this"):
            hold_to(record, {**own, "more": 1}, tmp_path, named=named)
    hold_to(record, {"macs": 4e6, "steps": 6, "more": 1}, tmp_path, named=named)
    with pytest.raises(SystemExit, match="more 1 then, 2 now"):
        hold_to(record, {"macs": 4e6, "steps": 6, "more": 2}, tmp_path, named=named)


@pytest.mark.parametrize("name", MAINS)
def test_every_benchmark_refuses_a_file_of_other_settings(name: str, run: Callable[..., None], tmp_path: Path) -> None:
    record: dict[str, Any] = {"identity": {"train.lr": 1}}
    before = json.dumps({"lists": {"utd": record}} if name == "recipe" else record)
    (tmp_path / "out.json").write_text(before)
    with pytest.raises(SystemExit, match=r"out\.json: cannot go on from this: .*train\.lr 1 then, None now"):
        run(name)
    assert (tmp_path / "out.json").read_text() == before
    assert not (tmp_path / "work").exists()


def test_ablations_take_up_a_file_without_identity(run: Callable[..., None], tmp_path: Path) -> None:
    options = {"clip": "16x40x40", "macs": 10e6, "steps": 7, "search_steps": 3000}
    (tmp_path / "out.json").write_text(json.dumps({"entries": [], "searched": {}, "summary": {}, **options}))
    run("ablations", "--seeds", "0", "--steps", "7")
    for other, told in ((["--steps", "8"], "steps 7 then, 8 now"), (["--steps", "7", "--clip", "8x40"], "clip")):
        with pytest.raises(SystemExit, match=f"cannot go on from this: {told}"):
            run("ablations", "--seeds", "0", *other)


@pytest.mark.long
def test_a_race_of_the_result_file_keeps_what_curves_foretold(synthetic_data: Path, tmp_path: Path) -> None:
    one, data = course(synthetic_data, classes=12), tiny_data(synthetic_data)
    options = Namespace(work=tmp_path, name="tiny", steps=2, workers=1)

    def raced(before: dict[str, Any]) -> dict[str, Any]:
        race = race_evidence.run_race(one, data, options, 0, 8, before.get("trials", []))
        return race_evidence.ended(race, race.choose_network(), before)

    first = raced({})
    assert first["result"]["early_ranks"]
    folder = tmp_path / "tiny" / "race_0"
    shutil.rmtree(folder)
    # What lies in a folder where no race has begun is not trusted.
    folder.mkdir()
    (folder / "trials.jsonl").write_text("{}\n")
    # Trials have their seconds, so equal ones were not run again.
    assert raced(json.loads(json.dumps({**first, "supernet": "kept"}))) == {**first, "supernet": "kept"}


@pytest.mark.long
def test_a_race_of_two_streams_goes_on_from_the_result_file(synthetic_data: Path, tmp_path: Path) -> None:
    data = tiny_data(synthetic_data)
    one = course(synthetic_data, ClipSpec(frames=8, size=24, sampling="uniform"), classes=12)
    # No number of steps of a search: the file has what one found.
    options = Namespace(work=tmp_path, name="tiny", steps=2, workers=1, trials=16)
    space, _ = auto_space(one.macs, num_classes=12, streams=2, clip=one.clip)
    found = [proposal.spec.model_dump(mode="json") for proposal in islice(drawn(BoundedSpace(space, one.limits), 0), 1)]

    def raced(trials: list[dict[str, Any]]) -> dict[str, Any]:
        begun = {"candidates": found, "trials": trials}
        lists = load_lists(data)
        return race_evidence.race_two_streams(one, one.clip, lists, data, options, 0, begun, lambda: None)

    first = raced([])
    assert "progressive" in {trial["source"] for trial in first["trials"]}
    assert first["progressive"] == found[0]
    assert len(ArchSpec.from_data(first["spec"]).streams) == 2
    shutil.rmtree(tmp_path / "tiny")
    again = raced(json.loads(json.dumps(first["trials"][:-2])))
    # Trials have their seconds, so equal ones were not run again.
    assert again["trials"][:-2] == first["trials"][:-2]
    assert again["trials"][-2:] != first["trials"][-2:]
    assert again["spec"] == first["spec"]


def test_seeds_of_a_race_are_one_pair() -> None:
    def row(seed: int, winner: float, x3d: float) -> dict[str, Any]:
        return {"seed": seed, "random": [], "winner": {"top1": winner}, "x3d": {"top1": x3d}}

    # Ahead by 2 and 4 points in the first race, by 9 and 11 in the second.
    record = {"seeds": [row(0, 0.62, 0.6), row(1, 0.64, 0.6), row(2, 0.69, 0.6), row(3, 0.71, 0.6)]}
    told = table(record)["x3d"]["winner_ahead"]
    assert told == {
        "mean": pytest.approx(6.5),
        "standard_error": pytest.approx(3.5),
        "races": 2,
        "pairs": 4,
    }
    assert table({"seeds": record["seeds"][:2]})["x3d"]["winner_ahead"] is None


def test_rounds_that_judge_alike_and_those_that_do_not() -> None:
    def trials(fold: int, **reached: float | None) -> list[dict[str, Any]]:
        return [{"network": name, "fold": fold, "seed": fold, "headline": value} for name, value in reached.items()]

    alike = {"trials": trials(0, a=0.5, b=0.4, c=0.3) + trials(1, a=0.9, c=0.1)}
    assert same_order([alike]) == {"pairs": 1, "same": 1}
    # One that failed, and two that are equal, say nothing.
    turned = {"trials": trials(0, a=0.5, b=0.4, c=0.3, d=0.2) + trials(1, a=0.1, b=0.9, c=None, d=0.1)}
    assert same_order([turned]) == {"pairs": 2, "same": 1}
    assert same_order([alike, turned]) == {"pairs": 3, "same": 2}


def test_deviation_of_a_difference_in_one_round() -> None:
    rng = random.Random(0)
    races = []
    for _ in range(40):
        networks, rounds = [rng.gauss(0.7, 0.1) for _ in range(6)], [rng.gauss(0, 0.05) for _ in range(3)]
        trials = [
            {"network": str(i), "fold": fold, "seed": fold, "headline": network + fold_is + rng.gauss(0, 0.03)}
            for fold, fold_is in enumerate(rounds)
            for i, network in enumerate(networks)
        ]
        races.append({"trials": trials})
    # Of two networks, each 3 points off by chance; how good they are and how hard a fold is have no part in it.
    told = round_deviation(races)
    assert told == {"points": pytest.approx(3 * 2**0.5, rel=0.1), "comparisons": 40 * 3 * 5}
    assert round_deviation([{"trials": races[0]["trials"][:6]}])["points"] is None
