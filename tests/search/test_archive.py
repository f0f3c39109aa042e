"""The archive on disk: what is written is read, and nothing is lost to a kill or a full disk."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from vidnas.base.errors import VidnasError
from vidnas.search.archive import Archive, Entry, cut, read

ENTRIES = [Entry(step, (step, 1, 0), -10.5 - step, 16, 2.0e9 + step, count=2, weight=0.25) for step in range(5)]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "archive.jsonl"
    with Archive(path) as archive:
        archive.append(ENTRIES[:2])
        # Without closing: another process, or a page that follows the run, sees it at once.
        assert list(read(path)) == ENTRIES[:2]
        archive.append(ENTRIES[2:])
        assert archive.lines == 5
    assert list(read(path)) == ENTRIES
    assert len(path.read_text().splitlines()) == 5


def test_scores_keep_every_digit(tmp_path: Path) -> None:
    entry = Entry(0, (1,), -0.1 - 0.2, 1, 1 / 3)
    with Archive(tmp_path / "a") as archive:
        archive.append([entry])
    assert list(read(tmp_path / "a")) == [entry]


@pytest.mark.parametrize("torn", [b'{"step":9', b"\xff", b'{"step":1,"choice":[0],"score":0,"clips":1,"cost":1}'])
def test_a_torn_last_line_is_left_out_and_dropped_on_resume(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "archive.jsonl"
    with Archive(path) as archive:
        archive.append(ENTRIES[:3])
    with path.open("ab") as file:
        file.write(torn)
    assert list(read(path)) == ENTRIES[:3]
    with Archive(path) as archive:
        assert archive.lines == 3
        archive.append(ENTRIES[3:])
    assert list(read(path)) == ENTRIES


def test_resume_cuts_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "archive.jsonl"
    with Archive(path) as archive:
        archive.append(ENTRIES)
    with Archive(path, lines=2) as archive:
        archive.append(ENTRIES[2:3])
    assert list(read(path)) == ENTRIES[:3]
    assert cut(path, 0) == 0
    assert path.stat().st_size == 0


def test_a_file_shorter_than_the_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.jsonl"
    with Archive(path) as archive:
        archive.append(ENTRIES[:2])
    with pytest.raises(VidnasError, match="has 2 lines where the checkpoint counted 4"):
        Archive(path, lines=4)
    assert list(read(path)) == ENTRIES[:2]


@pytest.mark.parametrize(
    "line", ["no json", "[1, 2]", '{"step": 1}', '{"step":1,"choice":3,"score":0,"clips":1,"cost":1}']
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "archive.jsonl"
    with Archive(path) as archive:
        archive.append(ENTRIES[:1])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(VidnasError, match=r"archive\.jsonl, line 2: not an entry"):
        list(read(path))


def test_missing_folder_and_file(tmp_path: Path) -> None:
    with pytest.raises(VidnasError, match="cannot write the archive"):
        Archive(tmp_path / "no" / "archive.jsonl")
    with pytest.raises(VidnasError, match="cannot read the archive"):
        list(read(tmp_path / "none"))


def test_a_full_disk_is_one_line_and_resumes(tmp_path: Path) -> None:
    """A limit on the file's size stands for the end of the disk: the write that crosses it is cut short."""
    path = tmp_path / "archive.jsonl"
    script = f"""
import resource
from pathlib import Path
from vidnas.base.errors import VidnasError
from vidnas.search.archive import Archive, Entry
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
with Archive(Path({str(path)!r})) as archive:
    for step in range(100):
        try:
            archive.append([Entry(step, (1, 2), 0.0, 1, 1.0)])
        except VidnasError as error:
            print(step, error)
            break
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "make room and resume the run" in done.stdout
    written = int(done.stdout.split()[0])
    with Archive(path) as archive:
        assert archive.lines == written
    assert [entry.step for entry in read(path)] == list(range(written))
