"""Where results may go: not among videos that are read folder by folder, nor into the folder of another job."""

import re
from collections.abc import Iterable
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.data.formats import VideoList

# With a list of its training videos a data set is read from lists, whatever else its folder holds.
_LIST = re.compile(r".*tr(ai)?n.*\.csv", re.IGNORECASE)


def check_out(out: Path, data: Path, lists: Iterable[VideoList]) -> None:
    """Refuse a folder of results that would be read as a class, or lie in one, the next time the data are read.

    Args:
        out: where results are to go.
        data: the data set, as the user named it.
        lists: what was read from it.

    Raises:
        VidnasError: it would.
    """
    if not data.is_dir() or any(_LIST.fullmatch(entry.name) for entry in data.iterdir()):
        return
    place = out.resolve()
    inside = place == data.resolve() or any(_is_read(place, videos.root) for videos in lists)
    if inside:
        raise VidnasError(
            f"--out {out}: lies in the data set {data}, whose folders are classes of videos; name one outside of it"
        )


def check_unlike(out: Path, verb: str) -> None:
    """Refuse the folder of another kind of job: results of two in one folder would be taken for those of one.

    Args:
        out: where results are to go.
        verb: `train`, `test`, `search` or `run`.

    Raises:
        VidnasError: a search or a whole run is there, or a training where it is not one that goes on.
    """
    searched, trained = (out / "settled.json").exists(), (out / "run.json").exists()
    if searched and verb in ("train", "test"):
        what = "a search or a whole run"
    elif trained and not searched and verb != "train":
        what = "a training"
    else:
        return
    raise VidnasError(f"--out {out}: holds {what}, and `vidnas {verb}` is another job; choose another --out")


def _is_read(place: Path, root: Path) -> bool:
    """Whether a folder is looked into by whoever reads class folders, who passes hidden ones over."""
    return place.is_relative_to(root) and not any(part.startswith(".") for part in place.relative_to(root).parts)
