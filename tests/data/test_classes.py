"""What labels mean: numbers, names, and what is neither."""

from dataclasses import replace
from pathlib import Path

import pytest
from lists_of_files import make, refused, rows

from vidnas.base.errors import VidnasError
from vidnas.data.formats import KnownClasses, load_dataset, load_list, save_list

NAMES = KnownClasses(("x", "y", "z"), "the network")


def refused_list(path: Path, known: KnownClasses, *parts: str) -> None:
    with pytest.raises(VidnasError) as raised:
        load_list(path, classes=known)
    for part in parts:
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def labels_of(file: Path, known: KnownClasses) -> tuple[int, ...]:
    return load_list(file, classes=known).labels


def test_numbers_among_known_names_need_a_file_that_names_them(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", list_csv="a.mp4,1\nb.mp4,0\n")
    file = tmp_path / "list.csv"
    refused_list(file, NAMES, "list.csv, line 1", "numbers here and names in the network (x, y, z)", "classes.txt")
    # Those of a network whose own list had numbers are meant in that order.
    assert labels_of(file, KnownClasses(NAMES.names, "the network", numbered=True)) == (1, 0)
    make(tmp_path, classes_txt="y\nz\n")
    assert labels_of(file, NAMES) == (2, 1)


def test_classes_called_by_numbers_are_meant_by_name(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", list_csv="a.mp4,2\nb.mp4,10\n")
    assert labels_of(tmp_path / "list.csv", KnownClasses(("1", "10", "2"), "the network")) == (2, 1)
    refused_list(tmp_path / "list.csv", KnownClasses(("1", "2", "3"), "the network"), "label 10 of 3 classes")
    make(tmp_path, list_csv="a.mp4,1\nb.mp4,2\n")  # from 1 in both
    assert labels_of(tmp_path / "list.csv", KnownClasses(("01", "02"), "the network")) == (0, 1)


def test_names_in_one_list_and_numbers_in_the_other(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", "c.mp4", train_csv="a.mp4,x\nb.mp4,y\n", test_csv="c.mp4,0\n")
    refused(tmp_path, "test.csv, line 1", f"names in {tmp_path / 'train.csv'} (x, y)", "classes.txt")
    make(tmp_path, train_csv="a.mp4,0\nb.mp4,1\n", test_csv="c.mp4,y\n")
    refused(tmp_path, "test.csv, line 1", f"numbers in {tmp_path / 'train.csv'}", "classes.txt")
    for train, test in (("a.mp4,x\nb.mp4,y\n", "c.mp4,0\n"), ("a.mp4,0\nb.mp4,1\n", "c.mp4,y\n")):
        make(tmp_path, train_csv=train, test_csv=test, classes_txt="y\nx\n")  # not in order of the alphabet
        lists = load_dataset(tmp_path)
        assert lists.test is not None
        assert [row[1] for row in rows(lists.train)] == (["x", "y"] if "x" in train else ["y", "x"])
        assert [row[1] for row in rows(lists.test)] == ["y"]


THREE_FROM_0, THREE_FROM_1 = "a.mp4,0\nb.mp4,1\nc.mp4,2\n", "a.mp4,1\nb.mp4,2\nc.mp4,3\n"


@pytest.mark.parametrize(
    ("train", "test", "classes", "parts"),
    [
        (THREE_FROM_1, None, None, ["train.csv: labels count from 1", "subtract 1"]),
        (THREE_FROM_1, "d.mp4,1\n", None, ["train.csv: labels count from 1"]),
        (THREE_FROM_1, "d.mp4,1\n", "x\ny\nz\n", ["train.csv, line 3", "label 3 of 3", "subtract 1"]),
        (THREE_FROM_1, "d.mp4,1\n", "x\ny\nz\nw\n", ["'x' has no training video", "subtract 1"]),
        (THREE_FROM_0, "d.mp4,1\ne.mp4,3\n", None, ["test.csv: no label is 0", "subtract 1", "classes.txt"]),
        (THREE_FROM_0, "d.mp4,1\ne.mp4,2\n", None, ["test.csv: no label is 0", "subtract 1"]),  # the last is missing
        (THREE_FROM_0, "d.mp4,1\ne.mp4,3\n", "x\ny\nz\n", ["test.csv, line 2", "label 3 of 3", "subtract 1"]),
        (THREE_FROM_0, "d.mp4,3\n", None, ["test.csv, line 1", "label 3 of 3", "count from 0"]),
    ],
)
def test_lists_that_count_from_1(
    tmp_path: Path, train: str, test: str | None, classes: str | None, parts: list[str]
) -> None:
    make(tmp_path, *(f"{name}.mp4" for name in "abcde"), train_csv=train)
    if test is not None:
        make(tmp_path, test_csv=test)
    if classes is not None:
        make(tmp_path, classes_txt=classes)
    refused(tmp_path, *parts)


def test_a_test_list_without_the_first_class_is_noticed_where_names_are_there(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}.mp4" for name in "abcde"), train_csv=THREE_FROM_0, test_csv="d.mp4,1\ne.mp4,2\n")
    make(tmp_path, classes_txt="x\ny\nz\n")
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert lists.test.labels == (1, 2)
    (notice,) = lists.test.notices
    assert "no label is 0, which is 'x'" in notice
    assert "subtract 1" in notice


@pytest.mark.parametrize("label", ["nan", "NaN", "None", "null", "<NA>", "N/A", "-1", "1.0", "2.", "1e3", "inf", "+1"])
@pytest.mark.parametrize("others", ["wave", "0"])
def test_a_value_that_is_missing_or_no_whole_number_is_no_label(tmp_path: Path, label: str, others: str) -> None:
    make(tmp_path, *(f"{name}.mp4" for name in "abc"))
    make(tmp_path, train_csv=f"path,label\na.mp4,{others}\nb.mp4,{others}\nc.mp4,{label}\n")
    refused(tmp_path, "train.csv, line 4", f"label {label!r}")
    make(tmp_path, train_csv=f"path,label\na.mp4,{label}\nb.mp4,{others}\nc.mp4,{others}\n")
    refused(tmp_path, "train.csv, line 2", f"label {label!r}")


def test_a_class_may_be_called_none_where_that_is_said(tmp_path: Path) -> None:
    make(tmp_path, "v/None/a.mp4", "v/wave/b.mp4", list_csv="v/None/a.mp4,None\nv/wave/b.mp4,wave\n")
    assert load_list(tmp_path / "v").classes == ("None", "wave")
    refused(tmp_path / "list.csv", "line 1", "label 'None'", "classes.txt")
    make(tmp_path, classes_txt="None\nwave\n")
    assert load_list(tmp_path / "list.csv").labels == (0, 1)


@pytest.mark.parametrize(("text", "labels"), [("1 x\n2 y z\n", "12"), ("0 x\n1 y z\n", "01")])
def test_numbered_lines_of_classes_are_numbers_and_names(tmp_path: Path, text: str, labels: str) -> None:
    list_csv = f"a.mp4,{labels[1]}\nb.mp4,{labels[0]}\n"
    videos = load_list(make(tmp_path, "a.mp4", "b.mp4", list_csv=list_csv, classes_txt=text) / "list.csv")
    assert (videos.classes, videos.labels) == (("x", "y z"), (1, 0))
    make(tmp_path, list_csv="a.mp4,y z\nb.mp4,x\n")
    assert load_list(tmp_path / "list.csv") == replace(videos, numbered=False)
    # Where the numbers are parts of the names they stay.
    make(tmp_path, list_csv="".join(f"{file}.mp4,{name}\n" for file, name in zip("ba", text.split("\n"), strict=False)))
    assert load_list(tmp_path / "list.csv").classes == tuple(text.splitlines())
    make(tmp_path, list_csv="a.mp4,7\nb.mp4,1\n")
    refused(tmp_path / "list.csv", "line 1: label 7 of 2 classes in classes.txt")


def test_labels_below_the_first_number_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4", list_csv="a.mp4,1\nb.mp4,0\n", classes_txt="1 x\n2 y\n")
    refused(tmp_path / "list.csv", "line 2: label 0, and classes count from 1 in classes.txt")


def test_names_that_begin_with_numbers_survive_saving(tmp_path: Path) -> None:
    videos = load_list(make(tmp_path, "0 x/a.mp4", "1 y/b.mp4", "2 z/c.mp4"))
    few = videos.subset([0, 2])  # whose names do not tell all classes
    save_list(few, tmp_path / "few.csv")
    again = load_list(tmp_path / "few.csv")
    assert (again.classes, again.labels) == (videos.classes, (0, 2))


def test_lists_of_ucf101_are_read_as_they_are(tmp_path: Path) -> None:
    make(
        tmp_path,
        *("Run/a 1.avi", "Run/b.avi", "Walk/c.avi", "Walk/d.avi"),
        trainlist01_txt="Run/a 1.avi 1\nWalk/c.avi 2\n",
        testlist01_txt="Walk/d.avi\nRun/b.avi\n",
        classInd_txt="1 Run\n2 Walk\n",
    )
    notices = " ".join(load_dataset(tmp_path).train.notices)
    options = f"--data {tmp_path / 'trainlist01.txt'} --test {tmp_path / 'testlist01.txt'} takes the lists instead"
    assert options in notices
    train = load_dataset(tmp_path / "trainlist01.txt").train
    assert rows(train) == [("Run/a 1.avi", "Run", None), ("Walk/c.avi", "Walk", None)]
    test = load_list(tmp_path / "testlist01.txt", classes=KnownClasses(train.classes, "train", train.numbered))
    assert rows(test) == [("Walk/d.avi", "Walk", None), ("Run/b.avi", "Run", None)]
    assert "each video is of the class that its folder is called by" in test.notices[0]


def test_classes_that_differ_in_spelling_alone_are_told(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}/{name}.mp4" for name in ("Run", "run", "caf\u00e9", "cafe\u0301", "Walk")))
    (notice,) = load_dataset(tmp_path).train.notices
    assert f"{tmp_path}: 'Run' and 'run', 'cafe\\u0301' and 'caf\\xe9' differ only in case" in notice
