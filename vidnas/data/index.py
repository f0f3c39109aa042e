"""What each video of a list holds, found out once for all of them and kept beside the caches of frames."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file
from vidnas.data.container import BrokenVideo
from vidnas.data.probe import VideoInfo, probe
from vidnas.data.stamp import FileStamp

_NAMED = 3


@dataclass(frozen=True)
class VideoIndex:
    """The videos that can be used, and why the others cannot.

    Attributes:
        infos: what the good ones hold.
        broken: the causes of the others.
    """

    infos: Mapping[Path, VideoInfo]
    broken: Mapping[Path, str]

    @property
    def notices(self) -> dict[Path, str]:
        """What the user should know of videos that can be used."""
        return {path: info.notice for path, info in self.infos.items() if info.notice is not None}


def index_videos(
    stamps: Sequence[FileStamp], *, kept: Path | None = None, workers: int | None = None, progress: bool = True
) -> VideoIndex:
    """Probe videos in threads, but for those that could be used at an earlier call and have not changed since.

    One that could not is tried again: the cause may have passed, as too many open files or an absent disk does.

    A file whose own index does not tell its length is read through for it (`vidnas.data.survey`), so this may take
    as long as reading the videos from the disk; hence it is kept.

    Args:
        stamps: the files as they are now.
        kept: file that an earlier call wrote, and this one writes, about videos that can be used; None keeps nothing.
            Where it cannot be written, nothing is kept.
        workers: threads; one per core if None.
        progress: show a bar on a terminal.
    """
    known = {} if kept is None else _load(kept)
    unknown = [stamp for stamp in stamps if stamp not in known]
    if unknown:
        with worker_threads(workers or os.cpu_count() or 1) as pool:
            facts = pool.map(lambda stamp: facts_of(Path(stamp.path)), unknown)
            bar = tqdm(facts, "looking at videos", len(unknown), unit="video", disable=None if progress else True)
            known |= dict(zip(unknown, bar, strict=True))
        if kept is not None and any(_is_good(known[stamp]) for stamp in unknown):
            _save(kept, {stamp: known[stamp] for stamp in stamps if _is_good(known[stamp])})
    return index_of({stamp: known[stamp] for stamp in stamps})


@contextmanager
def worker_threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that begin nothing more once the work is done, or an error or a signal has ended it."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def facts_of(path: Path) -> dict[str, Any]:
    """What a file holds or why it cannot be used, as builtins."""
    try:
        return as_facts(probe(path))
    except BrokenVideo as error:
        return {"broken": error.cause}


def as_facts(info: VideoInfo) -> dict[str, Any]:
    """What a file holds, as builtins."""
    return {"info": {name: value for name, value in asdict(info).items() if name != "path"}}


def _is_good(facts: Mapping[str, Any]) -> bool:
    return "info" in facts


def index_of(facts: Mapping[FileStamp, Mapping[str, Any]]) -> VideoIndex:
    """The reverse of `facts_of` for many files."""
    infos: dict[Path, VideoInfo] = {}
    broken: dict[Path, str] = {}
    for stamp, fact in facts.items():
        path = Path(stamp.path)
        if _is_good(fact):
            infos[path] = VideoInfo(path=path, **fact["info"])
        else:
            broken[path] = str(fact["broken"])
    return VideoIndex(infos, broken)


def describe_notices(notices: Mapping[Path, str]) -> str:
    """One line: the first videos with what the user should know of them, and how many more there are."""
    named = "; ".join(f"{path}: {notice}" for path, notice in list(notices.items())[:_NAMED])
    more = f"; and {len(notices) - _NAMED} more (`vidnas data check` lists them)" if len(notices) > _NAMED else ""
    return f"{named}{more}"


def _load(file: Path) -> dict[FileStamp, dict[str, Any]]:
    try:
        facts = {FileStamp(*stamp): fact for stamp, fact in json.loads(file.read_text(encoding="utf-8"))}
        index_of(facts)  # of another version, it may have other fields
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return facts


def _save(file: Path, facts: Mapping[FileStamp, Mapping[str, Any]]) -> None:
    with contextlib.suppress(VidnasError):
        replace_file(file, json.dumps(list(facts.items())), shared=True)
