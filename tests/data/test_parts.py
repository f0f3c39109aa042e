"""Training and test lists under any usual name."""

import time
from pathlib import Path

import pytest
from lists_of_files import make, refused, rows

from vidnas.data.formats import load_dataset
from vidnas.data.parts import part_of


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (
            "train",
            "train Train TRAIN training trainset train_set Training-Set train_list trainlist01 videos_train train256",
        ),
        ("test", "test Test TESTING testset test_data testlist01 Test-Videos tests"),
        ("val", "val Valid validation Validation_Set dev eval evaluation val_256 videos_val"),
        ("train", "rgb_train train.v1 depth-training"),
        (None, "trains trainer running contest tested value device developer interval trained_dog test_drive evaluate"),
    ],
)
def test_spellings(part: str | None, names: str) -> None:
    assert {name: part_of(name) for name in names.split()} == dict.fromkeys(names.split(), part)


def test_long_numbers_take_no_time() -> None:
    began = time.process_time()
    assert part_of("train_" + "1" * 60) == "train"
    assert part_of("test_" + "1_v2-" * 20 + "3" * 60) == "test"
    assert part_of("train_" + "1" * 60 + "a") is None
    assert part_of("train" + "_1" * 60 + "_a") is None
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "pair",
    [
        "Train Test",
        "training testing",
        "TRAIN TEST",
        "train_set test_set",
        "train val",
        "Training Validation",
        "val test",
    ],
)
def test_folders_in_any_spelling(tmp_path: Path, pair: str) -> None:
    train, test = pair.split()
    make(tmp_path, f"{train}/a/1.mp4", f"{train}/b/2.mp4", f"{test}/b/3.mp4")
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert rows(lists.train) == [("a/1.mp4", "a", None), ("b/2.mp4", "b", None)]
    assert rows(lists.test) == [("b/3.mp4", "b", None)]
    told = (f"{tmp_path / train}: read as the training list",) if train != "train" else ()
    assert lists.train.notices == told
    assert lists.test.notices == ((f"{tmp_path / test}: read as the test list",) if test != "test" else ())


def test_lists_in_any_spelling(tmp_path: Path) -> None:
    make(tmp_path, "train/a.mp4", "train/b.mp4", "test/c.mp4")  # folders of files, not of classes
    (tmp_path / "Train_list.CSV").write_text("train/a.mp4,x\ntrain/b.mp4,y\n")
    (tmp_path / "validation.csv").write_text("test/c.mp4,y\n")
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert (len(lists.train), len(lists.test)) == (2, 1)
    assert "Train_list.CSV: read as the training list" in lists.train.notices[0]
    assert "validation.csv: read as the test list" in lists.test.notices[0]
    (tmp_path / "test.csv").write_text("test/c.mp4,x\n")
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert lists.test.labels == (0,)
    assert "validation.csv: passed over; only train and test are read" in lists.train.notices[1]
    (tmp_path / "train.csv").write_text("train/a.mp4,x\n")
    refused(tmp_path, "Train_list.CSV and train.csv", "--data and --test")


def test_lists_beside_folders_are_not_mixed_in_silence(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "test/a/3.mp4", test_csv="test/a/3.mp4,a\n")
    assert load_dataset(tmp_path).train.notices == (
        f"{tmp_path / 'test.csv'}: passed over beside train; --test names it",
    )
    (tmp_path / "test.csv").rename(tmp_path / "train.csv")
    make(tmp_path, train_csv="train/a/1.mp4,a\ntrain/b/2.mp4,b\n")
    lists = load_dataset(tmp_path)
    assert lists.test is None
    assert lists.train.notices == (f"{tmp_path / 'test'}: passed over beside train.csv; --test names it",)


def test_two_spellings_at_once(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "Training/a/1.mp4", "Training/b/2.mp4")
    refused(tmp_path, "Training and train", "train part")
    make(tmp_path / "x", "train/a/1.mp4", "train/b/2.mp4", "Test/a/1.mp4", "testing/a/2.mp4")
    refused(tmp_path / "x", "Test and testing", "test part")


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ("val/a/1 val/b/2 walk/a/3 walk/b/4", ["val may be parts"]),
        ("test/a/1 test/b/2", ["test without a training part"]),
        ("Test/a/1 Test/b/2", ["Test without a training part"]),
        ("train/1 test/2", ["test, train hold no class folders"]),  # unlabelled
        ("train/1 test/2 val/3", ["test, train, val hold no class folders"]),
        ("train/1 test/2 walk/3", ["test, train may be parts of the data set or classes"]),
        ("test/1 walk/2 run/3", ["test may be parts of the data set or classes"]),
        ("validation/p1/1 walk/p1/2 run/p1/3", ["validation may be parts"]),
        ("train/p1/1 train/p2/2 car/p1/3", ["train may be the training part, or a class beside car"]),
        ("train/p1/1 test/p1/2 val/p1/3 walk/p1/4", ["train may be the training part, or a class beside walk"]),
    ],
)
def test_folders_that_may_be_parts_or_classes_are_refused(tmp_path: Path, files: str, parts: list[str]) -> None:
    make(tmp_path, *(f"{file}.mp4" for file in files.split()))
    refused(tmp_path, *parts)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    make(tmp_path, "train/1.mp4", "boat/2.mp4")
    assert load_dataset(tmp_path).train.classes == ("boat", "train")


def test_other_folders_beside_both_parts_do_not_matter(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "test/a/3.mp4", "raw/4.mp4", "annotations/x.json")
    lists = load_dataset(tmp_path)
    assert (len(lists.train), lists.train.notices) == (2, ())


def test_class_folders_that_are_all_divided_alike_are_noticed(tmp_path: Path) -> None:
    make(tmp_path, "fold1/a/1.mp4", "fold1/b/2.mp4", "fold2/a/3.mp4", "fold2/b/4.mp4")
    (notice,) = load_dataset(tmp_path).train.notices
    assert "fold1, fold2 are read as the classes, the folders in each of them (a, b) are not" in notice
    make(tmp_path, "fold1/5.mp4")
    assert load_dataset(tmp_path).train.notices == ()
