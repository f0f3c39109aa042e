"""Who runs trials: this process one after another, or several beside each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from vidnas.base.errors import VidnasError
from vidnas.base.log import notes_only
from vidnas.data.processes import run_apart
from vidnas.engine.train.training import Diverged
from vidnas.engine.trials.job import TrialJob, TrialResult, run_trial

# For a step and the state of a training to be done with, when the command is stopped.
GRACE_SEC = 20.0
# How PyTorch says so of a CPU's, with no class of its own.
_NO_MEMORY = "can't allocate memory"
KILLED = "its process was ended twice; memory may have run out"

Done = Callable[[int, TrialResult], object]


class Executor(Protocol):
    """Runs jobs; gives their results in the order of the jobs."""

    @property
    def workers(self) -> int:
        """Jobs that run side by side."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads of each."""
        ...

    def __call__(self, jobs: Sequence[TrialJob], done: Done) -> list[TrialResult]:
        """Run them, and call `done` with place and result of each as it ends.

        A training that diverges or has too little memory is a failed trial, and the others go on; every other error
        ends all of them.

        Raises:
            Interrupted: stopped by a signal; the same jobs go on where they were.
            VidnasError: as `vidnas.engine.trials.job.run_trial`.
        """


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

    def __call__(self, jobs: Sequence[TrialJob], done: Done) -> list[TrialResult]:
        """As `Executor`."""
        results = []
        for place, job in enumerate(jobs):
            results.append(run_quietly(job) if self.quiet else _run(job))
            done(place, results[-1])
        return results


IN_THIS_PROCESS, QUIETLY = ThisProcess(), ThisProcess(quiet=True)


@dataclass(frozen=True)
class WorkerProcesses:
    """An `Executor` of processes on this machine, each of which runs one job after another.

    The trainings' lines are left out. A process that is killed has its job tried once more at the end, alone.

    Attributes:
        workers: processes.
        threads: CPU threads of each; with other threads a training has other last digits.
    """

    workers: int
    threads: int

    def __call__(self, jobs: Sequence[TrialJob], done: Done) -> list[TrialResult]:
        """As `Executor`."""
        given = side_by_side(jobs, self.threads)

        def known(place: int, result: TrialResult | None) -> TrialResult:
            return result or TrialResult(jobs[place].spec, jobs[place].folder, failure=KILLED)

        results: list[TrialResult | None] = run_apart(
            run_quietly,
            given,
            self.workers,
            dead=None,
            done=lambda place, result: done(place, known(place, result)),
            grace_sec=GRACE_SEC,
        )
        return [known(place, result) for place, result in enumerate(results)]


def side_by_side(jobs: Sequence[TrialJob], threads: int) -> list[TrialJob]:
    """The jobs with so many CPU threads each.

    Raises:
        VidnasError: one wants several devices, for which processes of its own would have to be started.
    """
    for job in jobs:
        if job.config.devices > 1:
            raise VidnasError(
                f"train.devices {job.config.devices}: trainings side by side have one device each; leave it out"
            )
    return [replace(job, config=replace(job.config, threads=threads)) for job in jobs]


def _run(job: TrialJob) -> TrialResult:
    try:
        return run_trial(job)
    except Diverged as error:
        failure = str(error)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and _NO_MEMORY not in str(error):
            raise
        failure = "memory ran out; use a smaller train.batch_size or train.accumulate"
    return TrialResult(job.spec, job.folder, failure=failure)


def run_quietly(job: TrialJob) -> TrialResult:
    """As `vidnas.engine.trials.job.run_trial`, without its lines of information; one that fails alone is a result."""
    with notes_only():
        return _run(job)
