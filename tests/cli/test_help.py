"""`--help` and `--help-all`: options as one types them, what matters first, types in words."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_named_options import COMMANDS

from vidnas.cli.main import main

WITH_RECIPES = ("run", "search", "train")
# What argparse and jsonargparse would write.
INTERNAL = re.compile(r"Union|Optional|Literal|<class|\btype:|NoneType|SUPPRESS|_positive|\{[a-z]+,|[A-Z]+_[A-Z]+")


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_helps_in_words(words, capsys):
    first, everything = printed(capsys, *words, "--help"), printed(capsys, *words, "--help-all")
    assert first.startswith(f"usage: vidnas {' '.join(words)} ")
    options = [re.findall(r"^  (?:-\w, )?(--?[\w.-]+)", text, re.MULTILINE) for text in (first, everything)]
    assert set(options[0]) <= set(options[1])
    assert len(options[0]) <= 15
    for text in (first, everything):
        assert not INTERNAL.search(text), INTERNAL.search(text)
        assert not re.search(r"--[\w.-]*_", text)
        assert max(map(len, text.splitlines())) <= 100
        assert "default None" not in text
        assert "default null" not in text


@pytest.mark.parametrize("verb", WITH_RECIPES)
def test_what_comes_first(verb, capsys):
    first, everything = printed(capsys, verb, "--help"), printed(capsys, verb, "--help-all")
    for option in ("--data FOLDER|CSV", "--out FOLDER", "--config RECIPE", "--clip FRAMESxSIZE", "--resume"):
        assert option in first
    assert f"`vidnas {verb} --help-all` lists all other options" in first
    assert "--clips.max-broken FRACTION" in everything
    assert "--clips.max-broken" not in first
    assert "--clips.augment off|auto|rand" in everything
    assert "default uniform" in everything if verb != "train" else "default last" in everything
    assert everything.count("\n") > 2 * first.count("\n")


def test_groups_of_commands_help(capsys):
    for verb in ("data", "space"):
        assert "usage: vidnas " in printed(capsys, verb, "--help-all")
    assert printed(capsys, "--help-all") == printed(capsys, "--help")


@pytest.mark.parametrize("verb", [*WITH_RECIPES, "predict", "test", "derive"])
def test_help_waits_for_no_framework(verb):
    code = f"import sys; from vidnas.cli.main import main; main([{verb!r}, '--help']); print('torch' in sys.modules)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert time.perf_counter() - began < 5  # half a second on an idle machine


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (b"train: 5\n", "line 1: train: is a section"),
        (b"train:\n  epochs: 3\n  epochs: 4\n", "line 3: epochs: given twice"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_recipes_of_which_something_would_be_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: bytes, words: str
) -> None:
    (tmp_path / "recipe.yaml").write_bytes(recipe)
    code = main(
        ["train", "--arch", "x3d_s", "--data", "none", "--out", "none", "--config", str(tmp_path / "recipe.yaml")]
    )
    assert (code, words in capsys.readouterr().err) == (2, True)
