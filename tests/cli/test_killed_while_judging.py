"""A search that is killed when all its steps are done and saved still comes to the same result."""

import signal
from pathlib import Path

import pytest
import torch
from moments import Moment, die_at
from ranks import Ranks
from search_commands import command

from vidnas.cli.main import main

# Two candidates are judged; then the network found is written, and last the result, the fifth JSON file after the
# settled epochs, the job, the run's settings and the time.
MOMENTS = {
    "while the second candidate is judged": Moment("call", "_score", 2),
    "before the result is written": Moment("call", "write_json", 5),
}


def dying(argv: list[str], moment: Moment) -> int:
    """Work of a process."""
    die_at(moment)
    return main(argv)


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out.parent / "cache"))
        assert main(command("search", videos, out)) == 0
    return out


@pytest.mark.parametrize("name", MOMENTS)
def test_killed_after_the_last_step_and_resumed(
    undisturbed: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "run"
    argv = command("search", videos, out)
    assert Ranks(1, tmp_path / "said", dying, argv, MOMENTS[name]).wait() == [-signal.SIGKILL]
    assert torch.load(out / "last.ckpt", weights_only=True)["step"] == 9, "all steps were saved"
    assert (out / "searched.json").exists() == (name == "before the result is written")
    assert not (out / "result.json").exists()
    capsys.readouterr()
    assert main([*argv, "--resume"]) == 0
    assert "going on at step 9 of 9" in capsys.readouterr().out, "no step is taken again"
    for file in ("result.json", "searched.json", "archive.jsonl", "curves.jsonl"):
        assert (out / file).read_bytes() == (undisturbed / file).read_bytes()
