"""SIGTERM and Ctrl-C at any moment of a command: the right exit code, one line, nothing lost and nothing left."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from program import Program
from search_commands import command

from vidnas.data.formats import load_dataset

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def whole_run(videos: Path, folder: Path, *more: str) -> list[str]:
    """A `vidnas run` with everything in it, the making of its frame cache included."""
    return [*command("run", videos, folder / "run", "--clips.cache_dir", str(folder / "cache")), *more]


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a run that nothing happens to, and the seconds that it takes."""
    seconds = []
    for name in ("first", "second"):  # the first one waits for the server's imports
        folder = tmp_path_factory.mktemp(name)
        start = time.monotonic()
        program = Program(whole_run(videos, folder), folder / "said")
        assert program.wait() == 0, program.said()
        seconds.append(time.monotonic() - start)
    return folder / "run", seconds[-1]


@pytest.mark.parametrize("moments", [6, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.parametrize("signum", CODES, ids=lambda signum: signum.name)
def test_a_run_stopped_at_any_moment_goes_on_to_the_same_files(
    undisturbed: tuple[Path, float], videos: Path, tmp_path: Path, signum: signal.Signals, moments: int
) -> None:
    whole, seconds = undisturbed
    rng = random.Random(100 * moments + int(signum))
    stops = runs = 0
    while stops < moments:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        options: list[str] = []
        while True:
            program = Program(whole_run(videos, folder, *options), folder / "said")
            moment = rng.uniform(0.02, 1) * seconds
            code = program.stop_after(moment, signum) if stops < moments else program.wait()
            said = program.said()
            if code == 0:
                if not options and stops < moments:
                    seconds = min(seconds, moment)  # where the machine has become quicker, or most would be too late
                break
            stops += 1
            assert code == CODES[signum], (moment, said)
            assert "Traceback" not in said, (moment, said)
            (line,) = [line for line in said.splitlines() if "vidnas: error: " in line]
            assert "--resume" in line or "the same command goes on" in line
            assert said.rstrip().endswith(line), said
            options = ["--resume"]
        assert results(folder / "run") == results(whole)


def results(run: Path) -> dict[str, object]:
    """What a run has found, without what measures time."""
    files = ["search/archive.jsonl", "search/curves.jsonl", "search/searched.json", "search/result.json"]
    for network in ("searched", "x3d"):
        files += [f"{network}/model.safetensors"]
        files += [f"{network}/test/{name}.csv" for name in ("scores", "per_class", "confusion")]
    found: dict[str, object] = {name: (run / name).read_bytes() for name in files}
    for name in ("result.json", "searched/test/result.json", "x3d/test/result.json"):
        figures = json.loads((run / name).read_text(encoding="utf-8"))
        found[name] = {key: value for key, value in figures.items() if key not in ("phases_sec", "wall_sec")}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert not list(run.rglob("*.tmp"))
    return found


def start(folder: Path, *argv: str) -> "subprocess.Popen[str]":
    """The program itself, whose processes can be told by their working folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "vidnas", *argv],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def processes_in(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def until(seconds: float, condition) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("signum", "argv"),
    [
        (signal.SIGTERM, ["test", "RUN", "--views", "400x3", "--workers", "2", "--memory-budget-mib", "0"]),
        (signal.SIGINT, ["data", "check", "--workers", "2"]),
    ],
)
def test_workers_end_with_the_command(
    own_run: Path, videos: Path, tmp_path: Path, signum: signal.Signals, argv: list[str]
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    if argv[0] == "test":
        data = ["--data", str(videos), "--out", "out"]
    else:  # enough to do until the signal comes
        video = load_dataset(videos).train.samples[0].path
        for name in ("one", "two"):
            (tmp_path / "many" / name).mkdir(parents=True)
            for i in range(2000):
                os.link(video, tmp_path / "many" / name / f"{i}.mp4")
        data = [str(tmp_path / "many")]
    process = start(folder, *(str(own_run / "searched") if word == "RUN" else word for word in argv), *data)
    try:
        until(120, lambda: process.poll() is not None or len(processes_in(folder)) >= 3)
        time.sleep(0.5)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    what = "interrupted" if signum == signal.SIGINT else "stopped by SIGTERM"
    assert (process.returncode, errors) == (CODES[signum], f"vidnas: error: {what}\n")
    assert not (folder / "out" / "result.json").exists()
    until(20, lambda: not processes_in(folder))


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0])
def test_stopped_while_it_loads(videos: Path, tmp_path: Path, seconds: float) -> None:
    process = start(tmp_path, *command("run", videos, tmp_path / "run"))
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    # Before Python has come to our first line the system ends the process, which a shell calls 143 too.
    if process.returncode != -signal.SIGTERM:
        assert process.returncode == 143
        # How far it has come by then depends on the machine.
        assert errors.endswith("vidnas: error: stopped by SIGTERM; the same command with --resume goes on\n")
        assert "Traceback" not in errors
