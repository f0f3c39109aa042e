"""Where results may go: not among the videos of a data set that is read folder by folder."""

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


def _is_read(place: Path, root: Path) -> bool:
    """Whether a folder is looked into by whoever reads class folders, who passes hidden ones over."""
    return place.is_relative_to(root) and not any(part.startswith(".") for part in place.relative_to(root).parts)
