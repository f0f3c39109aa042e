"""Times of the parts of a run, over attempts that end in every way."""

import os
import signal
import time
from pathlib import Path

import fork_server
import pytest

from vidnas.pipeline.phases import PhaseClock

PART_SEC = 0.05


def work_and_die(path: Path) -> None:
    with PhaseClock(path, every_sec=PART_SEC).phase("race"):
        time.sleep(5 * PART_SEC)
        os.kill(os.getpid(), signal.SIGKILL)


def test_attempts_add_up_however_they_end(tmp_path):
    path = tmp_path / "times.json"
    assert fork_server.ended(work_and_die, path) == -signal.SIGKILL
    killed = PhaseClock(path).sec("race")
    assert killed >= 2 * PART_SEC

    def stop() -> None:
        with PhaseClock(path).phase("race"):
            time.sleep(PART_SEC)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    stopped = PhaseClock(path).sec("race")
    assert stopped >= killed + PART_SEC
    clock = PhaseClock(path)
    for _ in range(2):
        with clock.phase("race"):
            time.sleep(PART_SEC)
        time.sleep(PART_SEC)
    assert clock.sec("race") >= stopped + 2 * PART_SEC
    with clock.phase("last trainings"):
        pass
    assert PhaseClock(path).sec("race") == clock.sec("race")
    assert PhaseClock(path).sec("last trainings") < clock.sec("race")


def test_time_between_phases_is_of_none(tmp_path):
    clock = PhaseClock(tmp_path / "times.json")
    with clock.phase("race"):
        pass
    time.sleep(10 * PART_SEC)
    with clock.phase("race"):
        pass
    assert clock.sec("race") < 10 * PART_SEC
    assert clock.sec("search") == 0
