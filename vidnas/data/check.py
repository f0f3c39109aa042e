"""Decode every video of a list once and tell which are of no use."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from vidnas.data.decode import BrokenVideo, probe
from vidnas.data.looks import Look, alike, watch
from vidnas.data.processes import CRASHED, cores, run_apart
from vidnas.data.video_list import VideoList


@dataclass(frozen=True)
class Finding:
    """What one file turned out to be.

    Attributes:
        frames: frames decoded; 0 for a file that cannot be used.
        digest: hash of the file's bytes; None where it cannot be read.
        cause: why the file cannot be used; None where it can.
        look: what it looks like; None for a file that cannot be used.
        notice: what the user should know of a file that can be used: it ends early, its times jump.
    """

    frames: int
    digest: str | None
    cause: str | None = None
    look: Look | None = None
    notice: str | None = None


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
    def noted(self) -> tuple[int, ...]:
        """Places of usable files that the user should know something of."""
        return tuple(i for i, finding in enumerate(self.findings) if finding.notice is not None)

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
    def alike(self) -> tuple[tuple[int, int], ...]:
        """Pairs of places of usable files that look alike without being the same bytes."""
        return tuple(pair for pair in _alike(self, self) if pair[0] < pair[1])

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


def shared_looks(a: Report, b: Report) -> tuple[tuple[int, int], ...]:
    """Pairs of places (in `a`, in `b`) of usable files that look alike without being the same bytes."""
    return tuple(_alike(a, b))


def _alike(a: Report, b: Report) -> Iterator[tuple[int, int]]:
    looks = ([finding.look for finding in report.findings] for report in (a, b))
    return ((i, j) for i, j in alike(*looks) if a.findings[i].digest != b.findings[j].digest)


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
        findings = run_apart(
            examine,
            [sample.path for sample in videos.samples],
            workers or cores(),
            dead=Finding(0, None, CRASHED),
            done=lambda place, finding: bar.update(),
        )
    return Report(videos, tuple(findings), min_frames)


def examine(path: Path) -> Finding:
    """Decode and hash one file."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        digest = None
    try:
        watched = watch(probe(path))
        return Finding(watched.frames, digest, look=watched.look, notice=watched.notice)
    except BrokenVideo as error:
        return Finding(0, digest, error.cause)
