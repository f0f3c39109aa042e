"""Saved states: whole or not there, with an older one to fall back on, and read without pickle."""

import re
import subprocess
import sys
import time

import pytest
import torch

from vidnas.base.errors import VidnasError
from vidnas.engine.run.state import FORMAT, check_identity, load_state, previous_path, save_state

STATE = {
    "step": 3,
    "identity": {"name": "x", "settings": {"train.lr": 0.1, "clips.flip": [["a", "b"]]}},
    "network": {"weight": torch.arange(1000.0)},
    "average": None,
}

SAVE_FOR_EVER = """
import sys, torch
from pathlib import Path
from vidnas.engine.run.state import save_state
step = 0
while True:
    step += 1
    save_state({"step": step, "weight": torch.full((200_000,), float(step))}, Path(sys.argv[1]))
    if step == 2:
        print("going", flush=True)
"""

# A limit on the size of files is a disk that refuses in the middle of a write.
SAVE_ON_A_FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from vidnas.engine.run.state import save_state
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
save_state({"step": 2, "weight": torch.zeros(200_000)}, Path(sys.argv[1]))
"""


def test_round_trip(tmp_path):
    path = tmp_path / "last.ckpt"
    save_state(STATE, path)
    state = load_state(path)
    assert torch.equal(state["network"].pop("weight"), torch.arange(1000.0))
    assert state == {**STATE, "network": {}}
    assert torch.load(path, weights_only=True)["step"] == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("saved", [{}, {"format": FORMAT + 1}])
def test_a_state_of_another_version_is_refused(tmp_path, saved):
    torch.save({"step": 3, **saved}, tmp_path / "last.ckpt")
    with pytest.raises(VidnasError, match=r"last\.ckpt: a state of another version of vidnas; go on with that one, or"):
        load_state(tmp_path / "last.ckpt")


def test_nothing_saved_yet(tmp_path):
    assert load_state(tmp_path / "last.ckpt") is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_torn_file_falls_back_to_the_one_before(tmp_path, caplog, share):
    path = tmp_path / "last.ckpt"
    for step in (1, 2):
        save_state({**STATE, "step": step}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert load_state(path)["step"] == 1
    assert str(path) in caplog.messages[0]
    assert "older state" in caplog.messages[1]
    path.unlink()
    assert load_state(path)["step"] == 1
    previous_path(path).write_bytes(b"")
    with pytest.raises(VidnasError, match="no saved state can be read"):
        load_state(path)


def test_a_file_with_code_in_it_is_not_run(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"step": 1, "network": re.compile("x")}, path)
    with pytest.raises(VidnasError, match="no saved state can be read"):
        load_state(path)


def test_killed_while_writing(tmp_path):
    path = tmp_path / "last.ckpt"
    for delay_sec in (0.001, 0.004, 0.013):
        writer = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"going\n"
        time.sleep(delay_sec)
        writer.kill()
        writer.wait()
        state = load_state(path)
        assert state["step"] >= 2
        assert torch.equal(state["weight"], torch.full((200_000,), float(state["step"])))


def test_a_full_disk_keeps_the_older_state(tmp_path):
    path = tmp_path / "last.ckpt"
    save_state({"step": 1}, path)
    run = subprocess.run([sys.executable, "-c", SAVE_ON_A_FULL_DISK, str(path)], capture_output=True, text=True)
    assert run.returncode != 0
    last_line = run.stderr.strip().splitlines()[-1]
    assert last_line.startswith(
        f"vidnas.base.errors.VidnasError: {path}: cannot be written (file too large); nothing saved"
    )
    assert load_state(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


IDENTITY = {"architecture": "aaa", "training list": "431 videos (bbb)", "train.lr": 0.1, "clips.flip": "off"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "ccc"}, "architecture aaa then, ccc now"),
        ({"training list": "430 videos (ccc)"}, "training list 431 videos (bbb) then, 430 videos (ccc) now"),
        ({"train.lr": 0.2, "clips.flip": "on"}, "train.lr 0.1 then, 0.2 now; clips.flip off then, on now"),
        ({"train.ema": 0.9}, "train.ema None then, 0.9 now"),
    ],
)
def test_another_run_is_refused_in_one_line(change, message, tmp_path):
    check_identity(IDENTITY, dict(IDENTITY), tmp_path)
    with pytest.raises(VidnasError) as caught:
        check_identity(IDENTITY, IDENTITY | change, tmp_path / "last.ckpt")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
