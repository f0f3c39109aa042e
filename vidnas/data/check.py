"""Decode every video of a list once and tell which are of no use."""

import hashlib
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from vidnas.data.decode import BrokenVideo, count_frames
from vidnas.data.formats import VideoList

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """What one file turned out to be.

    Attributes:
        frames: frames decoded; 0 for a file that cannot be used.
        digest: hash of the file's bytes; None where it cannot be read.
        cause: why the file cannot be used; None where it can.
    """

    frames: int
    digest: str | None
    cause: str | None = None


@dataclass(frozen=True)
class Report:
    """The findings of a list, one per sample; places are indices into `videos.samples`."""

    videos: VideoList
    findings: tuple[Finding, ...]
    min_frames: int

    @cached_property
    def unreadable(self) -> tuple[int, ...]:
        """Places of files that cannot be used."""
        return tuple(i for i, finding in enumerate(self.findings) if finding.cause is not None)

    @cached_property
    def too_short(self) -> tuple[int, ...]:
        """Places of usable files with fewer than `min_frames` frames."""
        return tuple(
            i for i, finding in enumerate(self.findings) if finding.cause is None and finding.frames < self.min_frames
        )

    @cached_property
    def duplicates(self) -> tuple[tuple[int, ...], ...]:
        """Places of usable files that hold the same bytes, set by set."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for i, finding in enumerate(self.findings):
            if finding.cause is None and finding.digest is not None:
                places[finding.digest].append(i)
        return tuple(tuple(same) for same in places.values() if len(same) > 1)

    @cached_property
    def good(self) -> tuple[int, ...]:
        """Places to keep: usable and long enough, the first of equal files, none of equal files in two classes."""
        dropped = {*self.unreadable, *self.too_short}
        for same in self.duplicates:
            agree = len({self.videos.labels[i] for i in same}) == 1
            dropped.update(same[1:] if agree else same)
        return tuple(i for i in range(len(self.findings)) if i not in dropped)


def shared(a: Report, b: Report) -> tuple[tuple[int, int], ...]:
    """Pairs of places (in `a`, in `b`) of usable files that hold the same bytes."""
    places = {b.findings[i].digest: i for i in range(len(b.findings)) if b.findings[i].cause is None}
    return tuple(
        (i, places[finding.digest])
        for i, finding in enumerate(a.findings)
        if finding.cause is None and finding.digest in places
    )


def check(videos: VideoList, *, workers: int | None = None, min_frames: int = 2, progress: bool = True) -> Report:
    """Decode all videos of a list in worker processes.

    A file that crashes its worker is found out and counts as unreadable.

    Args:
        videos: the list.
        workers: processes; None takes as many as there are cores for this process.
        min_frames: fewer make a video too short.
        progress: show a bar, if standard error is a terminal.
    """
    bar = tqdm(total=len(videos), desc="decoding", unit="video", disable=None if progress else True)
    with bar:
        findings = run_apart(examine, [sample.path for sample in videos.samples], workers or _cores(), bar.update)
    return Report(videos, tuple(findings), min_frames)


def examine(path: Path) -> Finding:
    """Decode and hash one file."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        digest = None
    try:
        return Finding(count_frames(path), digest)
    except BrokenVideo as error:
        return Finding(0, digest, error.cause)


def run_apart(
    work: Callable[[Path], Finding], paths: Sequence[Path], workers: int, done: Callable[[], object]
) -> list[Finding]:
    """Findings of `work` in the order of the paths, from processes whose death is a finding too.

    Args:
        work: a function at the top level of its module.
        paths: its arguments.
        workers: processes.
        done: called after each path.
    """
    found: dict[int, Finding] = {}
    ahead = 2 * workers
    waiting = list(range(len(paths)))
    while waiting:
        found |= _run_until_death(work, paths, waiting, workers, done)
        waiting = [i for i in waiting if i not in found]
        # If a process died, one of the first still waiting did it; each of them now gets a process of its own.
        for i in waiting[:ahead]:
            alone = _run_until_death(work, paths, [i], 1, done)
            if i not in alone:
                done()
            found[i] = alone.get(i) or Finding(0, None, "crashes the decoder")
        waiting = waiting[ahead:]
    return [found[i] for i in range(len(paths))]


def _run_until_death(
    work: Callable[[Path], Finding],
    paths: Sequence[Path],
    places: Sequence[int],
    workers: int,
    done: Callable[[], object],
) -> dict[int, Finding]:
    """Findings by place; when a process dies, those that were there by then."""
    found: dict[int, Finding] = {}
    running: dict[Future[Finding], int] = {}
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
                running[_submit(pool, work, paths[place])] = place
            if not running:
                return found
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                found[running.pop(future)] = future.result()
                done()
    except BrokenProcessPool:
        return found
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Callable[..., T], *arguments: object) -> "Future[T]":
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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
