"""Processes beside the main one: how they start, how they end with it, and work on files that may kill them."""

import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_all_start_methods, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from vidnas.base.errors import OutOfMemory, VidnasError
from vidnas.base.interrupt import CAUGHT, Interrupted, StopSignals

Key = TypeVar("Key")
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
    """Results of `work` in the order of the jobs, as `run_wanted`; `done` gets the place of each.

    Raises:
        VidnasError: processes do not start here.
    """
    found: dict[int, Result] = {}
    given = enumerate(jobs)

    def keep(place: int, result: Result) -> None:
        found[place] = result
        done(place, result)

    run_wanted(work, lambda: next(given, None), workers, dead=dead, done=keep, grace_sec=grace_sec)
    return [found[place] for place in range(len(jobs))]


def run_wanted(
    work: Callable[[Job], Result],
    wanted: Callable[[], tuple[Key, Job] | None],
    workers: int,
    *,
    dead: Result,
    done: Callable[[Key, Result], object],
    again: Callable[[Job], Job] | None = None,
    starved: Callable[[Result], bool] | None = None,
    grace_sec: float = 0.0,
) -> None:
    """Have processes do jobs until no more is wanted; the death of a process is a result too.

    A process may also be ended from outside, as where memory runs out. So a job that a process died of is tried once
    more when nothing else is left, with nothing beside it. What `work` raises ends everything, with a note of where it
    was raised. Jobs and results go through pipes, so no shared memory is needed, and it is known which job a process
    died of.

    Args:
        work: a function at the top level of its module.
        wanted: a job and what it is called by here; asked whenever a process is free. None is for nothing at present:
            results that are still to come may make more wanted.
        workers: processes; they start when there is work for them, and stay.
        dead: the result of a job that takes its process down twice.
        done: called here with the name and the result of each job as it ends.
        again: the job as it is tried for the second time; None leaves it as it is.
        starved: whether a result says that memory was short, so that the job is tried again like one that was killed.
        grace_sec: what a process gets, after a SIGTERM, to save its work when it has to end before its job does; with
            one it may have processes of its own.

    Raises:
        VidnasError: processes do not start here.
    """
    crew: list[_Worker[Key, Job, Result]] = []
    died: deque[tuple[Key, Job]] = deque()

    def give(ticket: tuple[Key, Job], *, again: bool) -> None:
        worker = next((one for one in crew if one.ticket is None), None)
        if worker is None:
            worker = _Worker(work, grace_sec)
            crew.append(worker)
        worker.take(ticket, again=again)

    try:
        while True:
            busy = [worker for worker in crew if worker.ticket is not None]
            alone = any(worker.again for worker in busy)
            while not alone and len(busy) < workers and (ticket := wanted()) is not None:
                give(ticket, again=False)
                busy = [worker for worker in crew if worker.ticket is not None]
            if not busy and not died:
                return
            if not busy:
                give(died.popleft(), again=True)
                continue
            for connection in wait([worker.connection for worker in busy]):
                worker = next(one for one in busy if one.connection is connection)
                assert worker.ticket is not None
                key, job = worker.ticket
                try:
                    answer = worker.answer()
                except _Died:
                    crew.remove(worker)
                    worker.end()
                    if not worker.ready:
                        raise VidnasError("worker processes do not start here, or were ended") from None
                    outcome, failed = dead, True
                else:
                    if answer is None:
                        continue  # it has begun
                    (outcome,) = answer
                    failed = starved is not None and starved(outcome)
                if failed and not worker.again:
                    died.append((key, again(job) if again else job))
                else:
                    done(key, outcome)
    finally:
        for worker in crew:
            worker.ask_to_end()
        for worker in crew:
            worker.end()


class _Died(Exception):
    """A worker process has ended before its job."""


class _Worker(Generic[Key, Job, Result]):
    """A process that does one job after another.

    Attributes:
        connection: takes jobs; gives None when the process is ready, then their outcomes.
        ticket: the job that it does, and what that is called by.
        again: whether the job is tried for the second time.
        ready: whether it has started.
    """

    def __init__(self, work: Callable[[Job], Result], grace_sec: float) -> None:
        self.ticket: tuple[Key, Job] | None = None
        self.again = self.ready = False
        self.grace_sec = grace_sec
        context = preloading(work.__module__)
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, work), daemon=not grace_sec)  # type: ignore[attr-defined]
        with starting_processes():
            self._process.start()
        other.close()

    def take(self, ticket: tuple[Key, Job], *, again: bool) -> None:
        """Have it do a job, as soon as it is ready."""
        self.ticket, self.again = ticket, again
        if self.ready:
            self._send()

    def _send(self) -> None:
        """That it has died meanwhile shows when it is asked for an answer."""
        assert self.ticket is not None
        with suppress(ConnectionError):
            self.connection.send(self.ticket[1])

    def answer(self) -> tuple[Result] | None:
        """The result of its job; None is the first answer, which only says that it is ready.

        Raises:
            _Died: the process has died.
            Exception: what the work raised.
        """
        try:
            outcome, failure = self.connection.recv()
        except (EOFError, OSError) as error:  # the second in the middle of a message
            raise _Died from error
        if failure is not None:
            raise failure
        if not self.ready:
            self.ready = True
            self._send()
            return None
        self.ticket = None
        return (outcome,)

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
            except Interrupted:
                return  # by a signal to this process alone, as from what watches over memory: it has died
            except Exception as error:
                if not isinstance(error, VidnasError):
                    error.add_note(f"in a worker process:\n{traceback.format_exc()}")
                outcome = (None, error)
    except (EOFError, OSError):
        pass  # the main process is gone


def preloading(module: str) -> BaseContext:
    """Starts processes from a server that imports this module once, before it starts: each then takes milliseconds.

    Not from this process: decoders, OpenMP and loggers hold threads and locks here, which a fork would copy in whatever
    state they are. Where the system has no such server, every process imports for itself. What the first one asked for
    stays; the others import what is missing.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


@contextmanager
def starting_processes() -> Iterator[None]:
    """Let processes that start meanwhile never hear of Ctrl-C and the like, which often go to a whole process group.

    The main process may still need their work to come to the end of its step, and ends them itself. Signals to the
    main process wait until the start is done: cut in the middle, the new process would break with a traceback.

    Raises:
        OutOfMemory: the system has no means for them.
    """
    with StopSignals():
        # The mask is inherited by whatever starts. The tracker unblocks signals when it starts.
        resource_tracker.ensure_running()
        before = _mask(signal.SIG_BLOCK, set(CAUGHT))
        try:
            yield
        except (OSError, EOFError) as error:  # the second where the server that starts them could not
            reason = (getattr(error, "strerror", None) or str(error) or "what starts them has ended").lower()
            raise OutOfMemory(
                f"worker processes cannot start ({reason}): they need memory, shared memory (/dev/shm) included; give "
                "more of it (docker run --shm-size=2g), or use --workers 0"
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
