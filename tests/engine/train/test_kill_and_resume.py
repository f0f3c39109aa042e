"""A run that is killed, terminated and interrupted ends with the same bits as one that is left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from program import Program
from safetensors.torch import load_file
from tiny_training import tiny_spec

# Every kind of state that a run can have: averaged weights, parts of batches, mixed clips, the best so far; and every
# kind of random change of a clip.
SETTINGS = """
train:
  steps: 40
  batch_size: 12
  accumulate: 2
  ema: 0.8
  mixup: 0.2
  val_fraction: 0.2
  val_every_epochs: 3
  keep: best
  norm_batches: 2
  checkpoint_every_steps: 5
  log_every_steps: 3
clips:
  augment: rand
  tempo: [0.7, 1.3]
  aspect: [0.8, 1.25]
  rotate: 10
  erase: 0.3
  workers: 0
  memory_budget_mib: 0
"""
TIMEOUT_SEC = 120


class Command:
    """`vidnas train` into folders of its own."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.folder = folder
        (folder / "tiny.json").write_text(tiny_spec().to_json())
        (folder / "recipe.yaml").write_text(SETTINGS)
        self.words = ["train", "--arch", str(folder / "tiny.json"), "--data", str(data)]
        self.words += ["--config", str(folder / "recipe.yaml"), "--out"]

    def start(self, out: str, *options: str) -> Program:
        return Program([*self.words, str(self.folder / out), *options], self.folder / f"{out}.txt", group=True)

    def finish(self, out: str, *options: str) -> str:
        """What it says."""
        program = self.start(out, *options)
        assert program.wait() == 0, program.said()
        return program.said()

    def stop_after(self, step: int, signum: int, out: str, *options: str) -> tuple[int | None, str]:
        """Send a signal to the whole group once a step is in the metrics; exit code and what it said."""
        program = self.start(out, *options)
        wait_for(step, self.folder / out, lambda: program.process.is_alive())
        assert program.process.pid is not None
        os.killpg(program.process.pid, signum)
        return program.wait(), program.said()


def wait_for(step: int, run: Path, alive: Callable[[], bool]) -> None:
    """Until it is in the metrics."""
    metrics = run / "metrics.jsonl"
    end = time.monotonic() + TIMEOUT_SEC
    while not metrics.exists() or not any(line["step"] >= step for line in read_lines(metrics)):
        assert alive()
        assert time.monotonic() < end
        time.sleep(0.01)


def read_lines(path: Path) -> list[dict[str, float]]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def curves(folder: Path) -> list[dict[str, float]]:
    """The metrics without those that measure time."""
    timed = ("clips_per_sec", "data_wait_share")
    return [{k: v for k, v in line.items() if k not in timed} for line in read_lines(folder / "metrics.jsonl")]


def counted_clips(folder: Path) -> int:
    """What the speed of a finished run is taken from, over all processes that it went through."""
    figures = json.loads((folder / "model.json").read_text())["config"]["figures"]
    return round(figures["mean_clips_per_sec"] * figures["train_sec"])


@pytest.fixture(scope="module")
def command(synthetic_data, tmp_path_factory):
    return Command(synthetic_data, tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def undisturbed(command):
    command.finish("undisturbed")
    return command.folder / "undisturbed"


def test_killed_terminated_and_interrupted(command, undisturbed):
    code, _ = command.stop_after(6, signal.SIGKILL, "killed")
    assert code == -signal.SIGKILL
    assert torch.load(command.folder / "killed" / "last.ckpt", weights_only=True)["step"] == 5
    code, said = command.stop_after(15, signal.SIGTERM, "killed", "--resume", "--workers", "1")
    assert code == 128 + signal.SIGTERM
    line = said.strip().splitlines()[-1]
    saved = torch.load(command.folder / "killed" / "last.ckpt", weights_only=True)["step"]
    assert saved >= 15
    assert line == (
        f"vidnas: error: stopped; {saved} of 40 steps are saved in {command.folder}/killed/last.ckpt: the same "
        "command with --resume goes on"
    )
    code, said = command.stop_after(27, signal.SIGINT, "killed", "--resume", "--workers", "1")
    assert code == 128 + signal.SIGINT
    assert "Traceback" not in said
    command.finish("killed", "--resume")
    assert curves(command.folder / "killed") == curves(undisturbed)
    assert counted_clips(command.folder / "killed") == counted_clips(undisturbed) == 40 * 12
    expected, found = (load_file(folder / "model.safetensors") for folder in (undisturbed, command.folder / "killed"))
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.long
def test_torn_state(command, undisturbed):
    command.stop_after(11, signal.SIGKILL, "torn")
    state = command.folder / "torn" / "last.ckpt"
    state.write_bytes(state.read_bytes()[:-100])
    output = command.finish("torn", "--resume")
    assert "torn/last.ckpt: cannot be read" in output
    assert "torn/previous_last.ckpt: going on from this older state\ngoing on after step 5" in output
    expected, found = (load_file(folder / "model.safetensors") for folder in (undisturbed, command.folder / "torn"))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_no_process_outlives_a_killed_run(command):
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    # A process from nothing, whose own all others are, and which are told by the folder in which it was started.
    words = [sys.executable, "-m", "vidnas", *command.words, "alone", "--workers", "2"]
    with subprocess.Popen(words, cwd=command.folder, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_for(3, command.folder / "alone", lambda: process.poll() is None)
        os.killpg(process.pid, signal.SIGKILL)  # workers have groups of their own
    end = time.monotonic() + 20
    while left := [pid for pid in all_processes() if str(command.folder) == working_folder(pid)]:
        assert time.monotonic() < end, left
        time.sleep(0.1)


def all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def working_folder(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""
