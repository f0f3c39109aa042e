"""Files that are written whole or not at all, whatever comes in between."""

import os
import signal
import threading
from pathlib import Path

import pytest
from full_disk import no_file_beyond

from vidnas.base.errors import VidnasError
from vidnas.base.files import ANOTHER_PLACE, read_json, replace_file, write_json
from vidnas.base.interrupt import CommandSignals, Stopped


def test_text_bytes_and_json(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for data in ("é\n", "é\n".encode(), memoryview("é\n".encode())):
        replace_file(path, data)
        assert path.read_bytes() == b"\xc3\xa9\n"
        path.write_text("older")
    write_json(path, {"a": [1]})
    assert read_json(path) == {"a": [1]}
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_content_keeps_a_name(tmp_path: Path) -> None:
    path, old = tmp_path / "a", tmp_path / "old"
    for text in ("1", "2", "3"):
        replace_file(path, text, keep_as=old)
    assert (path.read_text(), old.read_text()) == ("3", "2")


@pytest.mark.parametrize("shared", [False, True])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, shared: bool) -> None:
    path, old = tmp_path / "a", tmp_path / "old"
    replace_file(path, "1")
    message = r"/a: cannot be written \(file too large\); nothing saved before is lost"
    with no_file_beyond(100), pytest.raises(VidnasError, match=message):
        replace_file(path, "x" * 200, keep_as=old, shared=shared)
    with no_file_beyond(100), pytest.raises(VidnasError, match=r"too large\); make room or choose another place"):
        replace_file(path, "x" * 200, mend=ANOTHER_PLACE, shared=shared)
    assert path.read_text() == "1"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_or_stands_there(tmp_path: Path) -> None:
    with pytest.raises(VidnasError, match=r"none/a: cannot be written \(no such file or directory\)"):
        replace_file(tmp_path / "none" / "a", "x")
    with pytest.raises(VidnasError, match=r"cannot be written \(is a directory\)"):
        replace_file(tmp_path, "x")


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    replace_file(pipe, "drawing")
    reader.join(10)
    assert got == [b"drawing"]
    assert pipe.is_fifo()


def test_a_signal_waits_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sync = tmp_path / "a", os.fsync

    def interrupted(descriptor: int) -> None:
        signal.raise_signal(signal.SIGTERM)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with CommandSignals() as signals, pytest.raises(Stopped):
        replace_file(path, "whole")
    assert signals.received == signal.SIGTERM
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]
