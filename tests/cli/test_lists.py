"""What the verbs make of lists: parts in other spellings, links, numbers, too few videos, groups."""

import os
import shutil
from pathlib import Path

import pytest
from search_commands import command, fails
from tiny_training import tiny_spec

from vidnas.cli.main import main
from vidnas.nn.weights import load_model
from vidnas.pipeline.finished_search import open_search

QUICK = ["--steps", "1", "--batch-size", "8", "--workers", "0", "--memory-budget-mib", "0"]
TEST = ["--views", "1x1", "--workers", "0", "--memory-budget-mib", "0"]


@pytest.fixture(scope="module")
def arch(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("arch") / "tiny.json"
    path.write_text(tiny_spec(400).to_json())
    return str(path)


@pytest.fixture
def linked(videos: Path, tmp_path: Path) -> Path:
    """Folders Train/ and Test/ of class folders, whose files are links out of them."""
    root = tmp_path / "snapshot"
    for part in ("train", "test"):
        for file in (videos / "videos" / part).iterdir():
            link = root / part.capitalize() / file.name.rpartition("_")[0] / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(file, link.parent))
    return root


def test_linked_folders_in_another_spelling_are_searched_trained_and_tested(
    linked: Path, arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, searched = tmp_path / "run", tmp_path / "searched"
    train = ["train", "--arch", arch, "--data", str(linked), "--out", str(run), *QUICK]
    assert "--follow-links allows it" in fails(capsys, train)
    assert "--follow-links allows it" in fails(capsys, command("search", linked, searched))
    assert not run.exists()
    assert not searched.exists()
    assert main([*train, "--follow-links"]) == 0
    out = capsys.readouterr().out
    assert f"note: {linked / 'Train'}: read as the training list" in out
    assert f"note: {linked / 'Test'}: read as the test list" in out
    assert "8 videos, 2 classes" in out
    test = ["test", str(run), "--data", str(linked), *TEST]
    assert "--follow-links allows it" in fails(capsys, test)
    assert main([*test, "--follow-links"]) == 0
    assert "may have seen" not in capsys.readouterr().out
    assert main(["data", "cache", str(linked), "-o", str(tmp_path / "copy"), "--format", "jpeg", "--follow-links"]) == 0
    # A finished search remembers it.
    assert main(command("search", linked, searched, "--follow-links")) == 0
    assert len(open_search(searched).lists.train) == 24


def test_numbers_in_a_list_for_a_network_of_names(
    videos: Path, arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(videos / "videos", data / "videos")
    numbers = {"move_left": "1", "move_right": "0"}  # not in order of the alphabet
    for part in ("train", "test"):
        lines = [line.split(",")[:2] for line in (videos / f"{part}.csv").read_text().splitlines()[1:]]
        (data / f"{part}.csv").write_text("".join(f"{path},{label}\n" for path, label in lines))
        (data / f"{part}_numbers.csv").write_text("".join(f"{path},{numbers[label]}\n" for path, label in lines))
    lists = ["--data", str(data / "train.csv"), "--test", str(data / "test.csv")]
    assert main(["train", "--arch", arch, *lists, "--out", str(tmp_path / "names"), *QUICK]) == 0
    test = ["test", str(tmp_path / "names"), "--data", str(data / "test_numbers.csv"), *TEST]
    assert "numbers here and names in the network (move_left, move_right)" in fails(capsys, test)
    (data / "classes.txt").write_text("move_right\nmove_left\n")
    assert main(test) == 0
    scores = (tmp_path / "names" / "test" / "scores.csv").read_text()
    rows = [row.split(",")[:2] for row in scores.splitlines()[1:]]
    assert {(path.split("/")[-1][:6], label) for path, label in rows} == {
        ("move_l", "move_left"),
        ("move_r", "move_right"),
    }

    # Trained on numbers that have names, numbers alone are meant in that order.
    numbered = ["--data", str(data / "train_numbers.csv"), "--test", str(data / "test_numbers.csv")]
    assert main(["train", "--arch", arch, *numbered, "--out", str(tmp_path / "numbers"), *QUICK]) == 0
    assert load_model(tmp_path / "numbers")[1].classes == ("move_right", "move_left")
    (data / "classes.txt").unlink()
    test[1] = str(tmp_path / "numbers")
    assert main(test) == 0
    from_one = (data / "test_numbers.csv").read_text().replace(",1\n", ",2\n").replace(",0\n", ",1\n")
    (data / "test_numbers.csv").write_text(from_one)
    assert "no label is 0, though labels count from 0 in the network" in fails(capsys, test)


def test_too_few_videos_are_counted_as_the_user_does(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("move_left", "move_right"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for k in range(3):
            shutil.copy(videos / f"videos/train/{name}_000{k}.mp4", tmp_path / "few" / name)
    line = fails(capsys, command("search", tmp_path / "few", tmp_path / "run"))
    assert "class 'move_left' has 3 videos; each class needs 4 videos, one for each of weights, alpha, holdout" in line
    assert "test" in line


def test_groups_of_all_parts_are_told(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("search", videos, tmp_path / "run", "--dry-run")) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: groups:")]
    assert len(told) == 2
    assert "for train" in told[0]
    assert "for weights" in told[1]
    assert "for holdout; none in more than one" in told[1]
    named = tmp_path / "named"
    for name in ("move_left", "move_right"):
        (named / name).mkdir(parents=True)
        for k in range(12):
            shutil.copy(videos / f"videos/train/{name}_{k:04d}.mp4", named / name / f"{name}_g{k % 4}_c{k // 4}.mp4")
    assert main(command("search", named, tmp_path / "run", "--dry-run")) == 0
    (told,) = (
        line for line in capsys.readouterr().out.splitlines() if "names look like" in line and "test videos" in line
    )
    assert "8 groups of 24 videos" in told
    assert "--group-regex '" in told
