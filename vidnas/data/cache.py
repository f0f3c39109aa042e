"""Decoded frames of a whole list in one uint8 memory map, for data sets that fit in memory.

A cache is a folder: `frames.bin` (all frames, packed), `times.npy` (when each starts) and `manifest.json` (which
files, how large and how old, at which short side). It is used only if all of that still holds, otherwise built
anew. A build works in a second folder that is renamed when complete, under a lock: processes that start together
wait for the first one, and what a killed build left behind is removed by the next. Builds also remove what nobody uses
(`vidnas.data.old_caches`).

A video that cannot be decoded from end to end is not held. Its frames come from the file, so that what can be read of
it is the same with a cache and without one.
"""

import errno
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from vidnas.base.errors import VidnasError
from vidnas.base.log import log, note_once
from vidnas.data.decode import BrokenVideo, VideoInfo, read_all
from vidnas.data.frame_map import mapped, mark
from vidnas.data.index import VideoIndex, as_facts, describe_notices, index_videos, worker_threads
from vidnas.data.old_caches import FRAMES, MANIFEST, TIMES, mark_used, remove_unused
from vidnas.data.reader import FileReader, Reader, limit
from vidnas.data.stamp import FileStamp

# To be raised with every change of what `vidnas.data.survey`, `probe` or `decode` find in a file.
VERSION = 2
MIB = 2**20


class _TooLarge(Exception):
    """The frames do not fit; the argument says why."""


def default_cache_dir() -> Path | None:
    """`$XDG_CACHE_HOME/vidnas`, or `~/.cache/vidnas`; None for a user without a home."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():  # the rule says to ignore others
        return named / "vidnas"
    try:
        return Path.home() / ".cache" / "vidnas"
    except RuntimeError:
        return None


def open_reader(
    paths: Iterable[Path],
    short_side: int,
    *,
    budget_mib: float = 2048,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Reader:
    """A cache of these files' frames if they fit, built now if there is none yet; else a reader of the files.

    Args:
        paths: the videos, in any order, repeats allowed.
        short_side: largest short side in pixels; larger frames are scaled down to it.
        budget_mib: memory that the frames may take; 0 for no cache.
        cache_dir: folder of caches; `default_cache_dir()` if None, and no cache where that cannot be written.
        workers: decoding threads of the build; one per core if None.
        progress: show a bar while building (on a terminal).

    Raises:
        VidnasError: the cache folder that was named cannot be written.
    """
    stamps = [FileStamp.of(path) for path in sorted(set(paths))]
    parent = cache_dir or default_cache_dir()
    workers = workers or os.cpu_count() or 1
    if budget_mib > 0 and stamps and parent is not None:
        reader = _cached(stamps, short_side, int(budget_mib * MIB), parent, workers, progress)
    else:
        reader = FileReader(short_side, index_videos(stamps, workers=workers, progress=progress))
        if budget_mib > 0 and stamps:
            note_once(
                "no frame cache, as there is no home folder for it; videos are decoded as needed, or name --cache-dir"
            )
    if reader.notices:
        note_once(describe_notices(reader.notices))
    return reader


def _cached(
    stamps: Sequence[FileStamp], short_side: int, budget: int, parent: Path, workers: int, progress: bool
) -> Reader:
    """See `open_reader`; `budget` is in bytes."""
    paths = [stamp.path for stamp in stamps]
    # A cache is found by what was asked for and what decodes; the sizes and ages in the manifest say whether it still
    # holds.
    decoder = VERSION, av.__version__, av.library_versions
    folder = parent / _digest(decoder, [field.name for field in fields(VideoInfo)], short_side, paths)
    kept = parent / f"{_digest(decoder, paths)}.videos.json"
    index: VideoIndex | None = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            mark_used(folder, kept)
            cache = _load(folder, stamps, short_side)
            if cache is None or _some_mended(cache):
                index = index_videos(stamps, kept=kept, workers=workers, progress=progress)
                _build(folder, stamps, index, short_side, budget, workers, progress)
                cache = _load(folder, stamps, short_side)
                remove_unused(parent)
    except _TooLarge as reason:
        log.debug("no frame cache: %s; videos are decoded as needed", reason)
        cache = None
    except OSError as error:
        cache = _load(folder, stamps, short_side)  # made when it still could be written
        if cache is None and parent != default_cache_dir():
            raise VidnasError(
                f"{parent}: cannot write the frame cache ({error.strerror or error}): free some space, name another "
                "--cache-dir, or do without by --memory-budget-mib 0"
            ) from error
        if cache is None:
            cause = error.strerror or str(error)
            cause = cause[:1].lower() + cause[1:]
            note_once(
                f"no frame cache in {parent} ({cause}); videos are decoded as needed, or name another --cache-dir"
            )
    if cache is None:  # a file that changes while the cache is built makes it stale at once
        return FileReader(short_side, index or index_videos(stamps, workers=workers, progress=progress))
    return cache


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class FrameCache:
    """Reader of a complete cache; see `vidnas.data.reader.Reader`."""

    def __init__(self, folder: Path, videos: list[dict[str, Any]], short_side: int) -> None:
        self._file = folder / FRAMES
        self._mark = mark(self._file.stat())
        self._videos = {Path(video["path"]): video for video in videos}
        self._times = np.load(folder / TIMES, allow_pickle=False)
        self._map: np.ndarray | None = mapped(self._file, self._mark)
        self.broken = {path: str(video["broken"]) for path, video in self._videos.items() if "broken" in video}
        noted = {path: video["info"]["notice"] for path, video in self._videos.items() if "info" in video}
        self.notices = {path: str(notice) for path, notice in noted.items() if notice is not None}
        loose = {path: self.info(path) for path, video in self._videos.items() if self._is_loose(video)}
        self._files = FileReader(short_side, VideoIndex(loose, {}))

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes map the file themselves; a pickled map would be a copy of all frames."""
        return self.__dict__ | {"_map": None}

    def release(self) -> None:
        """Let go of the frames until some are asked for again."""
        self._map = None

    def info(self, path: Path) -> VideoInfo:
        """See `Reader`."""
        if path in self.broken:
            raise BrokenVideo(path, self.broken[path])
        return VideoInfo(path=path, **self._videos[path]["info"])

    def read(self, path: Path, times_sec: Sequence[float]) -> np.ndarray:
        """See `Reader`."""
        info, video = self.info(path), self._videos[path]
        if self._is_loose(video):
            return self._files.read(path, times_sec)
        count, height, width = video["shape"]
        starts = self._times[video["first"] : video["first"] + count]
        # The rule of decode.read_frames: the last frame that starts at or before the time, else the first.
        places = np.searchsorted(starts, np.asarray(times_sec) + info.slack_sec, side="right") - 1
        if self._map is None:
            self._map = mapped(self._file, self._mark)
        frames = self._map[video["offset"] : video["offset"] + count * height * width * 3]
        return np.asarray(frames.reshape(count, height, width, 3)[np.maximum(places, 0)])

    @staticmethod
    def _is_loose(video: Mapping[str, Any]) -> bool:
        """Whether a video can be used and its frames are not held."""
        return "info" in video and not video["shape"][0]


def _load(folder: Path, stamps: Sequence[FileStamp], short_side: int) -> FrameCache | None:
    """The cache in a folder, or None if there is none that holds exactly these files."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        held = [FileStamp(video["path"], video["size"], video["mtime_ns"]) for video in manifest["videos"]]
        if held != list(stamps) or (folder / FRAMES).stat().st_size != manifest["bytes"]:
            return None
        return FrameCache(folder, manifest["videos"], short_side)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _some_mended(cache: FrameCache) -> bool:
    """Whether a file can be used that could not when the cache was made, for a cause that has passed."""
    return bool(index_videos([FileStamp.of(path) for path in cache.broken], progress=False).infos)


def _build(
    folder: Path,
    stamps: Sequence[FileStamp],
    index: VideoIndex,
    short_side: int,
    budget: int,
    workers: int,
    progress: bool,
) -> None:
    """Decode everything into a temporary folder and rename it to `folder`.

    Raises:
        _TooLarge: the frames exceed the budget in bytes.
        OSError: the disk has no space for them or cannot be written.
    """
    _check_size(index, short_side, budget, shutil.disk_usage(folder.parent).free)
    temporary = folder.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        videos: list[dict[str, Any]] = []
        times: list[np.ndarray] = []
        offset = first = 0
        with (temporary / FRAMES).open("wb") as out, worker_threads(workers) as pool:
            decoded = _in_order(pool, [Path(stamp.path) for stamp in stamps], index, short_side, ahead=2 * workers)
            bar = tqdm(decoded, "decoding once", len(stamps), unit="video", disable=None if progress else True)
            for stamp, (facts, frames, starts) in zip(stamps, bar, strict=True):
                place = {"offset": offset, "first": first, "shape": frames.shape[:3]}
                videos.append({**stamp._asdict(), **place, **facts})
                times.append(starts)
                offset += frames.nbytes
                first += len(starts)
                if offset > budget:
                    raise _TooLarge(f"the frames take more than {budget // MIB} MiB")
                out.write(frames.reshape(-1).data)
        np.save(temporary / TIMES, np.concatenate(times))
        (temporary / MANIFEST).write_text(json.dumps({"bytes": offset, "videos": videos}), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _check_size(index: VideoIndex, short_side: int, budget: int, free: int) -> None:
    """Refuse more than the budget or the disk holds, both in bytes.

    Raises:
        _TooLarge: the budget.
        OSError: the disk.
    """
    total = sum(_expected_bytes(info, short_side) for info in index.infos.values())
    if total > budget:
        raise _TooLarge(f"the frames take more than {budget // MIB} MiB")
    if total > free:
        what = f"the frames take {total / MIB:.0f} MiB, and {free // MIB} are free on the disk"
        raise OSError(errno.ENOSPC, what)


def _expected_bytes(info: VideoInfo, short_side: int) -> int:
    scale = (limit(info, short_side) or min(info.width, info.height)) / min(info.width, info.height)
    return info.frames * round(info.width * scale) * round(info.height * scale) * 3


Decoded = tuple[dict[str, Any], np.ndarray, np.ndarray]


def _decode(path: Path, index: VideoIndex, short_side: int) -> Decoded:
    """What the manifest says of a file (its info, or why it is broken), its frames and their start times.

    One that cannot be decoded from end to end has no frames.
    """
    nothing = np.empty((0, 0, 0, 3), np.uint8), np.empty(0)
    if path in index.broken:
        return {"broken": index.broken[path]}, *nothing
    info = index.infos[path]
    try:
        film = read_all(info, short_side=limit(info, short_side))
    except BrokenVideo:
        return as_facts(info), *nothing
    return as_facts(replace(info, notice=film.notice)), film.frames, film.starts_sec


def _in_order(
    pool: ThreadPoolExecutor, paths: Sequence[Path], index: VideoIndex, short_side: int, ahead: int
) -> Iterator[Decoded]:
    """Decode in parallel, at most `ahead` files before the one that is taken, so that memory stays bounded."""
    remaining = iter(paths)
    running: deque[Future[Decoded]] = deque()
    while True:
        for path in islice(remaining, ahead - len(running)):
            running.append(pool.submit(_decode, path, index, short_side))
        if not running:
            return
        yield running.popleft().result()
