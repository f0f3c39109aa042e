"""One command at a time in a run folder, no run folder among the videos, and the threads that a run began with."""

import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from program import Program
from search_commands import command, fails
from tiny_training import tiny_spec

from vidnas.cli.main import main
from vidnas.data.formats import load_dataset
from vidnas.engine.run.folder import RunFolder


def content(folder: Path) -> Mapping[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def train_command(data: Path, out: Path, folder: Path, *more: str) -> list[str]:
    (folder / "tiny.json").write_text(tiny_spec(2).to_json(), encoding="utf-8")
    words = ["train", "--arch", str(folder / "tiny.json"), "--data", str(data), "--out", str(out), "--steps", "4"]
    return [*words, "--batch-size", "8", "--workers", "0", "--memory-budget-mib", "0", *more]


def test_who_is_turned_away_changes_nothing(own_run: Path, videos: Path, tmp_path: Path) -> None:
    quick = ["--epochs", "1"]
    commands = [
        [*command("run", videos, own_run), "--baselines", "random,evolution", "--resume"],
        ["derive", str(own_run), "--targets", "0.7M"],
        ["pareto", str(own_run)],
        ["rank", str(own_run), "-n", "3", *quick],
    ]
    fresh = tmp_path / "fresh"
    others = [
        command("search", videos, fresh),
        command("run", videos, fresh),
        train_command(videos, fresh, tmp_path),
    ]
    with RunFolder(own_run).lock(), RunFolder(fresh).lock():
        before = content(own_run), content(fresh)
        for argv in commands + others:
            program = Program(argv, tmp_path / "said")
            assert program.wait() == 1, (argv, program.said())
            line = program.said().splitlines()[-1]
            assert line.startswith("vidnas: error: ")
            assert "another process is writing this run; wait for it or end it" in line
            assert (content(own_run), content(fresh)) == before, argv


def test_of_two_that_start_together_one_runs_and_can_be_resumed(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps = ["--search.checkpoint_every_steps", "1", "--search.steps"]
    programs = {n: Program(command("search", videos, out, *steps, str(n)), tmp_path / str(n)) for n in (300, 500)}
    end = time.monotonic() + 100
    while all(program.process.is_alive() for program in programs.values()):
        assert time.monotonic() < end
        time.sleep(0.02)
    (loser,) = [n for n, program in programs.items() if not program.process.is_alive()]
    winner = 800 - loser
    assert "another process is writing this run" in programs[loser].said()
    while not (out / "last.ckpt").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert programs[winner].stop_after(0, signal.SIGTERM) == 143
    assert json.loads((out / "settled.json").read_bytes())["search"]["steps"] == winner
    again = Program(command("search", videos, out, *steps, str(winner), "--resume"), tmp_path / "again")
    while "going on at step" not in again.said():
        assert again.process.is_alive(), again.said()
        assert time.monotonic() < end
        time.sleep(0.02)
    assert again.stop_after(0, signal.SIGTERM) == 143


@pytest.fixture
def class_folders(videos: Path, tmp_path: Path) -> Path:
    root = tmp_path / "classes"
    lists = load_dataset(videos)
    for sample in lists.train.samples:
        target = root / lists.train.classes[sample.label] / sample.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(sample.path, target)
    return root


def test_results_do_not_go_among_the_videos(
    class_folders: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = tmp_path / "split"
    for name in ("train", "test"):
        shutil.copytree(class_folders, split / name)
        for file in (split / name).rglob("*.mp4"):
            if (int(file.stem[-1]) % 2 == 0) != (name == "test"):
                file.unlink()
    link = tmp_path / "link"
    link.symlink_to(class_folders)
    for data, out in (
        (class_folders, class_folders),
        (class_folders, class_folders / "run"),
        (class_folders, class_folders / "move_left" / "deep" / "run"),
        (class_folders, link / "run"),
        (link, class_folders / "run"),
        (split, split / "train" / "run"),
        (split, split / "test" / "run"),
        (split, split),
    ):
        for argv in (command("search", data, out), command("run", data, out), train_command(data, out, tmp_path)):
            before = set(tmp_path.rglob("*"))
            line = fails(capsys, argv)
            assert f"--out {out}: lies in the data set {data}" in line
            assert set(tmp_path.rglob("*")) <= before | {tmp_path / "tiny.json"}
    # Nobody takes these for classes.
    for data, out in (
        (class_folders, tmp_path / "run"),
        (class_folders, class_folders / ".runs" / "one"),
        (split, split / "runs" / "one"),
    ):
        assert main(train_command(data, out, tmp_path)) == 0
        assert main([*train_command(data, out, tmp_path), "--resume"]) == 0
    own = Path(shutil.copytree(videos, tmp_path / "listed"))
    assert main(train_command(own, own / "run", tmp_path)) == 0
    assert main([*train_command(own, own / "run", tmp_path), "--resume"]) == 0


def test_results_do_not_go_among_listed_videos(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(videos, tmp_path / "listed"))
    before = set(own.rglob("*"))
    for data, out in (
        (own, own),
        (own, own / "videos"),
        (own, own / "videos" / "train"),
        (own, own / "runs" / ".." / "videos" / "test"),
        (own / "train.csv", own / "videos" / "train"),
    ):
        for argv in (command("run", data, out), train_command(data, out, tmp_path)):
            assert "holds the videos of" in fails(capsys, argv)
    assert set(own.rglob("*")) == before


def test_a_folder_named_by_way_of_another_makes_no_other(videos: Path, tmp_path: Path) -> None:
    assert main(train_command(videos, tmp_path / "run" / "sub" / "..", tmp_path)) == 0
    assert (tmp_path / "run" / "model.json").exists()
    assert not (tmp_path / "run" / "sub").exists()


def test_no_data_set_is_generated_among_the_results_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunFolder(tmp_path / "run").lock():
        assert "holds .lock already; name a new folder" in fails(capsys, ["data", "generate", str(tmp_path / "run")])
    (tmp_path / "file").touch()
    assert "is a file" in fails(capsys, ["data", "generate", str(tmp_path / "file")])
    one = ["data", "generate", str(tmp_path / "one"), "--classes", "move_left"]
    assert "--classes move_left: give two or more" in fails(capsys, one, 2)


def test_a_resumed_run_keeps_its_threads(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Threads change the last digits, so they are part of what `--resume` promises."""
    searching = ["--search.checkpoint_every_steps", "1", "--search.steps", "400"]
    one_thread = command("search", videos, tmp_path / "search", *searching)
    training = train_command(videos, tmp_path / "train", tmp_path, "--steps", "400", "--checkpoint-every-steps", "1")
    for argv, option, out in (
        (one_thread, "--search.threads", tmp_path / "search"),
        ([*training, "--train.threads", "1"], "--train.threads", tmp_path / "train"),
    ):
        program = Program(argv, tmp_path / "said")
        end = time.monotonic() + 100
        while not (out / "last.ckpt").exists():
            assert program.process.is_alive(), program.said()
            assert time.monotonic() < end
            time.sleep(0.02)
        assert program.stop_after(0, signal.SIGTERM) == 143
        place = argv.index(option)
        without = [*argv[:place], *argv[place + 2 :], "--resume"]
        setting = option.removeprefix("--")
        line = fails(capsys, [*without, option, "2"])
        assert f"began with {setting} 1, and 2 would change its last digits; leave {setting} out" in line
        # Without it, whatever the machine would take now.
        again = Program(without, tmp_path / "again", threads=2)
        while "going on" not in again.said():
            assert again.process.is_alive(), again.said()
            assert time.monotonic() < end
            time.sleep(0.02)
        assert again.stop_after(0.2, signal.SIGTERM) == 143
        record = json.loads((out / "run.json").read_bytes())
        assert record["versions"]["threads"] == 1
        assert len(record["commands"]) == 2


def test_no_job_goes_into_the_folder_of_another(
    own_run: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = own_run / "searched"
    spec = str(own_run / "search" / "searched.json")
    training = ["train", "--arch", spec, "--data", str(videos), "--out", str(own_run), "--steps", "1", "--resume"]
    tested = ["test", str(trained), "--data", str(videos), "--out", str(own_run), "--workers", "0"]
    before = {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()}
    for argv in (training, tested, command("run", videos, trained, "--resume"), command("search", videos, trained)):
        assert main(argv) == 1
        assert "is another job; choose another --out" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()} == before
