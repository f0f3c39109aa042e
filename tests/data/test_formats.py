"""Lists from folders and CSV files. Nothing is decoded, so the videos are empty files."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lists_of_files import make, refused, rows

from vidnas.base.errors import VidnasError
from vidnas.data.formats import DataLists, Sample, VideoList, load_dataset, load_list, save_list
from vidnas.data.split import check_disjoint


def test_class_folders(tmp_path: Path) -> None:
    make(tmp_path, "wave/b.mp4", "wave/a.AVI", "wave/deep/c.webm", "clap/x.gif", "clap/.hidden.mp4", ".git/y/z.mp4")
    lists = load_dataset(tmp_path)
    assert lists.test is None
    assert rows(lists.train) == [
        ("clap/x.gif", "clap", None),
        ("wave/a.AVI", "wave", None),
        ("wave/b.mp4", "wave", None),
        ("wave/deep/c.webm", "wave", None),
    ]
    assert lists.train.classes == ("clap", "wave")
    assert lists.train.labels == (0, 1, 1, 1)
    assert lists.train.counts == (1, 3)
    assert lists.train.notices == ()
    assert all(sample.path.is_absolute() and sample.path.is_file() for sample in lists.train.samples)


def test_files_that_are_no_videos_are_passed_over_with_a_notice(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4", "b/notes.txt", "b/3.jpg", "b/LICENSE", "stray.mp4")
    (notice,) = load_list(tmp_path).notices
    assert "4 files" in notice
    assert all(kind in notice for kind in (".txt", ".jpg", ".mp4", "no suffix"))


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4,0\nb c.mp4,1\n",
        "a.mp4\t0\nb c.mp4\t1\n",
        "a.mp4 0\nb c.mp4 1\n",
        "path,label\na.mp4,0\nb c.mp4,1\n",
        "\ufeffPath,Label\r\n a.mp4 , 0 \r\n\r\n./b c.mp4,1",
        "label\tpath\n0\ta.mp4\n1\tb c.mp4\n",
        "path label\na.mp4 0\nb c.mp4 1\n",
        '"a.mp4","0"\n"b c.mp4","1"\n',
    ],
)
def test_csv_of_numbers(tmp_path: Path, text: str) -> None:
    make(tmp_path, "a.mp4", "b c.mp4")
    (tmp_path / "list.csv").write_bytes(text.encode())
    plain = load_list(tmp_path / "list.csv")
    assert rows(plain) == [("a.mp4", "0", None), ("b c.mp4", "1", None)]
    make(tmp_path, classes_txt="wave\nclap hands\n")
    assert rows(load_list(tmp_path / "list.csv")) == [("a.mp4", "wave", None), ("b c.mp4", "clap hands", None)]
    assert load_list(tmp_path / "list.csv").notices == ()


def test_csv_of_names_groups_and_other_columns(tmp_path: Path) -> None:
    text = 'path,frames,label,group\na.mp4,30,wave,anna\n"b, c.mp4",31,clap,\nd.mp4,32,wave,"ben"\n'
    make(tmp_path, "a.mp4", "b, c.mp4", "d.mp4", list_csv=text)
    videos = load_list(tmp_path / "list.csv")
    assert rows(videos) == [("a.mp4", "wave", "anna"), ("b, c.mp4", "clap", None), ("d.mp4", "wave", "ben")]
    assert videos.classes == ("clap", "wave")
    (notice,) = videos.notices
    assert "frames" in notice


def test_csv_without_header_has_a_third_column_of_groups(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", list_csv="a.mp4,wave,g1,7\nb.mp4,clap,g2,8\n")
    videos = load_list(tmp_path / "list.csv")
    assert [sample.group for sample in videos.samples] == ["g1", "g2"]
    assert "1 columns after" in videos.notices[0]


def test_missing_and_repeated_files_are_noticed(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", list_csv="a.mp4,0\nb.mp4,1\ngone.mp4,1\n./a.mp4,0\n")
    videos = load_list(tmp_path / "list.csv")
    assert [videos.relative(sample) for sample in videos.samples] == ["a.mp4", "b.mp4", "gone.mp4"]
    assert "1 of 3 files are not there, e.g. gone.mp4" in videos.notices[0]
    assert "1 repeated" in videos.notices[1]


def test_data_set_of_two_csv_files(tmp_path: Path) -> None:
    make(tmp_path, "v/a.mp4", "v/b.mp4", "v/c.mp4", train_csv="v/a.mp4,wave\nv/b.mp4,clap\n", test_csv="v/c.mp4,wave\n")
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert lists.train.classes == lists.test.classes == ("clap", "wave")
    assert rows(lists.test) == [("v/c.mp4", "wave", None)]
    make(tmp_path, val_csv="v/c.mp4,wave\n")
    assert "val.csv: passed over" in load_dataset(tmp_path).train.notices[0]


def test_data_set_of_two_folders(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "test/b/3.mp4")
    (tmp_path / "test" / "a").mkdir()
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert lists.test.classes == ("a", "b")
    assert rows(lists.test) == [("b/3.mp4", "b", None)]
    assert lists.test.root == tmp_path / "test"


def test_content_hash_sees_paths_labels_and_names_but_not_the_place(tmp_path: Path) -> None:
    def videos(root: str, paths: str = "ab", labels: tuple[int, int] = (0, 1), classes: str = "xy") -> VideoList:
        samples = tuple(Sample(Path(root) / p, label) for p, label in zip(paths, labels, strict=True))
        return VideoList(Path(root), samples, tuple(classes))

    hashes = [
        videos("/one").content_hash,
        videos("/one", paths="ac").content_hash,
        videos("/one", labels=(1, 0)).content_hash,
        videos("/one", classes="xz").content_hash,
        videos("/one").subset([1, 0]).content_hash,
    ]
    assert len(set(hashes)) == 5
    assert videos("/two").content_hash == hashes[0]
    assert videos("/one").subset([0, 1]).content_hash == hashes[0]


def test_missing_and_empty(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere", "no such file or folder")
    refused(tmp_path, "no class folders", "or write train.csv")
    make(tmp_path, "1.mp4", "2.mp4")
    refused(tmp_path, "no class folders")
    make(tmp_path, labels_csv="1.mp4,run\n2.mp4,jump\n")
    refused(tmp_path, "no class folders", f"or give its list, --data {tmp_path / 'labels.csv'}")
    make(tmp_path, list_csv="\n\n")
    refused(tmp_path / "list.csv", "list.csv", "empty")
    make(tmp_path, list_csv="path,label\n")
    refused(tmp_path / "list.csv", "nothing after the header")


def test_an_empty_class(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4", "c/notes.txt")
    refused(tmp_path, f"{tmp_path}/c", "no video")
    make(tmp_path, "1.mp4", "2.mp4", "3.mp4", train_csv="1.mp4,0\n2.mp4,2\n3.mp4,2\n")
    refused(tmp_path, "class '1' has no training video")
    make(tmp_path, classes_txt="x\ny\nz\n")
    refused(tmp_path, "class 'y' has no training video")


def test_one_class_only(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "a/2.mp4", list_csv="a/1.mp4,run\na/2.mp4,run\n")
    refused(tmp_path, "only one class", "'a'")
    refused(tmp_path / "list.csv", "only one class", "'run'")


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("a.mp4,0\nb.mp4\n", 2, ["no label"]),
        ("a.mp4,0\nb.mp4,\n", 2, ["no label"]),
        ("a.mp4,0\n\n,1\n", 3, ["no path"]),
        ("a.mp4 0\nb.mp4\n", 2, ["no label"]),
        ("path,klasse\na.mp4,0\n", 1, ["path and label", "klasse"]),
        ("label,start\n0,1\n", 1, ["path and label"]),
        ('a.mp4,0\n"b.mp4,1\n', 2, []),
        ("a.mp4,0\nb.mp4,wave\n", 2, ["'wave'", "numbers"]),
        ("a.mp4,wave\nb.mp4,1\n", 2, ["'1'", "names"]),
        ("a.mp4,0\nb.mp4,1\n./a.mp4,1\n", 3, ["another label in line 1"]),
        ("a.mp4,0\nb.mp4,1000000000000\n", 2, ["label 1000000000000", "2 videos"]),
        ("a.mp4,0\n../b.mp4,1\n", 2, ["../b.mp4", "leads out"]),
        ("a.mp4,0\nx/../../b.mp4,1\n", 2, ["leads out"]),
        ("a.mp4,0\n/etc/passwd,1\n", 2, ["/etc/passwd", "leads out"]),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, line: int, parts: list[str]) -> None:
    make(tmp_path, "a.mp4", "b.mp4", list_csv=text)
    refused(tmp_path / "list.csv", f"list.csv, line {line}:", *parts)


def test_labels_and_classes_must_agree(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", list_csv="a.mp4,0\nb.mp4,2\n", classes_txt="x\ny\n")
    refused(tmp_path / "list.csv", "line 2", "label 2 of 2 classes")
    make(tmp_path, list_csv="a.mp4,x\nb.mp4,yy\n")
    refused(tmp_path / "list.csv", "line 2", "'yy'", "did you mean 'y'?")
    make(tmp_path, classes_txt="x\n\ny\n")
    refused(tmp_path / "list.csv", "classes.txt, line 2")
    make(tmp_path, classes_txt="x\ny\nx\n")
    refused(tmp_path / "list.csv", "classes.txt, line 3", "second time")


def test_a_class_unknown_to_the_training_list(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", train_csv="a.mp4,x\nb.mp4,y\n", test_csv="a.mp4,z\n")
    refused(tmp_path, "test.csv, line 1", "class 'z'")
    make(tmp_path / "folders", "train/a/1.mp4", "train/b/1.mp4", "test/c/1.mp4")
    refused(tmp_path / "folders", "test/c", "not one of the 2")
    make(tmp_path, train_csv="a.mp4,0\nb.mp4,1\n", test_csv="a.mp4,5\n")
    refused(tmp_path, "test.csv, line 1", "label 5 of 2")


def test_test_list_alone_and_wrong_folder(tmp_path: Path) -> None:
    make(tmp_path, test_csv="a.mp4,x\nb.mp4,y\n")
    refused(tmp_path, "without train.csv")
    refused(tmp_path / "test.csv", "none of its files is there", str(tmp_path / "a.mp4"))


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\x00\xff\xfe\x81video" * 100)
    refused(tmp_path / "list.csv", "not UTF-8 text")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_says_how_to_mend_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.mp4,x\n", encoding=encoding)
    refused(tmp_path / "list.csv", "is UTF-16 text; save it as UTF-8")


@pytest.mark.parametrize("mark", [",", " ", "\t"])
def test_labels_before_paths_are_named(tmp_path: Path, mark: str) -> None:
    make(tmp_path, "x/a.mp4", "b.mp4", list_txt=f"0{mark}x/a.mp4\n1{mark}b.mp4\n")
    refused(tmp_path / "list.txt", "line 1: the label stands before the path; put the path first, or say so")
    make(tmp_path, list_txt=f"label{mark}path\n0{mark}x/a.mp4\n1{mark}b.mp4\n")
    assert load_list(tmp_path / "list.txt").labels == (0, 1)


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    make(tmp_path / "outside", "x.mp4", "deep/y.mp4")
    data = make(tmp_path / "data", "a/1.mp4", "b/2.mp4", list_csv="a/1.mp4,0\nb/2.mp4,1\nb/x.mp4,1\n")
    link = data / "b" / "x.mp4"
    link.symlink_to(tmp_path / "outside" / "x.mp4")
    refused(data, "b/x.mp4", "link", "--follow-links")
    refused(data / "list.csv", "line 3", "b/x.mp4", "link", "--follow-links")
    for path in (data, data / "list.csv"):
        assert len(load_dataset(path, follow_links=True).train) == 3
    link.unlink()
    link.symlink_to(data / "b" / "2.mp4")  # inside it is welcome
    assert len(load_list(data)) == len(load_list(data / "list.csv")) == 3
    link.unlink()
    (data / "c").symlink_to(tmp_path / "outside")
    refused(data, f"{data}/c", "link")
    make(data, list_csv="a/1.mp4,0\nc/deep/y.mp4,1\n")
    refused(data / "list.csv", "line 2", "link")
    assert load_list(data, follow_links=True).classes == ("a", "b", "c")
    assert len(load_list(data / "list.csv", follow_links=True)) == 2
    # The data folder itself may be reached by a link.
    (data / "c").unlink()
    (tmp_path / "alias").symlink_to(data)
    assert rows(load_list(tmp_path / "alias")) == rows(load_list(data))


def same(a: VideoList, b: VideoList) -> bool:
    return (a.samples, a.classes) == (b.samples, b.classes)


@pytest.mark.parametrize(
    ("classes", "labels", "writes_names"),
    [
        (("clap", "wave"), [0, 1, 1], True),
        (("wave", "clap"), [0, 1, 1], False),  # not sorted
        (("clap", "wave", "zoom"), [0, 1, 1], False),  # one without a video
        (("1", "2"), [0, 1, 1], False),  # would be taken for numbers
        (("clap, twice", 'wave "hi"'), [1, 0, 0], True),
    ],
)
def test_a_saved_list_loads_equal(
    tmp_path: Path, classes: tuple[str, ...], labels: list[int], writes_names: bool
) -> None:
    root = make(tmp_path, "v/a.mp4", "v/b, c.mp4", 'v/d "e".mp4')
    paths = sorted((root / "v").iterdir())
    groups = [None, "g1", "g 2"]
    samples = tuple(Sample(*row) for row in zip(paths, labels, groups, strict=True))
    videos = VideoList(root / "v", samples, classes)
    for file in (root / "v" / "list.csv", root / "above.csv"):
        save_list(videos, file)
        loaded = load_list(file)
        assert same(loaded, videos)
        assert loaded.notices == ()
        assert (file.parent / "classes.txt").exists() != writes_names
        save_list(videos, file)  # once more, over the first
        assert same(load_list(file), videos)
    assert not list(root.rglob(".*"))


def test_a_list_is_not_saved_where_it_would_not_load(tmp_path: Path) -> None:
    root = make(tmp_path / "data", "a.mp4", "b.mp4")
    videos = VideoList(root, (Sample(root / "a.mp4", 0), Sample(root / "b.mp4", 1)), ("x", "y"))
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(VidnasError, match="does not reach out of its folder"):
        save_list(videos, tmp_path / "elsewhere" / "list.csv")
    make(root, classes_txt="q\nr\n")
    with pytest.raises(VidnasError, match="other classes"):
        save_list(videos, root / "list.csv")
    assert not (root / "list.csv").exists()


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)


@given(
    entries=st.dictionaries(TEXT, st.tuples(st.integers(0, 3), TEXT | st.none()), min_size=4, max_size=12),
    names=st.lists(TEXT, min_size=4, max_size=4, unique=True),
)
def test_any_list_survives_saving(
    tmp_path_factory: pytest.TempPathFactory, entries: Mapping[str, tuple[int, str | None]], names: list[str]
) -> None:
    root = tmp_path_factory.mktemp("any")
    samples = []
    for name, (label, group) in entries.items():
        if name.replace("/", "").strip("."):
            path = root / (name.replace("/", "_") + ".mp4")
            path.touch()
            samples.append(Sample(path, label, group))
    if not samples:
        return
    videos = VideoList(root, tuple(samples), tuple(names))
    save_list(videos, root / "list.csv")
    kept: dict[Path, Sample] = {sample.path: sample for sample in samples}
    if len(kept) == len(samples):
        assert same(load_list(root / "list.csv"), videos)


def test_the_real_formats_of_kinetics_and_ucf_lists(tmp_path: Path) -> None:
    # Lines as the usual tools for Kinetics (path label) and the UCF-101 split files (class/file, 1-based) write them.
    make(tmp_path, "abseiling/0347ZoDXyP0_000095_000105.mp4", "air drumming/-2VXhGGeOWg_000010_000020.mp4")
    text = "abseiling/0347ZoDXyP0_000095_000105.mp4 0\nair drumming/-2VXhGGeOWg_000010_000020.mp4 1\n"
    make(tmp_path, train_csv=text, classes_txt="abseiling\nair drumming\n")
    lists: DataLists = load_dataset(tmp_path)
    assert [row[1] for row in rows(lists.train)] == ["abseiling", "air drumming"]
    make(tmp_path, train_csv=text.replace(" 1\n", " 2\n").replace(" 0\n", " 1\n"))
    refused(tmp_path, "labels count from 0")


def test_content_hash_is_what_it_was() -> None:
    # sha256sum of [["x", "y"], [["a/\\u00fc.mp4", 1]]]; caches are found by it.
    videos = VideoList(Path("/r"), (Sample(Path("/r/a/ü.mp4"), 1),), ("x", "y"))
    assert videos.content_hash == "a6a2f5960f9ead3878530a3a0ef4b098df4bbe6db655f36f61673e1d0d0c7640"


def test_one_file_under_two_names_has_one_label_and_one_side(tmp_path: Path) -> None:
    make(tmp_path, "videos/a.mp4", "videos/b.mp4", "videos/c.mp4")
    (tmp_path / "videos/again.mp4").symlink_to("a.mp4")
    (tmp_path / "train.csv").write_text("videos/a.mp4,x\nvideos/b.mp4,y\n")
    (tmp_path / "test.csv").write_text("videos/again.mp4,x\nvideos/c.mp4,y\n")
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    with pytest.raises(VidnasError, match=r"a\.mp4 is in the training list and in the test list"):
        check_disjoint(lists.train, lists.test)
    (tmp_path / "train.csv").write_text("videos/a.mp4,x\nvideos/b.mp4,y\nvideos/again.mp4,y\n")
    refused(tmp_path, "two names with two labels", "videos/a.mp4 (x) and videos/again.mp4 (y)")
    folders = tmp_path / "folders"
    make(folders, "a/1.mp4", "b/2.mp4")
    (folders / "c").symlink_to("a")
    refused(folders, "two names with two labels", "a/1.mp4 (a) and c/1.mp4 (c)")


@pytest.mark.parametrize("name", [" walk", "walk ", "wa\nlk", "wa\x85lk"])
def test_class_names_that_no_list_can_hold(tmp_path: Path, name: str) -> None:
    make(tmp_path, f"{name}/1.mp4", "run/2.mp4")
    refused(tmp_path, "rename it", repr(name))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('a.mp4,"x\nb.mp4,y\nc.mp4,y"\nd.mp4,x\n', ["line 3", "is a quote not closed"]),
        ("a.mp4,x\0\nb.mp4,y\n", ["line 1", "a zero in it"]),
    ],
)
def test_fields_that_swallow_lines(tmp_path: Path, text: str, words: list[str]) -> None:
    make(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    (tmp_path / "l.csv").write_text(text)
    refused(tmp_path / "l.csv", *words)


@pytest.mark.parametrize(
    "text", ["a.mp4;x\nb.mp4;y\n", "path|label\na.mp4|x\nb.mp4|y\n", '"a.mp4", "x"\n"b.mp4", "y"\n']
)
def test_other_separators(tmp_path: Path, text: str) -> None:
    make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "l.csv").write_text(text)
    assert rows(load_list(tmp_path / "l.csv")) == [("a.mp4", "x", None), ("b.mp4", "y", None)]
