"""The first line of a list: a header under usual names, or none."""

from pathlib import Path

import pytest
from lists_of_files import make, refused, rows

from vidnas.data.formats import load_list


@pytest.mark.parametrize(
    "header",
    [
        *("filename,class", "video_path,label", "file_name,label", "video,action", "name,category", "clip,target"),
        *(
            "id,label",
            "Video Path,Class-Name",
            "VIDEO_ID,GT",
            "#path,label",
            "youtube_id,activity",
            "File Name,Class Label",
        ),
    ],
)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_usual_names_of_columns_are_a_header(tmp_path: Path, header: str, separator: str) -> None:
    text = f"{header}\na.mp4,wave\nb.mp4,clap\n".replace(",", separator)
    make(tmp_path, "a.mp4", "b.mp4", list_csv=text)
    videos = load_list(tmp_path / "list.csv")
    assert rows(videos) == [("a.mp4", "wave", None), ("b.mp4", "clap", None)]
    told = "" if header == "#path,label" else f"columns read: {header.split(',')[0]} as path"
    assert told in " ".join(videos.notices) or header.startswith("video_path")
    assert bool(videos.notices) == (header != "#path,label")


def test_columns_in_any_order_and_the_more_telling_name(tmp_path: Path) -> None:
    text = ",class_id,subject,path,video_id,label,group_id\n0,5,s1,a.mp4,1,wave,g\n1,6,s1,b.mp4,2,clap,h\n"
    make(tmp_path, "a.mp4", "b.mp4", list_csv=text)
    videos = load_list(tmp_path / "list.csv")
    assert rows(videos) == [("a.mp4", "wave", "g"), ("b.mp4", "clap", "h")]
    assert "columns passed over: (no name), class_id, subject, video_id" in videos.notices[1]
    make(tmp_path, list_csv=text.replace(",group_id", "").replace(",g\n", "\n").replace(",h\n", "\n"))
    assert "call subject group" in load_list(tmp_path / "list.csv").notices[0]


def test_names_separated_by_blanks(tmp_path: Path) -> None:
    make(tmp_path, "a b.mp4", "c.mp4", list_csv="filename class\na b.mp4 wave\nc.mp4 clap\n")
    assert rows(load_list(tmp_path / "list.csv")) == [("a b.mp4", "wave", None), ("c.mp4", "clap", None)]


@pytest.mark.parametrize("header", ["datei,klasse", "sample;x,which", "klasse,datei", "a,b,c", "footage,label"])
def test_a_header_that_is_not_understood_is_refused(tmp_path: Path, header: str) -> None:
    make(tmp_path, *(f"{name}.mp4" for name in "abc"), list_csv=f"{header}\na.mp4,x\nb.mp4,y\nc.mp4,y\n")
    refused(tmp_path / "list.csv", "list.csv, line 1", "path and label")


def test_files_called_like_columns_are_no_header(tmp_path: Path) -> None:
    make(tmp_path, "video", "clip", list_csv="video,action\nclip,target\n")
    assert rows(load_list(tmp_path / "list.csv")) == [("video", "action", None), ("clip", "target", None)]
    make(tmp_path, "path.mp4", list_csv="path.mp4,class\nvideo,label\n")
    assert [row[0] for row in rows(load_list(tmp_path / "list.csv"))] == ["path.mp4", "video"]
