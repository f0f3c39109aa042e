"""What else lies in folders of videos: links, pipes, rubbish, names that are not UTF-8."""

import os
import socket
from pathlib import Path

import pytest
from lists_of_files import make, refused, rows

from vidnas.data.formats import load_dataset, load_list
from vidnas.data.video_list import printable


def test_pipes_sockets_and_devices_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4")
    os.mkfifo(tmp_path / "a" / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "a" / "null.mp4").symlink_to("/dev/null")
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a/socket.mp4")
        (notice,) = load_dataset(tmp_path).train.notices
        assert "4 passed over that are no files" in notice
        assert "pipe.mp4 is a named pipe" in notice
        lines = ["a/1.mp4,a", "a/pipe.mp4,a", "a/socket.mp4,a", "b/2.mp4,b", "b,b"]
        make(tmp_path, list_csv="\n".join(lines))
        videos = load_list(tmp_path / "list.csv")
    assert [row[0] for row in rows(videos)] == ["a/1.mp4", "b/2.mp4"]
    assert "3 lines passed over that name no file: a/pipe.mp4 (line 2) is a named pipe" in videos.notices[0]
    make(tmp_path, list_csv="a/pipe.mp4,a\nb,b\n")
    refused(tmp_path / "list.csv", "a/pipe.mp4 (line 1) is a named pipe")
    os.mkfifo(tmp_path / "fifo.csv")
    refused(tmp_path / "fifo.csv", "is a named pipe")


def test_rubbish_is_passed_over_everywhere(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "test/a/3.mp4")
    rubbish = ("__MACOSX/a/._1.mp4", "@eaDir/1.mp4", ".DS_Store", "Thumbs.db", "._x.mp4", "desktop.ini", ".git/x/1.mp4")
    for folder in ("", "train", "train/a", "test", "test/a", "train/b/deeper"):
        make(tmp_path / folder, *rubbish)
        (tmp_path / folder / ".hidden").mkdir()
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert [row[0] for row in rows(lists.train)] == ["a/1.mp4", "b/2.mp4"]
    assert [row[0] for row in rows(lists.test)] == ["a/3.mp4"]
    assert (lists.train.notices, lists.test.notices) == ((), ())


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "a/deep/2.mp4", "b/3.mp4", ".store/c/4.mp4", ".store/more/5.mp4")
    (tmp_path / "c").symlink_to(".store/c")
    (tmp_path / "b" / "more").symlink_to("../.store/more")
    assert [row[:2] for row in rows(load_list(tmp_path))] == [
        ("a/1.mp4", "a"),
        ("a/deep/2.mp4", "a"),
        ("b/3.mp4", "b"),
        ("b/more/5.mp4", "b"),
        ("c/4.mp4", "c"),
    ]


def test_links_in_circles_and_into_nothing_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4", "b/deep/3.mp4")
    (tmp_path / "a" / "loop").symlink_to("..")
    (tmp_path / "b" / "deep" / "up").symlink_to("..")
    (tmp_path / "b" / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "b" / "gone.mp4").symlink_to("nowhere.mp4")
    for follow_links in (False, True):
        videos = load_list(tmp_path, follow_links=follow_links)
        assert [row[0] for row in rows(videos)] == ["a/1.mp4", "b/2.mp4", "b/deep/3.mp4"]
        assert "2 links that lead nowhere passed over, e.g. b/gone.mp4" in videos.notices[0]
        assert "2 links in a circle passed over, e.g. a/loop" in videos.notices[1]
    (tmp_path / "a" / "out").symlink_to(tmp_path.parent)  # holds the data set
    assert len(load_list(tmp_path, follow_links=True)) == 3


def test_a_snapshot_of_links_into_a_store_beside_it(tmp_path: Path) -> None:
    # As the cache of the Hugging Face hub lays files out.
    make(tmp_path, "blobs/0a1b", "blobs/2c3d")
    for name, blob in (("train/a/1.mp4", "0a1b"), ("train/b/2.mp4", "2c3d")):
        link = tmp_path / "snapshots" / "main" / name
        link.parent.mkdir(parents=True)
        link.symlink_to(f"../../../../blobs/{blob}")
    root = tmp_path / "snapshots" / "main"
    refused(root, "train/a/1.mp4", "--follow-links")
    assert [row[0] for row in rows(load_dataset(root, follow_links=True).train)] == ["a/1.mp4", "b/2.mp4"]


@pytest.mark.parametrize("name", ["a/v\udce9_1.mp4", "\udcc5\udcdc/1.mp4"])
def test_names_that_are_not_utf8_are_refused_in_one_safe_line(tmp_path: Path, name: str) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4")
    path = tmp_path / name
    try:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes none")
    message = refused(tmp_path, "not UTF-8", printable(name), "convmv")
    message.encode("ascii")
    refused(path.parent, "not UTF-8") if path.parent.name != "a" else None


def test_the_data_folder_itself_must_have_a_name_in_utf8(tmp_path: Path) -> None:
    root = tmp_path / "d\udcff"
    try:
        make(root, "a/1.mp4", "b/2.mp4")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes none")
    refused(root, "not UTF-8", r"d\xff")
