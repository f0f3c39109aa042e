"""Trials on Ray: on this machine, or on all machines of a cluster. Ray is imported only where it is used."""

import logging
import os
import platform
import signal
import socket
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import CAUGHT, CommandSignals, Interrupted, Stopped, StopSignals
from vidnas.data.processes import cores, starting_processes
from vidnas.engine.trials.executors import GRACE_SEC, Done, Wanted, going_on, killed, run_quietly, side_by_side
from vidnas.engine.trials.job import TrialJob, TrialResult

# How long a signal waits at most; Ray's own calls would swallow which one it was.
_LOOK_SEC = 0.5
_ANSWER_SEC = 10.0
# For jobs and results on their way; more goes to the disk.
_STORE_BYTES = 256 << 20


@dataclass(frozen=True)
class RayWorkers:
    """An `Executor` of Ray tasks; made by `ray_workers`.

    The trainings' lines are left out. A job whose worker or machine is lost, or that lacks memory, is tried once more
    when all others have ended, alone where there is one machine: memory is what trials on it take from each other.

    Attributes:
        workers: tasks side by side.
        threads: CPU threads of each that begins; with other threads a training has other last digits.
    """

    workers: int
    threads: int

    def __call__(self, wanted: Wanted, done: Done) -> None:
        """As `Executor`."""
        import ray

        lost: deque[TrialJob] = deque()
        running: dict[Any, TrialJob] = {}
        # Of those that are tried for the second time.
        last: set[Path] = set()
        try:
            while True:
                with StopSignals():
                    self._fill(running, wanted, lost, last)
                    if not running:
                        return
                    ended, _ = ray.wait(list(running), timeout=_LOOK_SEC)
                    outcomes = [(running.pop(task), _outcome(task)) for task in ended]
                for job, result in outcomes:
                    if (result is None or result.starved) and job.folder not in last:
                        lost.append(going_on(job))
                    else:
                        done(job, killed(job) if result is None else replace(result, folder=job.folder))
        finally:
            _end(list(running))

    def _fill(self, running: dict[Any, TrialJob], wanted: Wanted, lost: deque[TrialJob], last: set[Path]) -> None:
        """Start what is wanted, as far as there is room; when nothing is left, what was lost."""
        again = any(job.folder in last for job in running.values())
        while not again and len(running) < self.workers and (job := wanted()) is not None:
            running[self._start(_anywhere(side_by_side(job, self.threads)))] = job
        if not running or again:
            together = self.workers if len(_machines()) > 1 else 1
            while lost and len(running) < together:
                job = lost.popleft()
                last.add(job.folder)
                running[self._start(_anywhere(side_by_side(job, self.threads)))] = job

    def _start(self, job: TrialJob) -> Any:
        """The task of a job, which waits until a machine has room for it."""
        import ray

        gpus = _gpus(job.config.device)
        _room(self.threads, gpus)
        job.folder.mkdir(parents=True, exist_ok=True)
        # Of the GPUs of its machine a task sees its own one only.
        here = replace(job, config=replace(job.config, device="cuda")) if gpus else job
        # Ray would try again at once, and as often as it likes.
        task = ray.remote(run_in_worker).options(num_cpus=self.threads, num_gpus=gpus, max_retries=0)
        return task.remote(here, _own_versions())


@contextmanager
def ray_workers(
    workers: int | None = None, threads: int | None = None, *, device: str = "auto", address: str | None = None
) -> Iterator[RayWorkers]:
    """An executor on the Ray cluster at an address, or on one that is started on this machine and ended afterwards.

    Where the program is connected to Ray already, it is on that cluster.

    Args:
        workers: trials side by side, if there is room for so many; None is as many as there is room for.
        threads: CPU threads of each; None is an equal share of the cluster for so many workers, and one where that is
            None.
        device: of the trials, as in `TrainConfig`; on a GPU each has its own.
        address: of a running cluster; None is what RAY_ADDRESS says, and without that a cluster of our own.

    Raises:
        VidnasError: Ray is not installed or does not start, nothing answers at the address, no machine has room.
    """
    try:
        import ray
    except ImportError as error:
        raise VidnasError("trials on Ray need the package ray: pip install 'vidnas[ray]'") from error

    ours = not ray.is_initialized()
    if ours:
        _connect(address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        if threads is None:
            cpus = [int(machine.get("CPU", 0)) for machine in _machines()]
            threads = max(1, min(sum(cpus) // workers, *cpus)) if workers else 1
        room = _room(threads, _gpus(device))
        yield RayWorkers(min(workers or room, room), threads)
    finally:
        if ours:
            ray.shutdown()


def run_in_worker(job: TrialJob, made_by: Mapping[str, str]) -> tuple[TrialResult | None, Exception | None]:
    """What a Ray worker does: a trial; gives what came out, or the error that ends all trials.

    Neither, where the worker has been asked to end: a training that had begun has saved its state.

    Args:
        job: the trial, with absolute paths.
        made_by: versions of the packages that made the job.
    """
    import ray

    # Ray cancels a task as if by Ctrl-C, but has its processes block that.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
    try:
        with CommandSignals():
            # What came while the worker loaded its libraries, Python or Ray may have swallowed.
            if ray.get_runtime_context().is_canceled():
                return None, None
            check_machine(job, made_by)
            return run_quietly(job), None
    except (Interrupted, Stopped):
        return None, None
    except Exception as error:
        error.add_note(f"{job.folder}, on {platform.node()}:\n{traceback.format_exc()}")
        return None, error


def check_machine(job: TrialJob, made_by: Mapping[str, str]) -> None:
    """Refuse a machine that would write elsewhere, read other videos, or compute otherwise.

    Args:
        job: the trial, with absolute paths.
        made_by: versions of the packages that made the job.

    Raises:
        VidnasError: says which machine, and what it lacks.
    """
    own = _own_versions()
    if own != made_by:
        here, there = (", ".join(f"{name} {number}" for name, number in found.items()) for found in (own, made_by))
        raise VidnasError(f"{platform.node()}: has {here}, and the command {there}; install the same on all machines")
    for folder in (job.folder, *(videos.root for videos in (job.videos, job.tested) if videos is not None)):
        if not folder.is_dir():
            raise VidnasError(
                f"{platform.node()}: does not see {folder}; run folder and videos must lie in a file system that all "
                "machines of the Ray cluster have under the same path"
            )


def _own_versions() -> dict[str, str]:
    """Of what decides about results and must be the same on all machines."""
    return {"vidnas": version("vidnas"), "torch": torch.__version__}


def _anywhere(job: TrialJob) -> TrialJob:
    """The job with paths that do not depend on where a worker was started."""

    def whole(path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    data = replace(job.data, cache_dir=whole(job.data.cache_dir))
    return replace(job, folder=job.folder.absolute(), weights=whole(job.weights), data=data)


def _connect(address: str) -> None:
    import ray

    _check_answers(address)
    settings: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        # It tells its makers how it is used unless told not to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings |= {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    # What goes to the whole group of this process (a terminal that closes) must not end Ray before trainings have saved
    # their states. Ray takes SIGTERM for itself, here it is taken back.
    with starting_processes():
        try:
            ray.init(**settings)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise _unreachable(address, reason) from error


def _check_answers(address: str) -> None:
    """Ray itself tries for minutes, with many words.

    Raises:
        VidnasError: nothing listens there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return  # a word of Ray's, such as local and auto
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=_ANSWER_SEC).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, reason: str) -> VidnasError:
    if address == "local":
        return VidnasError(f"Ray does not start here ({reason}); use --executor processes")
    return VidnasError(
        f"no Ray cluster at {address} ({reason}); start one there (ray start --head), set RAY_AUTH_TOKEN where it asks "
        "for a token, or leave out the address and RAY_ADDRESS for one on this machine"
    )


def _machines() -> list[dict[str, float]]:
    """What each machine of the cluster has in all."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _gpus(device: str) -> int:
    """How many a trial takes: one where it asks for one, or for the best there is and the cluster has some."""
    return int(device.startswith("cuda") or (device == "auto" and any(machine.get("GPU") for machine in _machines())))


def _room(threads: int, gpus: int) -> int:
    """Trials that the cluster has room for at a time.

    Raises:
        VidnasError: not even for one; its task would wait for ever.
    """
    room = 0
    for machine in _machines():
        beside = machine.get("CPU", 0) // threads
        room += int(min(beside, machine.get("GPU", 0)) if gpus else beside)
    if not room:
        wanted = f"{threads} CPUs" + (" and a GPU" if gpus else "")
        raise VidnasError(
            f"no machine of the Ray cluster has {wanted} for a trial; use fewer threads or another device"
        )
    return room


def _outcome(task: Any) -> TrialResult | None:
    """Of a task that has ended; None where its worker was lost, or was asked to end.

    Raises:
        Exception: the error that ends all trials.
    """
    import ray
    from ray import exceptions

    lost = (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,
    )
    try:
        result, failure = ray.get(task)
    except lost:
        return None
    except exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise VidnasError(f"a trial did not start on Ray ({reason}); is vidnas installed on all machines?") from error
    if failure is not None:
        raise failure
    found: TrialResult | None = result
    return found


def _end(running: list[Any]) -> None:
    """Have trainings end their steps and save their states; what takes too long is cut."""
    import ray

    if not running:
        return
    for task in running:
        ray.cancel(task)
    _, late = ray.wait(running, num_returns=len(running), timeout=GRACE_SEC)
    for task in late:
        ray.cancel(task, force=True)
