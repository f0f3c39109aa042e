"""Work in processes that are stopped, killed, short of memory, or wrong."""

import os
import signal
import traceback
from collections.abc import Iterable
from pathlib import Path

import pytest

from vidnas.base.interrupt import Interrupted, StopSignals
from vidnas.data.processes import run_apart, run_wanted


def done_by(work, jobs: Iterable[Path], **options) -> dict[str, object]:
    """What each job came to, two at a time."""
    found: dict[str, object] = {}
    given = iter([(job.name, job) for job in jobs])
    run_wanted(
        work, lambda: next(given, None), 2, dead="dead", done=lambda name, out: found.update({name: out}), **options
    )
    return found


def first_time(path: Path) -> bool:
    before = path.exists()
    path.touch()
    return not before


def be_killed_once(path: Path) -> int:
    """Is ended from outside, as by a system that runs out of memory, but not the second time."""
    if "victim" in path.name and first_time(path):
        os.kill(os.getpid(), signal.SIGKILL)
    return len(path.name)


def test_a_job_whose_process_was_killed_is_tried_once_more(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("good", "victim 1", "fine", "victim 22")]
    assert run_apart(be_killed_once, paths, 2, dead=-1, done=lambda place, found: None) == [4, 8, 4, 9]


def be_stopped(path: Path) -> str:
    """As a training that something beside the command sends a SIGTERM, as what watches over memory does."""
    if "always" in path.name or ("once" in path.name and first_time(path)):
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.received
            raise Interrupted("stopped; 3 of 9 steps are saved", stop.received)
    return "done"


def test_a_process_that_alone_is_asked_to_stop_has_died(tmp_path: Path) -> None:
    names = ("a", "once", "b", "always", "c")
    assert done_by(be_stopped, [tmp_path / name for name in names]) == {
        **dict.fromkeys(names, "done"),
        "always": "dead",
    }


def be_short_of_memory(path: Path) -> str:
    (path.parent / f"{path.name} began {len(list(path.parent.iterdir()))}").touch()
    if "always" in path.name or ("once" in path.name and first_time(path)):
        return "short"
    return "done"


def test_a_job_that_lacks_memory_is_tried_once_more_at_the_end(tmp_path: Path) -> None:
    names = ("once", "a", "always", "b", "c")
    found = done_by(be_short_of_memory, [tmp_path / name for name in names], starved=lambda out: out == "short")
    assert found == {**dict.fromkeys(names, "done"), "always": "short"}
    assert set(list(found)[:3]) == {"a", "b", "c"}
    tries = [path.name.split()[0] for path in tmp_path.glob("* began *")]
    assert {name: tries.count(name) for name in names} == {**dict.fromkeys(names, 1), "once": 2, "always": 2}


def fail(path: Path) -> str:
    if path.name == "ends":
        raise EOFError("the file ends early")
    raise ValueError("7 is no even number")


@pytest.mark.parametrize(("name", "kind"), [("ends", EOFError), ("odd", ValueError)])
def test_an_error_comes_as_it_is_with_its_place(tmp_path: Path, name: str, kind: type[Exception]) -> None:
    """Also one that looks like the end of a process."""
    with pytest.raises(kind) as error:
        done_by(fail, [tmp_path / name])
    assert ", in fail\n" in "".join(traceback.format_exception(error.value))
