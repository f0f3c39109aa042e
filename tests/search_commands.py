"""A search that takes a second, and commands that must fail."""

from pathlib import Path

import pytest

from vidnas.cli.main import main

SMALL = ["--space", "tiny", "--clip", "4x24", "--sampling", "uniform", "--target-macs", "1M"]
QUICK = ["--search.steps", "9", "--search.batch_size", "8", "--search.norm_batches", "1", "--search.candidates", "2"]
QUICK += ["--clips.workers", "0", "--clips.jitter", "[1.0,1.1]", "--search.threads", "1"]
TRAIN = ["--method", "supernet", "--train.epochs", "1", "--train.batch_size", "8", "--train.threads", "1"]
TRAIN += ["--parallel", "1"]


def command(verb: str, videos: Path, out: Path, *more: str) -> list[str]:
    """`vidnas run` or `vidnas search` on a data set."""
    own = TRAIN if verb == "run" else ["--no-trials"]
    return [verb, "--data", str(videos), "--out", str(out), *SMALL, *QUICK, *own, *more]


def fails(capsys: pytest.CaptureFixture[str], argv: list[str], code: int = 1) -> str:
    """Run a command that must fail; returns the one line of its error."""
    assert main(argv) == code
    error = capsys.readouterr().err.strip().splitlines()
    lines = [line for line in error if not line.startswith("search:")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("vidnas: error: ")
    return lines[0]
