"""Processes beside the main one: how they start, how they end with it, and work on files that may kill them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import CAUGHT, StopSignals

Job = TypeVar("Job")
Result = TypeVar("Result")


# Why a job has no result; what keeps results for later tries such a job again.
CRASHED = "the process that read it ended twice: its decoder crashes, or memory ran out"


def run_apart(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    *,
    dead: Result,
    done: Callable[[int, Result], object],
    grace_sec: float = 0.0,
) -> list[Result]:
    """Results of `work` in the order of the jobs, from processes whose death is a result too.

    A process may also be ended from outside, as where memory runs out. So a job that a process died of is tried once
    more at the end, with nothing beside it. What `work` raises ends everything. Jobs and results go through pipes, so
    no shared memory is needed, and it is known which job a process died of.

    Args:
        work: a function at the top level of its module.
        jobs: its arguments.
        workers: processes.
        dead: the result of a job that takes its process down twice.
        done: called here with the place and the result of each job as it ends.
        grace_sec: what a process gets, after a SIGTERM, to save its work when it has to end before its job does; with
            one it may have processes of its own.

    Raises:
        VidnasError: processes do not start here.
    """
    found: dict[int, Result] = {}

    def keep(place: int, result: Result) -> None:
        found[place] = result
        done(place, result)

    died = _try_all(work, jobs, range(len(jobs)), workers, keep, grace_sec)
    for place in _try_all(work, jobs, died, 1, keep, grace_sec):
        keep(place, dead)
    return [found[i] for i in range(len(jobs))]


def _try_all(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    places: Sequence[int],
    workers: int,
    keep: Callable[[int, Result], object],
    grace_sec: float,
) -> list[int]:
    """Do the jobs at these places; returns the places of those that a process died of."""
    died: list[int] = []
    waiting = list(places)[::-1]
    left = len(waiting)
    crew: dict[Connection, _Worker[Job, Result]] = {}
    try:
        while left:
            # As many as there is work for, also in place of dead ones.
            while len(crew) < min(workers, left):
                worker = _Worker(work, grace_sec)
                crew[worker.connection] = worker
            for connection in wait(list(crew)):
                worker = crew[connection]  # type: ignore[index]
                place = worker.place
                try:
                    result = worker.result()
                except EOFError:
                    del crew[worker.connection]
                    worker.end()
                    if not worker.ready:
                        raise VidnasError("worker processes do not start here, or were ended") from None
                    if place is not None:
                        died.append(place)
                else:
                    if place is not None:
                        keep(place, result)
                left -= place is not None
                worker.place = waiting.pop() if waiting and worker.connection in crew else None
                if worker.place is not None:
                    worker.give(jobs[worker.place])
    finally:
        for worker in crew.values():
            worker.ask_to_end()
        for worker in crew.values():
            worker.end()
    return sorted(died)


class _Worker(Generic[Job, Result]):
    """A process that does one job after another.

    Attributes:
        connection: takes jobs; gives None when the process is ready, then their outcomes.
        place: of the job that it does.
        ready: whether it has started.
    """

    def __init__(self, work: Callable[[Job], Result], grace_sec: float) -> None:
        self.place: int | None = None
        self.ready = False
        self.grace_sec = grace_sec
        self.connection, other = get_context("spawn").Pipe()
        self._process = get_context("spawn").Process(target=_serve, args=(other, work), daemon=not grace_sec)
        with starting_processes():
            self._process.start()
        other.close()

    def give(self, job: Job) -> None:
        """Have it do a job; that it has died meanwhile shows when the result is asked for."""
        with suppress(ConnectionError):
            self.connection.send(job)

    def result(self) -> Result:
        """Of the job at `place`; of no meaning before the first one.

        Raises:
            EOFError: the process has died.
            Exception: what the work raised.
        """
        try:
            outcome, failure = self.connection.recv()
        except OSError as error:  # in the middle of a message
            raise EOFError from error
        self.ready = True
        if failure is not None:
            raise failure
        result: Result = outcome
        return result

    def ask_to_end(self) -> None:
        """Let it save its work, if it has a time for that."""
        if self.grace_sec:
            self._process.terminate()

    def end(self) -> None:
        """When its time is over, whatever it does."""
        if self.grace_sec:
            self._process.join(self.grace_sec)
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    stand_alone()
    outcome: tuple[Any, Exception | None] = (None, None)
    try:
        while True:
            connection.send(outcome)
            if outcome[1] is not None:  # which ends everything
                return
            job = connection.recv()
            try:
                outcome = (work(job), None)
            except Exception as error:
                outcome = (None, error)
    except (EOFError, OSError):
        pass  # the main process is gone


@contextmanager
def starting_processes() -> Iterator[None]:
    """Let processes that start meanwhile never hear of Ctrl-C and the like, which often go to a whole process group.

    The main process may still need their work to come to the end of its step, and ends them itself. Signals to the
    main process wait until the start is done: cut in the middle, the new process would break with a traceback.

    Raises:
        VidnasError: the system has no means for them.
    """
    with StopSignals():
        # The mask is inherited by whatever starts. The tracker unblocks signals when it starts.
        resource_tracker.ensure_running()
        before = _mask(signal.SIG_BLOCK, set(CAUGHT))
        try:
            yield
        except OSError as error:
            raise VidnasError(
                f"worker processes cannot start ({(error.strerror or str(error)).lower()}): they need memory, shared "
                "memory (/dev/shm) included; give more of it (docker run --shm-size=2g), or use --workers 0"
            ) from error
        finally:
            _mask(signal.SIG_SETMASK, before)


def stand_alone() -> None:
    """Set up a worker process: what is meant for the group does not reach it, and it ends with the main process."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _mask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the main process's means to end it
    # Some watch their parent, which may be a fork server; that one lives as long as its workers do.
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _mask(how: int, signals: set[Any]) -> set[Any]:
    """Change the signals that are blocked; returns those that were."""
    return signal.pthread_sigmask(how, signals) if hasattr(signal, "pthread_sigmask") else set()


def _end_with(process: BaseProcess) -> None:
    process.join()
    os._exit(1)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
