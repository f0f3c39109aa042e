"""Trials on a real Ray cluster of this machine: the same results, lost workers, failing and stopping one by one."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_races import course, run
from tiny_training import tiny_config, tiny_data, tiny_spec
from writers import writer_of

from vidnas.arch.zoo.x3d import x3d
from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import CommandSignals, Stopped
from vidnas.base.log import notes_only
from vidnas.data.formats import load_dataset
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.state import load_state
from vidnas.engine.trials.executors import WorkerProcesses, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult, run_trial
from vidnas.engine.trials.ray_executor import RayWorkers, check_machine, ray_workers
from vidnas.pipeline.race.config import RaceConfig
from vidnas.pipeline.race.race import Race
from vidnas.pipeline.race.result import summary


@pytest.fixture(scope="module")
def workers():
    """Two workers of one thread on a cluster that lives as long as the tests of this file."""
    pytest.importorskip("ray")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr("vidnas.engine.trials.ray_executor.cores", lambda: 2)
        with ray_workers(threads=1) as found:
            assert signal.getsignal(signal.SIGTERM) is before
            yield found


def job(data: Path, folder: Path, **settings: object) -> TrialJob:
    lists = load_dataset(data)
    return TrialJob(tiny_spec(), folder, lists.train, lists.test, tiny_config(threads=1, **settings), tiny_data(data))


LONG = {"steps": 40, "checkpoint_every_steps": 2}


@pytest.fixture(scope="module")
def whole(synthetic_data, tmp_path_factory) -> TrialResult:
    """A longer trial that nothing happens to."""
    return run_trial(job(synthetic_data, tmp_path_factory.mktemp("whole"), **LONG))


def ignore(place: int, result: TrialResult) -> None:
    pass


def assert_same(a: TrialResult, b: TrialResult) -> None:
    weights, others = (load_file(RunFolder(result.folder).weights) for result in (a, b))
    assert all(torch.equal(value, others[name]) for name, value in weights.items())
    assert a.tested().scores.tolist() == b.tested().scores.tolist()
    assert (a.kept, a.steps) == (b.kept, b.steps)


def in_the_middle(folder: Path, act: Callable[[], None]) -> threading.Thread:
    """Do something as soon as a training has a state and a few steps more."""

    def wait() -> None:
        metrics = folder / "metrics.jsonl"
        while not ((folder / "last.ckpt").exists() and metrics.read_text(encoding="utf-8").count("\n") >= 5):
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_no_cluster_at_the_address():
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(VidnasError, match=f"no Ray cluster at {address} .*refused"), ray_workers(address=address):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="others may promise memory that they do not have")
def test_what_lacks_memory_is_tried_once_more_at_the_end(workers, synthetic_data, tmp_path):
    """Two terabytes for one layer."""
    small = job(synthetic_data, tmp_path / "small", steps=1)
    wide = x3d("wide", small.spec.clip, width_factor=20_000).with_classes(12)
    ended: list[int] = []
    jobs = [replace(small, spec=wide, folder=tmp_path / "wide"), small]
    first, second = run_jobs(workers, jobs, lambda place, _: ended.append(place))
    assert ended == [1, 0]
    assert first.starved
    assert second.failure is None


def test_as_in_processes_and_a_diverged_trial_fails_alone(workers, synthetic_data, tmp_path, monkeypatch):
    def jobs(root: Path) -> list[TrialJob]:
        diverging = job(synthetic_data, root / "diverges", optimizer="sgd", lr=1e30)
        return [job(synthetic_data, root / "a"), diverging, job(synthetic_data, root / "b", seed=1)]

    assert workers == RayWorkers(workers=2, threads=1)
    # A worker is not where the command is.
    monkeypatch.chdir(tmp_path)
    told: dict[int, TrialResult] = {}
    on_ray = run_jobs(workers, jobs(Path("ray")), told.__setitem__)
    assert [told[place] for place in range(3)] == on_ray
    apart = run_jobs(WorkerProcesses(1, threads=1), jobs(tmp_path / "apart"), ignore)
    assert [result.folder for result in on_ray] == [Path("ray", name) for name in ("a", "diverges", "b")]
    assert_same(on_ray[0], apart[0])
    assert_same(on_ray[2], apart[2])
    assert on_ray[1].failure == apart[1].failure
    assert "use a lower train.lr" in (on_ray[1].failure or "")


def test_a_race_is_that_of_processes(workers, synthetic_data, tmp_path):
    found = []
    for name, executor in (("ray", workers), ("apart", WorkerProcesses(1, threads=1))):
        config = tiny_config(steps=2, batch_size=6, threads=1)
        settings = tiny_data(synthetic_data), config, RaceConfig(8, folds=2)
        with notes_only():
            found.append(summary(run(Race(course(synthetic_data), *settings, tmp_path / name, executor))))
    assert found[0] == found[1]
    assert found[0]["trials"] >= 6


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the worker in /proc")
def test_nothing_is_lost_with_a_worker(workers, whole, synthetic_data, tmp_path):
    killed, others = tmp_path / "killed", [tmp_path / "first", tmp_path / "last"]
    kept: list[str] = []

    def kill() -> None:
        worker = writer_of(killed)
        os.kill(worker, signal.SIGSTOP)
        state = load_state(killed / "last.ckpt")
        assert state is not None
        kept.extend((killed / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[: state["step"]])
        os.kill(worker, signal.SIGKILL)

    jobs = [job(synthetic_data, others[0]), job(synthetic_data, killed, **LONG), job(synthetic_data, others[1])]
    jobs = [replace(one, resume=False) for one in jobs]
    killing = in_the_middle(killed, kill)
    told: list[int] = []
    results = run_jobs(workers, jobs, lambda place, result: told.append(place))
    killing.join()
    assert sorted(told) == [0, 1, 2]
    assert told[-1] == 1
    assert [(result.failure, result.steps) for result in results] == [(None, 6), (None, 40), (None, 6)]
    # Lines have times in them: those before the state that it went on from are no others.
    assert 2 <= len(kept) < 40
    assert (killed / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[: len(kept)] == kept
    begun = {folder: len(json.loads((folder / "run.json").read_bytes())["commands"]) for folder in (killed, *others)}
    assert begun == {killed: 2, others[0]: 1, others[1]: 1}
    assert_same(results[1], whole)


def test_stopped_workers_save_their_states(workers, whole, synthetic_data, tmp_path):
    cut = job(synthetic_data, tmp_path / "cut", **LONG)

    def run() -> None:
        with CommandSignals():
            in_the_middle(cut.folder, lambda: os.kill(os.getpid(), signal.SIGTERM))
            run_jobs(workers, [cut], ignore)

    with pytest.raises(Stopped):
        run()
    state = load_state(cut.folder / "last.ckpt")
    assert state is not None
    # A state after the last line: not the one that was saved on the way.
    assert (cut.folder / "metrics.jsonl").read_text(encoding="utf-8").count("\n") == state["step"] < 40
    (resumed,) = run_jobs(workers, [cut], ignore)
    assert_same(resumed, whole)


def test_other_errors_end_all(workers, synthetic_data, tmp_path):
    broken = replace(job(synthetic_data, tmp_path / "broken"), spec=tiny_spec(num_classes=5))
    # The others are at their very start, or some steps on, when they are stopped: none of them waits to be killed.
    for name in "abcdef":
        long = job(synthetic_data, tmp_path / name, steps=100_000, checkpoint_every_steps=100_000)
        with pytest.raises(VidnasError, match="the list has 12 classes, the network 5"):
            run_jobs(workers, [long, broken], ignore)
        with RunFolder(long.folder).lock():
            metrics = long.folder / "metrics.jsonl"
            assert (long.folder / "last.ckpt").exists() or not (metrics.exists() and metrics.read_bytes())
    with pytest.raises(VidnasError, match=r"train\.devices 2: .* one device each"):
        run_jobs(workers, [job(synthetic_data, tmp_path / "two", devices=2)], ignore)
    with pytest.raises(VidnasError, match="no machine of the Ray cluster has 3 CPUs for a trial"):
        run_jobs(RayWorkers(1, threads=3), [job(synthetic_data, tmp_path / "wide")], ignore)


def test_a_machine_that_differs_is_refused(synthetic_data, tmp_path):
    trial = job(synthetic_data, tmp_path / "elsewhere")
    with pytest.raises(VidnasError, match="and the command vidnas 0, torch 0; install the same"):
        check_machine(trial, {"vidnas": "0", "torch": "0"})
    with pytest.raises(VidnasError, match=r"does not see .*elsewhere; run folder and videos must lie"):
        check_machine(trial, {"vidnas": version("vidnas"), "torch": torch.__version__})


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(VidnasError, match=r"pip install 'vidnas\[ray\]'"), ray_workers():
        pass
