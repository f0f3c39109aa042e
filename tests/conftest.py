"""Puts this folder on the import path, for helpers that several test folders share; a small data set of videos."""

import os
from pathlib import Path

import fork_server
import pytest

from vidnas.data.synthetic import write_dataset


def pytest_sessionstart() -> None:
    """The server that processes are forked from belongs to the tests; few tests alone do not always need it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        fork_server.start()


@pytest.fixture(scope="session")
def synthetic_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv (12 classes x 5), test.csv (x 2), classes.txt and 24-frame 48x64 H.264 videos.

    Read-only: tests that change files work on a copy.
    """
    root = tmp_path_factory.mktemp("synthetic")
    # Key frames every 8 frames, so that reading from the middle has to seek and roll in.
    write_dataset(root, train_per_class=5, test_per_class=2, size=(48, 64), frames=24, fps=24, gop=8)
    return root
