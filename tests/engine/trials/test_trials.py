"""Trials: done once, the same in every executor, failing and stopping one by one."""

import gc
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import fork_server
import numpy as np
import pytest
import torch
from moments import Moment, die_at
from safetensors.torch import load_file
from tiny_training import lively_network, tiny_config, tiny_data, tiny_spec
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from two_streams import small_two_streams
from writers import writer_of

from vidnas.arch.zoo.x3d import x3d
from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import CommandSignals, Stopped
from vidnas.data.formats import load_dataset
from vidnas.data.processes import run_apart
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.state import load_state
from vidnas.engine.train.train import fresh_network
from vidnas.engine.trials.executors import KILLED, QUIETLY, WorkerProcesses, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult, initial_network, run_trial
from vidnas.nn.weights import save_model


@pytest.fixture
def threads():
    """Restores those of this process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def job(data: Path, folder: Path, **settings: object) -> TrialJob:
    lists = load_dataset(data)
    config = tiny_config(threads=1, **settings)
    return TrialJob(tiny_spec(), folder, lists.train, lists.test, config, tiny_data(data))


@pytest.fixture(scope="module")
def trial(synthetic_data, tmp_path_factory) -> TrialJob:
    before = torch.get_num_threads()
    one = job(synthetic_data, tmp_path_factory.mktemp("trial"), steps=1)
    run_trial(one)
    torch.set_num_threads(before)
    return one


def ignore(place: int, result: TrialResult) -> None:
    pass


def test_a_trial_is_run_once(synthetic_data, tmp_path, threads):
    first = run_trial(job(synthetic_data, tmp_path))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = run_trial(job(synthetic_data, tmp_path))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    np.testing.assert_array_equal(again.tested().scores, first.tested().scores)
    assert (again.kept, again.steps) == (first.kept, first.steps)
    # Other videos than those that it was tested on.
    other = job(synthetic_data, tmp_path)
    assert other.tested is not None
    half = replace(other, tested=other.tested.subset(range(0, len(other.tested), 2)))
    assert len(run_trial(half).tested().paths) == len(other.tested) // 2


@pytest.mark.parametrize(
    "other",
    [{"clip": "8x36x36"}, {"precision": "bf16"}, {"views": "2x1"}, {"broken": (("a.mp4", "cannot be opened"),)}],
    ids=lambda other: next(iter(other)),
)
def test_another_test_in_the_folder_is_not_taken_for_its_own(trial, threads, other):
    own = run_trial(trial).tested()
    replace(own, scores=np.roll(own.scores, 1, axis=1), **other).save(RunFolder(trial.folder).test)
    again = run_trial(trial).tested()
    np.testing.assert_array_equal(again.scores, own.scores)
    assert (again.clip, again.precision, again.views, again.broken) == ("8x32x32", "fp32", "1x1", ())


@pytest.mark.parametrize("zero_init_residual", [False, True])
def test_what_the_weights_lack_starts_as_the_settings_say(synthetic_data, tmp_path, zero_init_residual):
    """A second stream beside the weights of one."""
    spec = small_two_streams()
    save_model(tmp_path, fresh_network(spec.alone(0), 1), classes=tuple("abcde"))
    config = tiny_config(zero_init_residual=zero_init_residual)
    one = replace(job(synthetic_data, tmp_path / "run"), spec=spec, config=config, weights=tmp_path)
    network = initial_network(one)
    lasts = [
        value
        for name, value in network.state_dict().items()
        if name.startswith("streams.1.") and name.endswith("project_norm.weight")
    ]
    assert len(lasts) == 6
    assert all(torch.equal(value, torch.full_like(value, 0 if zero_init_residual else 1)) for value in lasts)


def test_a_trial_does_not_go_on_from_other_weights(synthetic_data, tmp_path, threads):
    drawn = replace(job(synthetic_data, tmp_path / "run", steps=1), tested=None)
    for seed, name in enumerate(("first", "other")):
        save_model(tmp_path / name, fresh_network(tiny_spec(), seed), classes=drawn.videos.classes)
    first, other = (replace(drawn, weights=tmp_path / f"{name}.safetensors") for name in ("first", "other"))
    run_trial(first)
    (tmp_path / "first.safetensors").rename(tmp_path / "moved.safetensors")
    run_trial(replace(first, weights=tmp_path / "moved.safetensors"))
    for wrong in (other, drawn):
        with pytest.raises(VidnasError, match=r"initial weights \w{12} then, \w+ now"):
            run_trial(wrong)  # finished
    (tmp_path / "run" / "model.json").unlink()
    with pytest.raises(VidnasError, match=r"initial weights \w{12} then, \w{12} now"):
        run_trial(other)  # a saved state


def test_executors_agree_and_a_diverged_trial_fails_alone(synthetic_data, tmp_path, threads):
    def jobs(root: Path) -> list[TrialJob]:
        return [
            job(synthetic_data, root / "a"),
            job(synthetic_data, root / "diverges", optimizer="sgd", lr=1e30),
            job(synthetic_data, root / "b", seed=1),
        ]

    told: list[int] = []
    here = run_jobs(QUIETLY, jobs(tmp_path / "here"), lambda place, result: told.append(place))
    assert told == [0, 1, 2]
    apart = run_jobs(WorkerProcesses(2, threads=1), jobs(tmp_path / "apart"), lambda place, result: told.append(place))
    assert sorted(told[3:]) == [0, 1, 2]
    for a, b in zip(here, apart, strict=True):
        assert (a.failure is None) == (b.failure is None) == (a.folder.name != "diverges")
        if a.failure is None:
            for name, value in load_file(RunFolder(a.folder).weights).items():
                assert torch.equal(value, load_file(RunFolder(b.folder).weights)[name])
            assert a.tested().scores.tolist() == b.tested().scores.tolist()
    assert here[1].failure is not None
    assert "use a lower train.lr" in here[1].failure
    with pytest.raises(VidnasError, match="diverges: step"):
        here[1].tested()


@pytest.mark.parametrize("settings", [{}, {"val_fraction": 0.2, "keep": "best"}], ids=["tested", "validated"])
def test_scores_that_are_no_numbers_are_a_failure(synthetic_data, tmp_path, threads, settings):
    """Running statistics take no part in the loss, which stays finite."""
    network = lively_network()
    network.streams[0].conv5.norm.running_mean.fill_(torch.nan)
    save_model(tmp_path, network, classes=load_dataset(synthetic_data).train.classes)
    broken = replace(job(synthetic_data, tmp_path / "broken", steps=1, **settings), weights=tmp_path)
    found: list[TrialResult] = []
    run_jobs(QUIETLY, [broken], lambda place, result: found.append(result))
    assert found[0].failure is not None
    assert "videos are not finite; compute in precision fp32, or train again" in found[0].failure
    folder = RunFolder(broken.folder)
    assert not folder.best.exists()
    assert not folder.test.exists()


def test_stopped_workers_save_their_states(synthetic_data, tmp_path, threads):
    whole = run_trial(job(synthetic_data, tmp_path / "whole", steps=12, checkpoint_every_steps=100))
    curves = tmp_path / "cut" / "metrics.jsonl"

    def stop() -> None:
        while not (curves.exists() and curves.read_text().count("\n") >= 3):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop, daemon=True)
    cut = job(synthetic_data, tmp_path / "cut", steps=12, checkpoint_every_steps=100)

    def run_beside() -> None:
        with CommandSignals():
            stopping.start()
            run_jobs(WorkerProcesses(1, threads=1), [cut], ignore)

    with pytest.raises(Stopped):
        run_beside()
    state = load_state(tmp_path / "cut" / "last.ckpt")
    assert state is not None
    assert 3 <= state["step"] < 12
    resumed = run_trial(cut)
    for name, value in load_file(RunFolder(whole.folder).weights).items():
        assert torch.equal(value, load_file(RunFolder(resumed.folder).weights)[name])


@pytest.mark.parametrize("executor", [QUIETLY, WorkerProcesses(1, threads=1)], ids=["here", "apart"])
def test_a_killed_trial_goes_on_with_the_threads_it_began_with(synthetic_data, tmp_path, threads, executor):
    """Whoever runs it now has fewer for each, and the next one is not given its threads."""
    begun = job(synthetic_data, tmp_path / "begun")
    begun = replace(begun, config=replace(begun.config, threads=2))
    assert fork_server.ended(train_and_die, begun) == -signal.SIGKILL
    state = load_state(RunFolder(begun.folder).state)
    assert state is not None
    assert state["step"] == 2
    torch.set_num_threads(1)
    jobs = [replace(one, config=replace(one.config, threads=1)) for one in (begun, job(synthetic_data, tmp_path / "b"))]
    results = run_jobs(executor, jobs, ignore)
    assert [RunFolder(one.folder).threads_begun("train") for one in results] == [2, 1]
    assert torch.get_num_threads() == 1
    whole = run_trial(replace(begun, folder=tmp_path / "whole"))
    for name, value in load_file(RunFolder(whole.folder).weights).items():
        assert torch.equal(value, load_file(RunFolder(begun.folder).weights)[name])


def train_and_die(one: TrialJob) -> None:
    die_at(Moment("return", "Training.save", 1))
    run_trial(one)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the process in /proc")
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_killed_process_takes_no_other_trial_with_it(synthetic_data, tmp_path, threads, times):
    """Its job goes on where it was, though it was to begin anew in an empty folder; killed again it has failed."""
    long = job(synthetic_data, tmp_path / "killed", steps=40, checkpoint_every_steps=2)
    jobs = [replace(one, resume=False) for one in (long, job(synthetic_data, tmp_path / "other"))]

    def kill() -> None:
        known = 0
        for _ in range(times):
            while not ((state := load_state(tmp_path / "killed" / "last.ckpt")) and state["step"] > known):
                time.sleep(0.01)
            os.kill(writer_of(tmp_path / "killed"), signal.SIGKILL)
            known = state["step"] + 2

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    killed, other = run_jobs(WorkerProcesses(1, threads=1), jobs, ignore)
    killing.join()
    assert other.failure is None
    assert killed.failure == (None if times == 1 else KILLED)
    if times == 1:
        whole = run_trial(replace(long, folder=tmp_path / "whole"))
        for name, value in load_file(RunFolder(whole.folder).weights).items():
            assert torch.equal(value, load_file(RunFolder(killed.folder).weights)[name])


def can_use_gpus(_: None) -> bool:
    return not torch.cuda._is_in_bad_fork()


def test_processes_can_use_gpus():
    """What they are forked from must not have asked CUDA for anything."""
    told: list[int] = []
    assert run_apart(can_use_gpus, [None, None], 2, dead=False, done=lambda place, _: told.append(place)) == [True] * 2
    assert sorted(told) == [0, 1]


def test_an_ended_process_that_reads_videos_fails_one_trial(synthetic_data, tmp_path, threads):
    """The system ends one where memory runs out."""

    def end_reader() -> None:
        while not (found := [one for one in gc.get_objects() if isinstance(one, _MultiProcessingDataLoaderIter)]):
            time.sleep(0.01)
        os.kill(found[0]._workers[0].pid, signal.SIGKILL)

    reading = job(synthetic_data, tmp_path / "reading", steps=2000)
    jobs = [replace(reading, data=replace(reading.data, workers=1)), job(synthetic_data, tmp_path / "other")]
    ending = threading.Thread(target=end_reader, daemon=True)
    ending.start()
    first, second = run_jobs(QUIETLY, jobs, ignore)
    ending.join()
    assert first.failure is not None
    assert first.failure.startswith("memory ran out; use")
    assert first.starved
    assert second.failure is None


@pytest.mark.skipif(sys.platform != "linux", reason="others may promise memory that they do not have")
@pytest.mark.parametrize("executor", [QUIETLY, WorkerProcesses(1, threads=1)], ids=["here", "apart"])
def test_memory_that_runs_out_fails_one_trial(synthetic_data, tmp_path, threads, executor):
    """Two terabytes for one layer; apart from the others it is tried once more, at the end."""
    small = job(synthetic_data, tmp_path / "small", steps=1)
    wide = x3d("wide", small.spec.clip, width_factor=20_000).with_classes(12)
    ended: list[int] = []
    jobs = [replace(small, spec=wide, folder=tmp_path / "wide"), small]
    first, second = run_jobs(executor, jobs, lambda place, _: ended.append(place))
    assert ended == ([0, 1] if executor == QUIETLY else [1, 0])
    assert first.starved
    assert first.failure is not None
    assert first.failure.startswith("memory ran out; use a smaller train.batch_size")
    assert second.failure is None
