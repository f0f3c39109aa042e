"""Data sets of empty files, for tests of lists, which decode nothing."""

from pathlib import Path

import pytest

from vidnas.data.formats import VideoList, load_dataset
from vidnas.errors import VidnasError


def make(root: Path, *files: str, **texts: str) -> Path:
    """Empty files, and text files given as name_suffix=content."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    for name, text in texts.items():
        (root / name.replace("_", ".")).write_text(text)
    return root


def rows(videos: VideoList) -> list[tuple[str, str, str | None]]:
    """Path, class and group of each sample."""
    return [(videos.relative(s), videos.classes[s.label], s.group) for s in videos.samples]


def refused(path: Path, *parts: str, **options: object) -> str:
    """The message with which a data set is refused: one line that names all these parts."""
    with pytest.raises(VidnasError) as raised:
        load_dataset(path, **options)  # type: ignore[arg-type]
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    return message
