"""Which caches of frames go when another one is made."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from vidnas.data.cache import FrameCache, open_reader
from vidnas.data.old_caches import UNUSED_DAYS
from vidnas.data.reader import FileReader


@pytest.fixture
def videos(synthetic_data: Path) -> list[Path]:
    return sorted((synthetic_data / "videos/test").iterdir())[:3]


def make(video: Path, parent: Path) -> FrameCache:
    reader = open_reader([video], 16, cache_dir=parent)
    assert isinstance(reader, FrameCache)
    return reader


def folders(parent: Path) -> set[Path]:
    return {path for path in parent.iterdir() if path.is_dir()}


def grow_old(parent: Path, days: float = UNUSED_DAYS + 1) -> None:
    """Leave everything in a folder of caches unused for some days."""
    then = time.time() - days * 86400
    for path in parent.iterdir():
        os.utime(path, (then, then))


def test_what_was_unused_for_long_goes_when_another_is_made(videos: list[Path], tmp_path: Path) -> None:
    make(videos[0], tmp_path)
    (first,) = folders(tmp_path)
    grow_old(tmp_path, UNUSED_DAYS - 1)
    make(videos[1], tmp_path)
    assert len(folders(tmp_path)) == 2  # not long enough
    grow_old(tmp_path)
    make(videos[1], tmp_path)  # nothing is made, and this one is used
    assert len(folders(tmp_path)) == 2
    killed = first.with_suffix(".tmp")
    killed.mkdir()
    (killed / "frames.bin").touch()
    os.utime(killed, (0, 0))
    make(videos[2], tmp_path)
    assert len(folders(tmp_path)) == 2
    assert not first.exists()
    assert not killed.exists()
    assert len(list(tmp_path.glob("*.videos.json"))) == 2
    np.testing.assert_array_equal(make(videos[0], tmp_path).read(videos[0], [0.3]), frames(videos[0]))


def frames(video: Path) -> np.ndarray:
    return FileReader(16).read(video, [0.3])


def test_what_is_in_use_stays(videos: list[Path], tmp_path: Path) -> None:
    used = make(videos[0], tmp_path)
    program = f"""
import sys
from pathlib import Path
from vidnas.data.cache import open_reader
reader = open_reader([Path({str(videos[1])!r})], 16, cache_dir=Path({str(tmp_path)!r}))
print("ready", flush=True)
sys.stdin.readline()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        grow_old(tmp_path)
        make(videos[2], tmp_path)
        assert len(folders(tmp_path)) == 3
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(used)).read(videos[0], [0.3]), frames(videos[0]))
        other.communicate("end\n", timeout=60)
    used.release()
    grow_old(tmp_path)
    (held,) = (path for path in folders(tmp_path) if used._file.parent == path)
    with FileLock(held.with_suffix(".lock")):  # somebody is about to use it
        open_reader(videos[1:], 16, cache_dir=tmp_path)
    assert folders(tmp_path) > {held}
    assert len(folders(tmp_path)) == 2


def test_what_is_none_of_ours_stays(videos: list[Path], tmp_path: Path) -> None:
    for name in ("photographs", "0123456789abcdef"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "frames.bin").touch()
        (tmp_path / name / "mine.txt").touch()
    grow_old(tmp_path)
    make(videos[0], tmp_path)
    assert len(folders(tmp_path)) == 3
