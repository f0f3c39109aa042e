"""A run that is killed, terminated and interrupted ends with the same bits as one that is left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
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
    """`vidnas train` as a user runs it, in a process group of its own."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data = data
        self.folder = folder
        (folder / "tiny.json").write_text(tiny_spec().to_json())
        (folder / "recipe.yaml").write_text(SETTINGS)

    def start(self, out: str, *options: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "vidnas", "train", "--arch", "tiny.json", "--data", str(self.data)]
        words += ["--config", "recipe.yaml", "--out", out, *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(words, cwd=self.folder, env=environment, start_new_session=True, **pipes)

    def finish(self, out: str, *options: str) -> None:
        process = self.start(out, *options)
        _, errors = process.communicate(timeout=TIMEOUT_SEC)
        assert process.returncode == 0, errors

    def stop_after(self, step: int, signum: int, out: str, *options: str) -> tuple[int, str]:
        """Send a signal to the whole group once a step is in the metrics; exit code and what stderr got."""
        process = self.start(out, *options)
        metrics = self.folder / out / "metrics.jsonl"
        end = time.monotonic() + TIMEOUT_SEC
        while not metrics.exists() or not any(line["step"] >= step for line in read_lines(metrics)):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.01)
        os.killpg(process.pid, signum)
        _, errors = process.communicate(timeout=TIMEOUT_SEC)
        return process.returncode, errors


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
    code, errors = command.stop_after(15, signal.SIGTERM, "killed", "--resume", "--workers", "1")
    assert code == 128 + signal.SIGTERM
    line = errors.strip().splitlines()[-1]
    saved = torch.load(command.folder / "killed" / "last.ckpt", weights_only=True)["step"]
    assert saved >= 15
    assert line == (
        f"vidnas: error: stopped; {saved} of 40 steps are saved in killed/last.ckpt: the same command with --resume "
        "goes on"
    )
    code, errors = command.stop_after(27, signal.SIGINT, "killed", "--resume", "--workers", "1")
    assert code == 128 + signal.SIGINT
    assert "Traceback" not in errors
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
    process = command.start("torn", "--resume")
    output, errors = process.communicate(timeout=TIMEOUT_SEC)
    assert process.returncode == 0, errors
    assert "torn/last.ckpt: cannot be read" in output
    assert "torn/previous_last.ckpt: going on from this older state\ngoing on after step 5" in output
    expected, found = (load_file(folder / "model.safetensors") for folder in (undisturbed, command.folder / "torn"))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_no_process_outlives_a_killed_run(command):
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    command.stop_after(3, signal.SIGKILL, "alone", "--workers", "2")  # of its group; workers have groups of their own
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
