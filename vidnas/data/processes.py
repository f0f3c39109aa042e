"""Work on many files in parallel processes, some of which may not survive their file."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_apart(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    *,
    dead: Result,
    done: Callable[[int, Result], object],
) -> list[Result]:
    """Results of `work` in the order of the jobs, from processes whose death is a result too.

    What `work` raises ends everything.

    Args:
        work: a function at the top level of its module.
        jobs: its arguments.
        workers: processes.
        dead: the result of a job that takes its process down.
        done: called here with the place and the result of each job as it ends.
    """
    pool = _Pool(work, jobs, done)
    ahead = 2 * workers
    waiting = list(range(len(jobs)))
    while waiting:
        pool.run(waiting, workers)
        waiting = [i for i in waiting if i not in pool.found]
        # If a process died, one of the first still waiting did it; each of them now gets a process of its own.
        for i in waiting[:ahead]:
            pool.run([i], 1)
            if i not in pool.found:
                pool.keep(i, dead)
        waiting = waiting[ahead:]
    return [pool.found[i] for i in range(len(jobs))]


class _Pool(Generic[Job, Result]):
    """Results so far, by place."""

    def __init__(
        self, work: Callable[[Job], Result], jobs: Sequence[Job], done: Callable[[int, Result], object]
    ) -> None:
        self.work = work
        self.jobs = jobs
        self.done = done
        self.found: dict[int, Result] = {}

    def keep(self, place: int, result: Result) -> None:
        """Take a result down."""
        self.found[place] = result
        self.done(place, result)

    def run(self, places: Sequence[int], workers: int) -> None:
        """Do these jobs, or those that end before a process dies."""
        running: dict[Future[Result], int] = {}
        todo = iter(places)
        pool = ProcessPoolExecutor(min(workers, len(places)), get_context("spawn"), initializer=_die_quietly)
        try:
            # A pool that cannot even do this says nothing about the files.
            _submit(pool, os.getpid).result()
        except BrokenProcessPool as error:
            raise RuntimeError("worker processes do not start") from error
        try:
            while True:
                for place in islice(todo, 2 * workers - len(running)):
                    running[_submit(pool, self.work, self.jobs[place])] = place
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    self.keep(running.pop(future), future.result())
        except BrokenProcessPool:
            return
        finally:
            pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Callable[..., Result], *arguments: Any) -> "Future[Result]":
    """Submit with Ctrl-C held back, so that a process started by it is not hit before `_die_quietly`."""
    with _interrupts_held():
        return pool.submit(work, *arguments)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_quietly() -> None:
    """Leave a worker without a traceback on Ctrl-C, which the terminal sends to all processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
