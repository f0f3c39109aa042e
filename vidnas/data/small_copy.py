"""A copy of a data set with every video written small: a data set of its own, made in parallel, never stale unseen."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from vidnas.base.errors import VidnasError
from vidnas.base.files import ANOTHER_PLACE, replace_file
from vidnas.data.container import BrokenVideo
from vidnas.data.encode import SmallForm, write_small
from vidnas.data.formats import Sample, VideoList, list_texts
from vidnas.data.manifest import (
    MANIFEST,
    Entry,
    Manifest,
    add_entry,
    foreign_lists,
    is_copy,
    load_manifest,
    text_hash,
)
from vidnas.data.parts import find_part
from vidnas.data.processes import CRASHED, cores, run_apart
from vidnas.data.stamp import Stamp

_LOCK, _UNFINISHED = ".lock", ".unfinished"
_LISTS = ("train.csv", "test.csv", "classes.txt")
_MEND = "make it anew with --rebuild, or name another folder"


@dataclass(frozen=True)
class CopyReport:
    """What a build did.

    Attributes:
        entries: every video of the data set.
        made: videos written now.
        changed: those of them that had been written before and whose source has changed since.
        removed: videos taken out, as the data set has them no more.
        listed: the data set's lists, by name.
        lists: what was written of them.
    """

    entries: tuple[Entry, ...]
    made: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    listed: Mapping[str, VideoList]
    lists: Mapping[str, VideoList]

    @property
    def unreadable(self) -> tuple[Entry, ...]:
        """Videos that cannot be used, with their causes; the lists do not have them."""
        return tuple(entry for entry in self.entries if entry.cause is not None)


def make_copy(
    parts: Mapping[str, VideoList],
    data: Path,
    out: Path,
    form: SmallForm,
    *,
    workers: int | None = None,
    rebuild: bool = False,
    progress: bool = True,
) -> CopyReport:
    """Write what is missing or out of date in the copy, then its lists.

    A killed build goes on where it was: a video counts once its file has its name and the manifest its line.

    Args:
        parts: the data set's lists by name (`train`, `test`).
        data: the data set, a folder or a CSV file.
        out: folder of the copy.
        form: how to write videos.
        workers: processes; None takes as many as there are cores.
        rebuild: make all of it anew, whatever is there.
        progress: show a bar, if standard error is a terminal.

    Raises:
        VidnasError: a folder that will not do, a copy made with other settings or of something else, another build
            at work there, a full disk.
    """
    data, out = data.resolve(), out.resolve()
    source = data if data.is_dir() else data.parent
    own_lists = _own_lists(data)
    _check_folder(source, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _only_build(out):
            _check_lists(out)
            if rebuild:
                _clear(out)
            return _Build(parts, source, own_lists, out, form).run(workers or cores(), progress)
    except OSError as error:
        raise VidnasError(
            f"{out}: cannot be written ({error.strerror or error}): free some space or name another folder; what is "
            "done stays done"
        ) from error


def _own_lists(data: Path) -> tuple[str, ...]:
    """Names of the files that a data set's lists come from, or would come from."""
    if data.is_file():
        return data.name, "classes.txt"
    found = {part: find_part(data, part) for part in ("train", "test", "val")}
    stand_in = None if found["test"] else found["val"]
    lists = [
        found["train"] or data / "train.csv",
        found["test"] or data / "test.csv",
        *([stand_in] if stand_in else []),
    ]
    return (*(path.name for path in lists), "classes.txt")


def _check_folder(source: Path, out: Path) -> None:
    if out.is_relative_to(source):
        raise VidnasError(f"{out}: lies in the data set {source}; name a folder outside of it")
    if out.exists() and not out.is_dir():
        raise VidnasError(f"{out}: is a file; name a folder")
    if out.is_dir() and not is_copy(out) and {p.name for p in out.iterdir()} - {_LOCK, _UNFINISHED}:
        raise VidnasError(f"{out}: holds other things than a copy of a data set; name a new folder or an empty one")


def _check_lists(out: Path) -> None:
    if changed := foreign_lists(out, _LISTS):
        raise VidnasError(
            f"{out}: {', '.join(changed)}: not as `vidnas data cache` wrote it; move it away or name another folder"
        )


@contextmanager
def _only_build(out: Path) -> Iterator[None]:
    try:
        with FileLock(out / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise VidnasError(f"{out}: another `vidnas data cache` is at work there; wait for it") from error


def _clear(out: Path) -> None:
    """Remove what a manifest accounts for; where it cannot be read, only the lists and itself."""
    try:
        manifest = load_manifest(out)
    except VidnasError:
        manifest = None
    _remove(out, manifest.entries.values() if manifest else ())
    for name in (*_LISTS, MANIFEST):
        (out / name).unlink(missing_ok=True)


class _Build:
    """One run over a data set.

    Args:
        parts: its lists by name.
        source: its folder.
        own_lists: names of the files that its lists come from, where they are there.
        out: folder of the copy.
        form: how to write videos.

    Raises:
        VidnasError: a video lies outside of the folder.
    """

    def __init__(
        self, parts: Mapping[str, VideoList], source: Path, own_lists: Sequence[str], out: Path, form: SmallForm
    ) -> None:
        self.parts = parts
        self.source = source
        self.list_stamps = {name: Stamp.of(source / name) for name in own_lists}
        self.out = out
        self.form = form
        paths = {self.name(sample): sample.path for videos in parts.values() for sample in videos.samples}
        self.wanted = {name: (path, Stamp.of(path)) for name, path in paths.items()}

    def name(self, sample: Sample) -> str:
        """The path of a video in the data set."""
        if not sample.path.is_relative_to(self.source):
            raise VidnasError(f"{sample.path}: lies outside of {self.source}; copy it there")
        return sample.path.relative_to(self.source).as_posix()

    def run(self, workers: int, progress: bool) -> CopyReport:
        """See `make_copy`."""
        earlier = self.earlier()
        before = earlier.entries
        kept = {name: entry for name, entry in before.items() if self.holds(entry)}
        gone = [entry for name, entry in before.items() if name not in self.wanted]
        changed = [n for n, entry in before.items() if n in self.wanted and entry.stamp != self.wanted[n][1]]
        # The old lines stay until their videos are made anew or removed, so that no file is ever unaccounted for.
        earlier.save(self.out)
        made = self.write([name for name in self.wanted if name not in kept], workers, progress)
        entries = {name: made.get(name) or kept[name] for name in self.wanted}
        lists, texts = self.lists_of(entries)
        # What is about to be written is known as ours before it is there.
        manifest = replace(earlier, written={path.name: text_hash(text) for path, text in texts.items()})
        replace(manifest, entries={**before, **entries}).save(self.out)
        for path, text in texts.items():
            replace_file(path, text, mend=ANOTHER_PLACE)
        _remove(self.out, gone)
        replace(manifest, lists=self.list_stamps, entries=entries).save(self.out)
        shutil.rmtree(self.out / _UNFINISHED, ignore_errors=True)
        return CopyReport(
            entries=tuple(entries.values()),
            made=tuple(made),
            changed=tuple(changed),
            removed=tuple(entry.path for entry in gone),
            listed=self.parts,
            lists=lists,
        )

    def earlier(self) -> Manifest:
        """What an earlier build left, or nothing yet.

        Raises:
            VidnasError: made with other settings, or of another data set.
        """
        settings = self.form.settings()
        origin = Path(os.path.relpath(self.source, self.out)).as_posix()
        manifest = load_manifest(self.out)
        if manifest is None:
            return Manifest(origin, settings, {}, {}, {})
        if dict(manifest.settings) != settings:
            there, asked = (", ".join(f"{k} {v}" for k, v in s.items()) for s in (manifest.settings, settings))
            raise VidnasError(f"{self.out}: made with {there}, not {asked}; give the same settings, {_MEND}")
        known = any(n in self.wanted and e.stamp == self.wanted[n][1] for n, e in manifest.entries.items())
        if manifest.source != origin and manifest.entries and not known:
            raise VidnasError(f"{self.out}: a copy of {manifest.source}, not of {self.source}; {_MEND}")
        return replace(manifest, source=origin)

    def holds(self, entry: Entry) -> bool:
        """Whether nothing is left to do for a video: its source is as it was, and so is what was written.

        One that took its process down is tried again, since that may have had other causes.
        """
        if entry.cause == CRASHED:
            return False
        if entry.path not in self.wanted or self.wanted[entry.path][1] != entry.stamp:
            return False
        return entry.file is None or Stamp.of(self.out / entry.file).size == entry.bytes

    def write(self, names: Sequence[str], workers: int, progress: bool) -> dict[str, Entry]:
        """Write videos in parallel; each is in the manifest as soon as it is done."""
        shutil.rmtree(self.out / _UNFINISHED, ignore_errors=True)
        (self.out / _UNFINISHED).mkdir()
        jobs = [_Job(name, *self.wanted[name], self.out, self.form) for name in names]
        made: dict[str, Entry] = {}
        bar = tqdm(total=len(jobs), desc="writing small", unit="video", disable=None if progress else True)

        def keep(place: int, outcome: "_Outcome") -> None:
            made[names[place]] = jobs[place].entry(outcome)
            add_entry(self.out, made[names[place]])
            bar.update()

        with bar:
            run_apart(_write_one, jobs, workers, dead=_Outcome(CRASHED), done=keep)
        return made

    def lists_of(self, entries: Mapping[str, Entry]) -> tuple[dict[str, VideoList], dict[Path, str]]:
        """Lists of the videos that can be used, and the texts of their files; those of earlier builds are removed."""
        for name in _LISTS:
            (self.out / name).unlink(missing_ok=True)
        lists: dict[str, VideoList] = {}
        texts: dict[Path, str] = {}
        for part, videos in self.parts.items():
            files = [(sample, entries[self.name(sample)].file) for sample in videos.samples]
            samples = tuple(replace(sample, path=self.out / file) for sample, file in files if file is not None)
            lists[part] = VideoList(self.out, samples, videos.classes, multi_label=videos.multi_label)
            if samples:
                texts |= list_texts(lists[part], self.out / f"{part}.csv")
        return lists, texts


@dataclass(frozen=True)
class _Outcome:
    """Why a video could not be used, or how many bytes were written and what the user should know of it."""

    cause: str | None = None
    bytes: int = 0
    notice: str | None = None


@dataclass(frozen=True)
class _Job:
    """One video to write."""

    name: str
    path: Path
    stamp: Stamp
    out: Path
    form: SmallForm

    @property
    def file(self) -> str:
        """What is written, from the folder of the copy; the suffix is added, so that no two are the same."""
        return self.name + self.form.suffix

    def entry(self, outcome: _Outcome) -> Entry:
        """The line of the manifest."""
        file = self.file if outcome.cause is None else None
        about = outcome.bytes, outcome.cause, outcome.notice
        return Entry(self.name, self.stamp.size, self.stamp.mtime_ns, file, *about)


def _write_one(job: _Job) -> _Outcome:
    """Write a video under another name and rename it; in a worker process. Only the disk's faults are raised."""
    unfinished = job.out / _UNFINISHED / sha256(job.name.encode()).hexdigest()[:32]
    target = job.out / job.file
    try:
        notice = write_small(job.path, unfinished, job.form)
    except Exception as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise
        target.unlink(missing_ok=True)
        return _Outcome(error.cause if isinstance(error, BrokenVideo) else f"cannot be encoded ({_in_words(error)})")
    size = unfinished.stat().st_size
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished.replace(target)
    return _Outcome(None, size, notice)


def _in_words(error: Exception) -> str:
    """One line, with the kind of error, which alone may say it."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))


def _remove(out: Path, entries: Iterable[Entry]) -> None:
    """Delete the files of these videos, and folders that are empty then."""
    for entry in entries:
        if entry.file is None:
            continue
        file = out / entry.file
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == out or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
