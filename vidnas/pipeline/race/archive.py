"""The archive of a race: one line per trial that has ended, so that no training is done twice."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.base.files import RESUME, replace_file
from vidnas.search.archive import cut
from vidnas.search.race import Score

# Of a curve that are kept.
_POINTS = 20


@dataclass(frozen=True)
class TrialEntry:
    """A trial of a race.

    Attributes:
        network: content hash of the spec.
        name: of the spec.
        source: where the network came from.
        clip: frames x size, and how frames are taken.
        macs: of one clip.
        params: number of parameters.
        fold: that judged it.
        seed: of its training.
        steps: of its training.
        headline: the task's figure on the fold; None where it failed.
        log_likelihood: mean per video of the fold; None where it failed.
        curve: step and training loss along the way.
        sec: that it took.
        failure: why there is no result, in one line.
        starved: whether it failed for want of memory.
        videos: of the fold that could be read; 0 where it failed.
        videos_hash: digest of which.
    """

    network: str
    name: str
    source: str
    clip: str
    macs: int
    params: int
    fold: int
    seed: int
    steps: int
    headline: float | None
    log_likelihood: float | None
    curve: tuple[tuple[int, float], ...]
    sec: float
    failure: str | None = None
    starved: bool = False
    videos: int = 0
    videos_hash: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes it this trial of the race."""
        return self.network, self.fold, self.seed

    @property
    def score(self) -> Score | None:
        """On the fold; None where it failed."""
        if self.headline is None or self.log_likelihood is None:
            return None
        return Score(self.headline, self.log_likelihood)


class TrialArchive:
    """What has been tried, in a file that grows by a line per trial.

    Args:
        path: the file; made if missing. A torn last line, of a killed race, is cut off. Of two lines of a trial the
            later one counts.
        again: trials that failed for want of memory are not known: there may be more by now.

    Attributes:
        entries: by key.

    Raises:
        VidnasError: a line is not of a trial; the message has its number.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        cut(path)
        known = {entry.key: entry for entry in read_trials(path)}
        self.entries = {key: entry for key, entry in known.items() if not (again and entry.starved)}

    def add(self, entry: TrialEntry) -> None:
        """Write one line, to the disk: the training's own files may go then.

        Raises:
            VidnasError: the disk is full or gone.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(entry))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise VidnasError(f"{self.path}: cannot be written ({error.strerror}); {RESUME}") from error
        self.entries[entry.key] = entry

    def drop(self, entries: Iterable[TrialEntry]) -> None:
        """Take these out, so that their trials are run again."""
        for entry in entries:
            del self.entries[entry.key]
        replace_file(self.path, "".join(map(_line, self.entries.values())))


def _line(entry: TrialEntry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def read_trials(path: Path) -> Iterator[TrialEntry]:
    """All entries in order.

    Raises:
        VidnasError: a line is not of a trial.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            data = json.loads(line)
            yield TrialEntry(**{**data, "curve": tuple((int(step), float(loss)) for step, loss in data["curve"])})
        except (ValueError, TypeError, KeyError) as error:
            names = ", ".join(field.name for field in fields(TrialEntry))
            raise VidnasError(f"{path}, line {number}: not a trial of a race with {names}") from error


def training_curve(metrics: Path) -> tuple[tuple[int, float], ...]:
    """Step and training loss from the metrics of a training, about twenty of them."""
    if not metrics.exists():
        return ()
    points = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        if "loss" in values:
            points.append((int(values["step"]), float(values["loss"])))
    return tuple(points[:: max(1, len(points) // _POINTS)])
