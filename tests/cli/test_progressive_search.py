"""`vidnas search --progressive`: from videos to a network of two streams, its race, what later commands make of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from search_commands import QUICK, fails
from two_streams import two_stream_space

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.cli.main import main
from vidnas.pipeline.race.archive import read_trials
from vidnas.search.space.space import Space

PROGRESSIVE = ["--space", "auto", "--streams", "2", "--clip", "8x24", "--sampling", "uniform", "--target-macs", "4M"]


def command(videos: Path, out: Path, *more: str) -> list[str]:
    return ["search", "--data", str(videos), "--out", str(out), *PROGRESSIVE, "--progressive", *QUICK, *more]


def test_from_videos_to_a_network_and_on(
    synthetic_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(synthetic_data, out, "--no-trials")) == 0
    told = capsys.readouterr().out
    assert "step 2 of 3, stream 1 and fusions: space auto_tsnet_space_8x24" in told
    spec = ArchSpec.load(out / "searched.json")
    assert [stream.every for stream in spec.streams] == [2, 1]
    record = json.loads((out / "result.json").read_text())
    first, second, last = (step["targets"]["macs"] for step in record["steps"])
    assert first == pytest.approx(0.7 * second)
    assert 0.9 * last < second < last == 4e6
    assert network_cost(spec).macs > 0.94 * last
    # Nine steps in proportions of 4, 2 and 1.
    lengths = [len((out / f"step{step}/curves.jsonl").read_text().splitlines()) for step in (1, 2, 3)]
    assert lengths == [5, 3, 1]
    assert Space.load(out / "step3/space.json").size == 4096
    page = (out / "report.html").read_text()
    assert "It is not trained" in page
    for number, name in enumerate(("stream 0", "stream 1 and fusions", "attention"), start=1):
        assert f"<h3>Step {number}: {name}</h3>" in page
        assert f"<td>{number}: {name}</td>" in page
    assert "<td>sum</td>" in page
    assert "holds a run already" in fails(capsys, command(synthetic_data, out, "--no-trials"))
    assert main(command(synthetic_data, out, "--no-trials", "--resume")) == 0
    # The last step is a finished search like any other, though its target may be above all that it can choose from.
    assert main(["derive", str(out), "--targets", f"{network_cost(spec).macs}"]) == 0


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_killed_process_goes_on_to_the_same(videos: Path, tmp_path: Path, step: int) -> None:
    """SIGKILL at some moment of a step: in its search, before its result, or between it and the next."""
    (tmp_path / "two.json").write_text(two_stream_space().to_json())
    small = ["--space", str(tmp_path / "two.json"), "--streams", "1", "--target-macs", "1.4M", "--no-trials"]
    outs = tmp_path / "whole", tmp_path / "killed"
    whole, argv = (command(videos, out, *small, "--search.checkpoint_every_steps", "2") for out in outs)
    assert main(whole) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "vidnas", *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    begun = outs[1] / f"step{step}" / "curves.jsonl"
    while not begun.exists() and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (outs[1] / "result.json").exists()
    assert main([*argv, "--resume"]) == 0
    files = [f"step{n}/{file}" for n in (1, 2, 3) for file in ("archive.jsonl", "curves.jsonl", "result.json")]
    for file in ("searched.json", "result.json", *files):
        assert (outs[1] / file).read_bytes() == (outs[0] / file).read_bytes(), file


def test_the_candidates_of_the_last_step_are_raced(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (tmp_path / "two.json").write_text(two_stream_space().to_json())
    small = ["--space", str(tmp_path / "two.json"), "--streams", "1", "--target-macs", "1.4M"]
    trials = ["--trials", "8", "--folds", "2", "--parallel", "1", "--train.steps", "1", "--train.batch_size", "8"]
    assert main(command(videos, out, *small, *trials, "--train.threads", "1")) == 0
    entries = list(read_trials(out / "race" / "trials.jsonl"))
    assert ArchSpec.load(out / "searched.json").content_hash in {one.network for one in entries}
    assert {"x3d", "supernet", "entropy", "random"} <= {one.source for one in entries}
    page = (out / "report.html").read_text()
    assert page.index("<h2>The race</h2>") < page.index("<h3>Step 3: attention</h3>")
    assert "The race of what was proposed chose" in page


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--step-targets", "1M"], 2, "--step-targets 1M: give those of the first two steps, as 28M,40M"),
        (["--step-targets", "3.9M,3.95M"], 1, "of step 2 (stream 1 and fusions) is below"),
        (
            ["--space", "tiny", "--streams", "1", "--target-macs", "2M"],
            1,
            "has one stream; a progressive search goes from stream to stream",
        ),
        (["--search.baselines", "random"], 1, "search.baselines: not for a progressive search"),
        (["--streams", "1"], 2, "--progressive: goes from stream to stream; add --streams 2"),
    ],
)
def test_what_cannot_be_is_one_line(
    synthetic_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, message: str
) -> None:
    assert message in fails(capsys, command(synthetic_data, tmp_path / "run", *more), code)


def test_streams_and_step_targets_have_their_places(
    synthetic_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["search", "--data", str(synthetic_data), "--out", str(tmp_path / "run"), "--target-macs", "4M"]
    assert "--streams goes with --space auto" in fails(capsys, [*start, "--space", "tiny", "--streams", "2"])
    assert "add it or leave them out" in fails(capsys, [*start, "--step-targets", "1M,2M"], 2)
