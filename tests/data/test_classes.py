"""What labels mean: numbers, names, and what is neither."""

from pathlib import Path

import pytest
from lists_of_files import make, refused, rows

from vidnas.data.formats import KnownClasses, load_dataset, load_list
from vidnas.errors import VidnasError

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
