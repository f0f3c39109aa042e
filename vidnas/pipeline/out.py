"""Where results may go: not among the videos, nor into the folder of another job."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.data.formats import VideoList

# With a list of its training videos a data set is read from lists, whatever else its folder holds.
_LIST = re.compile(r".*tr(ai)?n.*\.csv", re.IGNORECASE)


def check_out(out: Path, data: Path, lists: Sequence[VideoList]) -> None:
    """Refuse a folder of results among the videos: where it would be read as a class, and where videos lie.

    Args:
        out: where results are to go.
        data: the data set, as the user named it.
        lists: what was read from it.

    Raises:
        VidnasError: it is one.
    """
    place, root = out.resolve(), data.resolve()
    listed = not data.is_dir() or any(_LIST.fullmatch(entry.name) for entry in data.iterdir())
    if not listed and (place == root or any(_is_read(place, videos.root) for videos in lists)):
        raise VidnasError(
            f"--out {out}: lies in the data set {data}, whose folders are classes of videos; name one outside of it"
        )
    folders = {Path(os.path.realpath(folder)) for folder in {s.path.parent for videos in lists for s in videos.samples}}
    holds_some = place.is_relative_to(root) and any(folder.is_relative_to(place) for folder in folders)
    if listed and (place == root or place in folders or holds_some):
        raise VidnasError(f"--out {out}: holds the videos of {data}; name a folder of its own for results")


def check_unlike(out: Path, verb: str) -> None:
    """Refuse the folder of another kind of job: results of two in one folder would be taken for those of one.

    Args:
        out: where results are to go.
        verb: `train`, `test`, `search`, `race` or `run`.

    Raises:
        VidnasError: the folder holds another kind.
    """
    searched = any((out / name).exists() for name in ("settled.json", "race/race.json"))
    raced, trained = (out / "race.json").exists(), (out / "run.json").exists()
    if searched and verb in ("train", "test", "race"):
        what = "a search or a whole run"
    elif raced and verb != "race":
        what = "a race"
    elif trained and not searched and verb != "train":
        what = "a training"
    else:
        return
    raise VidnasError(f"--out {out}: holds {what}, and `vidnas {verb}` is another job; choose another --out")


def check_unraced(out: Path) -> None:
    """Refuse a folder that holds a race for a search that is followed by none.

    Raises:
        VidnasError: it holds one.
    """
    if (out / "race" / "race.json").exists():
        raise VidnasError(f"--out {out}: holds a race, and no supernet alone; choose another --out")


def _is_read(place: Path, root: Path) -> bool:
    """Whether a folder is looked into by whoever reads class folders, who passes hidden ones over."""
    return place.is_relative_to(root) and not any(part.startswith(".") for part in place.relative_to(root).parts)
