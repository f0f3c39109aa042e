"""A data set of 32 videos and one finished `vidnas run` on it, for the tests of what comes after."""

import shutil
from pathlib import Path

import pytest
from search_commands import command

from vidnas.cli.main import main
from vidnas.data.synthetic import write_dataset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded frames go to a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, 12 training videos and 4 test videos of each; read-only."""
    root = tmp_path_factory.mktemp("videos")
    write_dataset(
        root, classes=("move_left", "move_right"), train_per_class=12, test_per_class=4, size=(32, 32), frames=8, fps=8
    )
    return root


@pytest.fixture(scope="session")
def finished_run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `vidnas run` with both baselines; read-only."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out.parent / "cache"))
        assert main(command("run", videos, out, "--baselines", "random,evolution")) == 0
    return out


@pytest.fixture
def own_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may write into."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
