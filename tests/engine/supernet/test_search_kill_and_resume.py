"""A search that is killed at any moment and resumed leaves the same files, to the bit, as one that is left alone."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_search
import torch
from moments import Moment, die_at
from ranks import Ranks

CONFIG = replace(tiny_search.CONFIG, steps=8, checkpoint_every_steps=3, shards=2)
# Eight steps, the last six with a step on alpha; states are saved after 3, 6 and 8.
MOMENTS = {
    "before anything is saved": Moment("return", "SupernetSearch.weights_step", 2),
    "while the first state is written": Moment("c_call", "posix.fsync", 1),
    "in a step on the weights": Moment("call", "all_reduce_gradients", 5),
    "in a step on alpha": Moment("call", "AlphaSearch.update", 3),
    "after the archive's lines, before the curves'": Moment("return", "Archive.append", 5),
    "while a state is written": Moment("c_call", "posix.fsync", 2),
    "when the older state has made room": Moment("c_call", "posix.replace", 3),
}
# The first process writes, so in these moments it is the one that dies.
WRITING = [name for name in MOMENTS if "state" in name or "archive" in name]
# How a state is written is the first process's own affair: that one process survives it says it for several.
ALONE = ["while the first state is written", "while a state is written", "when the older state has made room"]


def searched(folder: Path, resume: bool, moment: Moment | None = None, victim: int = 0) -> None:
    """Work of a process."""
    if moment is not None and int(os.environ["RANK"]) == victim:
        die_at(moment)
    tiny_search.go(folder, CONFIG, resume=resume)


def search(count: int, folder: Path, *args: object) -> Ranks:
    folder.mkdir(exist_ok=True)
    return Ranks(count, folder.parent / "said", searched, folder, *args)


@pytest.fixture(scope="module", params=[1, 2])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Number of processes, and what they leave when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert search(request.param, folder, False).wait() == [0] * request.param
    return request.param, folder


@pytest.mark.parametrize("name", MOMENTS)
def test_killed_and_resumed(undisturbed: tuple[int, Path], tmp_path: Path, name: str) -> None:
    count, whole = undisturbed
    if count == 2 and name in ALONE:
        pytest.skip("shown with one process")
    victim = 0 if name in WRITING else count - 1
    folder = tmp_path / "run"
    ranks = search(count, folder, False, MOMENTS[name], victim)
    codes = ranks.wait()
    assert codes[victim] == -signal.SIGKILL
    if count == 2:
        survivor = 1 - victim
        assert codes[survivor] == 1, ranks.said(survivor)
        (line,) = ranks.said(survivor)
        assert "another process of this run has ended" in line
    with (folder / "archive.jsonl").open("a") as archive:
        archive.write('{"step": 99, "cho')
    assert not same_files(folder, whole)
    assert search(count, folder, True).wait() == [0] * count
    assert same_files(folder, whole)


def same_files(folder: Path, whole: Path) -> bool:
    """Whether archive and curves have the same bytes, and states the same but for times, tensors bit by bit."""
    lines = ("archive.jsonl", "curves.jsonl")
    if any((folder / name).read_bytes() != (whole / name).read_bytes() for name in lines):
        return False
    states = [folder / "last.ckpt", whole / "last.ckpt"]
    if not all(path.exists() for path in states):
        return False
    return equal(*(torch.load(path, weights_only=True) | {"sec": 0.0} for path in states))


def equal(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two) and one.dtype == two.dtype
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[name], two[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return bool(one == two)
