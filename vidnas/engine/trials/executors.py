"""Who runs trials: this process one after another, or several beside each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from vidnas.base.errors import Diverged, OutOfMemory, VidnasError
from vidnas.base.log import notes_only
from vidnas.data.processes import run_wanted
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.runtime import ran_out_of_memory
from vidnas.engine.trials.job import TrialJob, TrialResult, run_trial

# For a step and the state of a training to be done with, when the command is stopped.
GRACE_SEC = 20.0
KILLED = "its process was ended twice; memory may have run out"
_STARVED = "memory ran out; use a smaller train.batch_size, a larger train.accumulate or fewer clips.workers"

Wanted = Callable[[], TrialJob | None]
Done = Callable[[TrialJob, TrialResult], object]


class Executor(Protocol):
    """Runs jobs for as long as some are wanted."""

    @property
    def workers(self) -> int:
        """Jobs that run side by side."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads of each."""
        ...

    def __call__(self, wanted: Wanted, done: Done) -> None:
        """Run jobs, and call `done` with each and its result as it ends.

        A training that diverges or has too little memory is a failed trial, and the others go on; every other error
        ends all of them.

        Args:
            wanted: asked for a job whenever there is room for one. None is for nothing at present: results that are
                still to come may make more wanted. All is done when nothing runs and nothing is wanted.
            done: takes the results.

        Raises:
            Interrupted: stopped by a signal; the same jobs go on where they were.
            VidnasError: as `vidnas.engine.trials.job.run_trial`.
        """


def run_jobs(
    executor: Executor, jobs: Sequence[TrialJob], done: Callable[[int, TrialResult], object]
) -> list[TrialResult]:
    """Run a list of jobs; gives their results in its order, `done` gets the place of each."""
    given = iter(jobs)
    places = {job.folder: place for place, job in enumerate(jobs)}
    results: dict[int, TrialResult] = {}

    def keep(job: TrialJob, result: TrialResult) -> None:
        place = places[job.folder]
        results[place] = result
        done(place, result)

    executor(lambda: next(given, None), keep)
    return [results[place] for place in range(len(jobs))]


@dataclass(frozen=True)
class ThisProcess:
    """An `Executor`: one after another. Where there are several processes, all of them take part in every trial.

    Attributes:
        quiet: without the lines of the trainings.
        workers: one.
    """

    quiet: bool = False
    workers: int = 1

    @property
    def threads(self) -> int:
        """Those of this process."""
        return torch.get_num_threads()

    def __call__(self, wanted: Wanted, done: Done) -> None:
        """As `Executor`."""
        while (job := wanted()) is not None:
            done(job, run_quietly(job) if self.quiet else _run(job))


IN_THIS_PROCESS, QUIETLY = ThisProcess(), ThisProcess(quiet=True)


@dataclass(frozen=True)
class WorkerProcesses:
    """An `Executor` of processes on this machine, each of which runs one job after another.

    The trainings' lines are left out. A job whose process is killed, or that lacks memory, goes on from its state at
    the end, alone, once.

    Attributes:
        workers: processes.
        threads: CPU threads of each that begins; with other threads a training has other last digits.
    """

    workers: int
    threads: int

    def __call__(self, wanted: Wanted, done: Done) -> None:
        """As `Executor`."""

        def given() -> tuple[TrialJob, TrialJob] | None:
            job = wanted()
            return None if job is None else (job, side_by_side(job, self.threads))

        def keep(job: TrialJob, result: TrialResult | None) -> None:
            done(job, result or killed(job))

        run_wanted(
            run_quietly,
            given,
            self.workers,
            dead=None,
            done=keep,
            again=going_on,
            starved=lambda result: result is not None and result.starved,
            grace_sec=GRACE_SEC,
        )


def killed(job: TrialJob) -> TrialResult:
    """Of a job whose process was ended at the second try too."""
    return TrialResult(job.spec, job.folder, failure=KILLED, starved=True)


def going_on(job: TrialJob) -> TrialJob:
    """The job as it is tried for the second time: a folder that it has begun is its own."""
    return replace(job, resume=True)


def side_by_side(job: TrialJob, threads: int) -> TrialJob:
    """The job with so many CPU threads.

    Raises:
        VidnasError: it wants several devices, for which processes of its own would have to be started.
    """
    if job.config.devices > 1:
        raise VidnasError(
            f"train.devices {job.config.devices}: trainings side by side have one device each; leave it out"
        )
    return replace(job, config=replace(job.config, threads=threads))


def _run(job: TrialJob) -> TrialResult:
    try:
        return run_trial(job)
    except Diverged as error:
        return TrialResult(job.spec, job.folder, failure=str(error))
    except OutOfMemory as error:
        return TrialResult(job.spec, job.folder, failure=str(error), starved=True)
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        return TrialResult(job.spec, job.folder, failure=_STARVED, starved=True)


def run_quietly(job: TrialJob) -> TrialResult:
    """As `vidnas.engine.trials.job.run_trial`, without its lines of information; one that fails alone is a result.

    A trial that was begun goes on with the CPU threads it began with, however many the others have now.
    """
    begun = RunFolder(job.folder).threads_begun("train") if job.resume else None
    if begun is not None:
        job = replace(job, config=replace(job.config, threads=begun))
    before = torch.get_num_threads()
    try:
        with notes_only():
            return _run(job)
    finally:
        torch.set_num_threads(before)  # the next one has its own
