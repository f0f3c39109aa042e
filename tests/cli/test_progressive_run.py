"""`vidnas run --progressive`: searched step by step, raced, trained, and all of it on the page; killed and resumed."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from dying import Killed, at_call
from search_commands import QUICK, fails
from two_streams import two_stream_space

from vidnas.arch.spec import ArchSpec
from vidnas.cli.main import main
from vidnas.engine.supernet.folder import SearchJournal
from vidnas.pipeline.race.archive import TrialArchive, read_trials
from vidnas.pipeline.search import BuiltOn

SHORT = ["--search.checkpoint_every_steps", "2", "--trials", "8", "--folds", "2", "--parallel", "1"]
SHORT += ["--train.steps", "1", "--train.batch_size", "6", "--train.threads", "1"]


def command(videos: Path, out: Path, *more: str) -> list[str]:
    return ["run", "--data", str(videos), "--out", str(out), "--method", "both", *QUICK, *SHORT, *more]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options of a small space of two streams, in a file."""
    file = tmp_path_factory.mktemp("space") / "two.json"
    file.write_text(two_stream_space().to_json())
    return ["--space", str(file), "--target-macs", "1.4M"]


@pytest.fixture(scope="module")
def whole(videos: Path, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(command(videos, out, *small, "--progressive")) == 0
    return out


def rows(page: str) -> dict[str, list[str]]:
    """Cells of the rows of all tables, by the first one."""
    lines = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in re.findall(r"<tr>(.*?)</tr>", page))
    return {cells[0]: cells[1:] for cells in lines if cells}


def test_steps_are_on_the_page_and_the_last_candidates_in_the_race(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    steps = result["search"]
    assert [step["step"] for step in steps] == ["stream 0", "stream 1 and fusions", "attention"]
    first, second, last = (step["targets"]["macs"] for step in steps)
    assert first == pytest.approx(0.7 * second)
    assert 0.8 * last <= second < last == 1.4e6
    specs = [ArchSpec.load(whole / f"search/step{number}/searched.json") for number in (1, 2, 3)]
    assert [step["spec"] for step in steps] == [spec.content_hash for spec in specs]
    assert [len(spec.streams) for spec in specs] == [1, 2, 2]
    assert all(result["phases_sec"][f"search: {step['step']}"] > 0 for step in steps)
    page = (whole / "report.html").read_text()
    table = rows(page)
    for number, step in enumerate(steps, start=1):
        cells = table[f"{number}: {step['step']}"]
        share = step["entropy"] / step["initial_entropy"]
        assert cells[4:7] == [f"{step['entropy']:.1f}", f"{step['initial_entropy']:.1f}", f"{share:.2f}"]
        assert cells[7] == f"{100 * step['holdout']['holdout_top1']:.1f}%"
        assert f"{step['cost']['macs'] / 1e6:.2f} MMACs @ 8x24x24" in cells[1]
    entropy, initial = (sum(step[name] for step in steps) for name in ("entropy", "initial_entropy"))
    assert table["sum"][4:7] == [f"{entropy:.1f}", f"{initial:.1f}", f"{entropy / initial:.2f}"]
    search = page[page.index("<h2>The search</h2>") : page.index("<h2>The architecture</h2>")]
    assert search.count("Architecture of searched") >= 3
    beliefs = page[page.index("<h2>Probabilities</h2>") :]
    places = [beliefs.index(text) for text in ("Step 1: ", "streams.0.", "Step 2: ", "fusions.0.kind", "Step 3: ")]
    assert places == sorted(places)
    entries = list(read_trials(whole / "race" / "trials.jsonl"))
    networks = {one.network: ArchSpec.load(whole / "race" / "networks" / f"{one.network}.json") for one in entries}
    of_two = {one.source for one in entries if len(networks[one.network].streams) == 2}
    assert {"supernet", "entropy", "random"} <= of_two
    assert specs[2].content_hash in networks
    assert "x3d" in {one.source for one in entries}
    assert all(one.headline is not None for one in entries)


# The steps have 5, 3 and 1 steps on the weights.
MOMENTS = {
    "in the second step": (SearchJournal, "add", 8),
    "between the second and the third": (BuiltOn, "give_weights", 2),
    "in the race": (TrialArchive, "add", 3),
}


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=() if name == "in the race" else pytest.mark.long) for name in MOMENTS]
)
def test_killed_and_resumed(
    whole: Path, videos: Path, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    out = tmp_path / "run"
    owner, name, number = MOMENTS[moment]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, at_call(number, getattr(owner, name)))
        with pytest.raises(Killed):
            main(command(videos, out, *small, "--progressive"))
    assert not (out / "result.json").exists()
    assert main(command(videos, out, *small, "--progressive", "--resume")) == 0
    steps = [f"step{n}/{file}" for n in (1, 2, 3) for file in ("archive.jsonl", "curves.jsonl", "result.json")]
    for file in ("searched.json", "result.json", *steps):
        assert (out / "search" / file).read_bytes() == (whole / "search" / file).read_bytes(), file
    assert timeless(out) == timeless(whole)


def timeless(out: Path) -> list[Any]:
    """Result and trials without what the clock says."""
    result = json.loads((out / "result.json").read_text()) | {"phases_sec": None}
    trials = [json.loads(line) | {"sec": None} for line in (out / "race" / "trials.jsonl").read_text().splitlines()]
    return [result, trials]


def test_a_space_of_two_streams_in_one_step_with_its_race(
    videos: Path, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(videos, out, *small)) == 0
    capsys.readouterr()
    # What was searched in one step does not go on in several.
    line = fails(capsys, command(videos, out, *small, "--progressive", "--resume"))
    assert "cannot go on from this: search folder search then, search/step3 now" in line
    sources = {entry.source for entry in read_trials(out / "race" / "trials.jsonl")}
    assert {"x3d", "supernet", "entropy", "random"} <= sources
    table = rows((out / "report.html").read_text())
    assert "1: everything at once" in table
    assert "sum" not in table
    [step] = json.loads((out / "result.json").read_text())["search"]
    assert step["initial_entropy"] == pytest.approx(math.log(two_stream_space().size))


def test_what_it_goes_with_is_one_line(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    progressive = command(videos, out, "--target-macs", "4M", "--progressive")
    for method in ("race", "auto"):
        line = fails(capsys, [*progressive, "--streams", "2", "--method", method], 2)
        assert f"--method {method} may do without; add --method supernet or --method both" in line
    line = fails(capsys, progressive, 2)
    assert "--progressive: goes from stream to stream; add --streams 2, or name a --space of two streams" in line
    # Before anything is trained for the clip.
    line = fails(capsys, [*progressive, "--streams", "2", "--step-targets", "3.9M,3.95M"])
    assert "of step 2 (stream 1 and fusions) is below" in line
    assert not out.exists() or not (out / "race").exists()
