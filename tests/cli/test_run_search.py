"""`vidnas run` and `vidnas search` as a user calls them, on real files, with everything that can go wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from program import Program
from ranks import Ranks
from ranks import command as in_process
from search_commands import QUICK, command, fails

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.cli.main import main
from vidnas.data.datamodule import DataConfig
from vidnas.pipeline.lists import load_lists, search_parts
from vidnas.search.archive import read


def test_run_leaves_everything_and_a_second_call_finds_it_done(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command("run", videos, out)) == 0
    printed = capsys.readouterr().out
    assert "estimated: " in printed
    assert printed.count("note: 9 steps on a supernet are few") == 1
    assert "one training each, which does not say which architecture is better" in printed
    assert "McNemar p = " in printed
    assert "compares these two trained networks on these videos, not the architectures" in printed
    result = json.loads((out / "result.json").read_text())
    searched = ArchSpec.load(out / "search" / "searched.json")
    assert result["searched"]["macs"] == network_cost(searched).macs <= 1e6
    assert abs(result["x3d"]["macs"] / result["searched"]["macs"] - 1) <= 0.01
    assert result["searched"]["videos"] == 8
    page = (out / "report.html").read_text()
    assert "X3D" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(list(read(out / "search" / "archive.jsonl"))) >= 6
    # Going on with a finished run trains nothing and comes to the same figures.
    assert main(command("run", videos, out, "--resume")) == 0
    again = json.loads((out / "result.json").read_text())
    for name in ("searched", "x3d", "mcnemar_p", "only_searched_right"):
        assert again[name] == result[name]
    assert main(["predict", str(out / "searched"), str(next((videos / "videos" / "test").iterdir()))]) == 0
    assert "move_" in capsys.readouterr().out


def test_a_run_is_never_written_over(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("search", videos, tmp_path / "run")) == 0
    assert "note: 9 steps on a supernet are few" in capsys.readouterr().out
    settled = (tmp_path / "run" / "settled.json").read_bytes()
    capsys.readouterr()
    assert "--resume" in fails(capsys, command("search", videos, tmp_path / "run", "--search.steps", "9"))
    assert (tmp_path / "run" / "settled.json").read_bytes() == settled
    fewer = tmp_path / "fewer"
    shutil.copytree(videos, fewer)
    rows = (fewer / "train.csv").read_text().splitlines(keepends=True)
    (fewer / "train.csv").write_text("".join(rows[:-1]))
    others = {
        "cannot go on from this: targets ": command("search", videos, tmp_path / "run", "--target-macs", "0.9M"),
        "cannot go on from this: space ": command("search", videos, tmp_path / "run", "--clip", "4x28"),
        "cannot go on from this: clips.augment None then, rand now": command(
            "search", videos, tmp_path / "run", "--clips.augment", "rand"
        ),
        "its training list is not the one of ": command("search", fewer, tmp_path / "run"),
        "search.shards 1 then, 2 now": command("search", videos, tmp_path / "run", "--search.shards", "2"),
    }
    for what, other in others.items():
        assert what in fails(capsys, [*other, "--resume"])


def test_the_clip_is_chosen_once(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that goes on believes what was found at its start, and looks no more."""
    out = tmp_path / "run"
    argv = ["search", "--data", str(videos), "--out", str(out), "--target-macs", "1.6M", "--no-trials"]
    argv += [*QUICK, "--search.steps", "3"]
    assert main([*argv, "--dry-run"]) == 0
    foreseen = capsys.readouterr().out
    assert not out.exists()
    assert main(argv) == 0
    printed = capsys.readouterr().out
    for told in (foreseen, printed):
        assert "looking at 16 frames of 24 training videos to choose a clip" in told
        assert "not known without trials" in told
    probe = json.loads((out / "probe.json").read_text())
    assert probe["probe"]["videos"] == 24
    probe["probe"]["sec"] = 4321.0
    (out / "probe.json").write_text(json.dumps(probe))
    assert main([*argv, "--resume"]) == 0
    printed = capsys.readouterr().out
    assert "searched already" in printed
    assert "4321 s" in printed
    assert "looking at" not in printed
    (out / "probe.json").write_text("{}")
    assert "probe.json: not as vidnas writes it" in fails(capsys, [*argv, "--resume"])


def test_batches_that_repeat_videos_are_told(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--search.batch-size", "16", "--search.alpha-batch-size", "4"]
    assert main([*command("search", videos, tmp_path / "run", "--dry-run"), *sizes]) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "a batch of" in line]
    assert note.startswith("note: a batch of 16 is more than the 14 weights videos")


def test_dry_run_trains_nothing(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("search:\n  batch_size: 3\ntrain:\n  epochs: 5\n")  # one recipe serves run and search
    assert main([*command("search", videos, tmp_path / "run", "--dry-run"), "--config", str(recipe)]) == 0
    assert "peak memory" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_terminated_search_resumes_to_the_same_numbers(videos: Path, tmp_path: Path) -> None:
    """A process of its own, a real SIGTERM, in the middle of the steps."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    steps = ("--search.steps", "40")
    assert Program(command("search", videos, whole, *steps), tmp_path / "said of whole").wait() == 0
    program = Program(command("search", videos, stopped, *steps), tmp_path / "said")
    curves = stopped / "curves.jsonl"
    deadline = time.monotonic() + 90
    while not (curves.exists() and curves.read_text().count("\n") >= 15):
        assert program.process.is_alive(), program.said()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    code, error = program.stop_after(0, signal.SIGTERM), program.said()
    assert code == 128 + signal.SIGTERM, error
    assert "steps are saved in" in error
    assert "Traceback" not in error
    assert not (stopped / "searched.json").exists()
    assert Program(command("search", videos, stopped, *steps, "--resume"), tmp_path / "said of resumed").wait() == 0
    for name in ("archive.jsonl", "curves.jsonl", "searched.json"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()


def test_a_batch_that_cannot_be_shared_is_refused_before_the_search(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    argv = command("run", videos, tmp_path / "run", "--train.accumulate", "8")
    assert "must be a multiple of accumulate times processes (8 x 2) (got 8)" in fails(capsys, argv)
    assert not (tmp_path / "run").exists()


def test_torchrun_terminated_and_resumed(videos: Path, tmp_path: Path) -> None:
    """Two processes that are stopped and go on end with the files of one process that runs both shards."""
    steps = ("--search.steps", "20", "--search.checkpoint_every_steps", "7")
    resuming = command("search", videos, tmp_path / "stopped", *steps, "--resume")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vidnas"]
    stopped = subprocess.Popen(
        [*launcher, *command("search", videos, tmp_path / "stopped", *steps)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    curves = tmp_path / "stopped" / "curves.jsonl"
    deadline = time.monotonic() + 120
    while not (curves.exists() and curves.read_text().count("\n") >= 3):
        assert stopped.poll() is None, stopped.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    output, error = stopped.communicate(timeout=60)
    assert output.count("estimated: ") == 1, output
    assert error.count("vidnas: error: stopped; ") == 1, error
    alone = Ranks(1, tmp_path / "said", in_process, resuming)
    assert alone.wait() == [1]
    assert "search.shards 2 then, 1 now" in alone.said(0)[-1]
    both = Ranks(2, tmp_path / "said", in_process, resuming)
    assert both.wait() == [0, 0]
    assert both.said(1) == []
    shards = [*steps, "--search.shards", "2"]
    whole = Ranks(1, tmp_path / "said", in_process, command("search", videos, tmp_path / "whole", *shards))
    assert whole.wait() == [0]
    for name in ("archive.jsonl", "curves.jsonl", "searched.json", "result.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_whole_job_on_two_processes(videos: Path, tmp_path: Path) -> None:
    ranks = Ranks(2, tmp_path / "said", in_process, command("run", videos, tmp_path / "run"))
    assert ranks.wait() == [0, 0]
    assert ranks.said(1) == []
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["searched"]["videos"] == result["x3d"]["videos"] == 8
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("count", "options", "line"),
    [
        (3, [], "search.batch_size: must be a multiple of 3"),
        (2, ["--search.stepz", "3"], "did you mean --search.steps?"),
        (2, ["--space", "tinny"], "did you mean tiny"),
        (2, ["--search.weight_mode", "streamed"], "another than streamed where there are several shards or processes"),
    ],
)
def test_bad_input_of_several_processes_is_one_line(
    videos: Path, tmp_path: Path, count: int, options: list[str], line: str
) -> None:
    ranks = Ranks(count, tmp_path / "said", in_process, command("search", videos, tmp_path / "run", *options))
    assert ranks.wait() == [2 if "--search.stepz" in options else 1] * count
    (said,) = (text for text in ranks.said(0) if not text.startswith("note: groups:"))
    assert line in said
    assert all(ranks.said(rank) == [] for rank in range(1, count))


def test_bad_input_is_one_line(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    good = command("search", videos, out)

    def replaced(option: str, value: str) -> list[str]:
        place = good.index(option) + 1
        return [*good[:place], value, *good[place + 1 :]]

    assert "nowhere" in fails(capsys, replaced("--data", str(tmp_path / "nowhere")))
    too_small = fails(capsys, replaced("--target-macs", "1k"))
    too_large = fails(capsys, replaced("--target-macs", "900G"))
    for line in (too_small, too_large):
        assert line.count("MACs") >= 3, "the target and both ends of the range"
    assert "write multiply-adds" in fails(capsys, replaced("--target-macs", "lots"))
    assert "did you mean tiny" in fails(capsys, replaced("--space", "tinny"))
    assert "frames x size" in fails(capsys, replaced("--clip", "4by24"))
    assert "give a budget: --target-macs" in fails(capsys, good[: good.index("--target-macs")], code=2)
    assert "search.steps" in fails(capsys, [*good, "--search.stepz", "3"], code=2)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("search:\n  steps: 9\n  leaning_rate: 1\n")
    line = fails(capsys, [*good, "--config", str(recipe)], code=2)
    assert "recipe.yaml, line 3" in line
    assert not out.exists()


def test_wrong_data_is_one_line(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    one = tmp_path / "one_class" / "only"
    one.mkdir(parents=True)
    for i, file in enumerate(sorted((videos / "videos" / "train").iterdir())[:4]):
        (one / f"{i}.mp4").write_bytes(file.read_bytes())
    assert "class" in fails(capsys, command("search", one.parent, out))
    (tmp_path / "one_class" / "empty").mkdir()
    assert "empty" in fails(capsys, command("search", one.parent, out))
    # A group on both sides of the split.
    both = tmp_path / "both"
    both.mkdir()
    rows = (videos / "train.csv").read_text().splitlines()
    for split in ("train", "test"):
        (both / f"{split}.csv").write_text("\n".join(rows) + "\n")
    target = both / "videos" / "train"
    target.mkdir(parents=True)
    for file in (videos / "videos" / "train").iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    assert "both" in fails(capsys, command("search", both, out))
    # All files are broken.
    for file in target.iterdir():
        file.write_bytes(b"")
    (both / "test.csv").unlink()
    assert "data check" in fails(capsys, command("search", both, out))


def test_broken_videos_of_a_search_do_not_count_and_are_told(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(videos, tmp_path / "own"))
    parts = search_parts(load_lists(DataConfig(own)).train, seed=0)
    alpha, holdout = parts["alpha"], parts["holdout"]
    alpha.samples[0].path.write_bytes(b"")
    holdout.samples[1].path.write_text("no video")
    # Read as they are needed: with a frame cache it would be known from the start that they cannot be.
    read_late = ["--clips.memory_budget_mib", "0", "--clips.max_broken", "0.1", "--search.alpha_batch_size", "6"]
    assert main(command("run", own, tmp_path / "run", *read_late)) == 0
    # The six videos of the part are in every batch of six.
    search = tmp_path / "run" / "search"
    assert {entry.clips for entry in read(search / "archive.jsonl")} == {5}
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("unreadable videos")]
    first, second = alpha.relative(alpha.samples[0]), holdout.relative(holdout.samples[1])
    counts = f"(1 of {len(alpha)} for alpha, 1 of {len(holdout)} for holdout)"
    assert f"{counts}: {first}: the file is empty (0 bytes); {second}: not a video" in line
    assert line.endswith(": `vidnas data check` lists them, --fix writes lists without them")
    kept = json.loads((search / "result.json").read_text())["unreadable"]
    assert [(part, one["path"]) for part, several in kept.items() for one in several] == [
        ("alpha", first),
        ("holdout", second),
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "2 files set aside" in page
    assert "No unreadable file was met" not in page
