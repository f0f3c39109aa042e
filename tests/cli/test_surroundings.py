"""No home, no place for caches, no shared memory, no characters: one line at most, and the work is done."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_training import tiny_spec

from vidnas.cli.main import main
from vidnas.data.formats import load_dataset

# A user that nobody knows, who may still read what tests lie on.
NOBODY = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
NOBODY += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def works(words: Sequence[str]) -> bool:
    return shutil.which(words[0]) is not None and subprocess.run([*words, "true"], check=False).returncode == 0


SEVERAL = """
import json, sys
from vidnas.cli.main import main
for words in json.loads(sys.argv[1]):
    print(f"exit code {main(words)}", flush=True)
"""


@dataclass(frozen=True)
class Said:
    """What commands printed, and their exit codes."""

    codes: list[int]
    out: str
    err: str


def program(*commands: Sequence[str], before: Sequence[str] = (), **environment: str | None) -> Said:
    """Commands in one process, with variables set, or taken away where they are None."""
    everything = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        [*before, sys.executable, "-c", SEVERAL, json.dumps(commands)],
        env={name: value for name, value in everything.items() if value is not None},
        capture_output=True,
        timeout=120,
        check=False,
    )
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    codes = [int(line.removeprefix("exit code ")) for line in out.splitlines() if line.startswith("exit code ")]
    assert len(codes) == len(commands), err
    return Said(codes, out, err)


def training(videos: Path, folder: Path, *more: str) -> list[str]:
    (folder / "tiny.json").write_text(tiny_spec(2).to_json(), encoding="utf-8")
    words = ["train", "--arch", str(folder / "tiny.json"), "--data", str(videos), "--out", str(folder / "run")]
    return [*words, "--steps", "1", "--batch-size", "4", "--workers", "0", *more]


@pytest.mark.skipif(not works(NOBODY), reason="needs setpriv and the right to become another user")
@pytest.mark.parametrize("home", [None, pytest.param("/", marks=pytest.mark.long)])
def test_a_user_without_a_home(videos: Path, tmp_path: Path, home: str | None) -> None:
    tmp_path.chmod(0o777)
    drawing = ["plot", "x3d_s", "-o", str(tmp_path / "x.png")]
    said = program(training(videos, tmp_path), drawing, before=NOBODY, HOME=home, XDG_CACHE_HOME=None)
    assert said.codes == [0, 0], said.err
    assert said.err == (
        "note: no frame cache in /.cache/vidnas (permission denied); videos are decoded as needed, or name another "
        "--cache-dir\n"
    )


def test_a_cache_folder_that_cannot_be_written(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    named = training(videos, tmp_path, "--cache-dir", str(tmp_path / "file" / "cache"))
    named[named.index("--out") + 1] += "_named"
    said = program(training(videos, tmp_path), named, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert said.codes == [0, 1], said.err
    first, second = said.err.splitlines()
    assert first.startswith(f"note: no frame cache in {tmp_path}/file/vidnas (not a directory); videos are decoded")
    # One that was asked for is another matter.
    assert f"{tmp_path}/file/cache: cannot write the frame cache (Not a directory)" in second


def with_disk(place: str | Path, size: str) -> list[str]:
    """What runs a command with a disk of its own mounted somewhere."""
    return ["unshare", "-m", "sh", "-c", f"mount -t tmpfs -o {size} tmpfs '{place}' && exec \"$@\"", "sh"]


def without_shared_memory(size: str) -> list[str]:
    return with_disk("/dev/shm", size)


needs_mounts = pytest.mark.skipif(not works(without_shared_memory("ro")), reason="needs the right to mount")


@needs_mounts
@pytest.mark.parametrize("size", [pytest.param("ro", marks=pytest.mark.long), "size=64k"])
def test_no_shared_memory(videos: Path, tmp_path: Path, size: str) -> None:
    testing = ["test", str(tmp_path / "run"), "--data", str(videos), "--views", "3x3", "--workers"]
    said = program(
        training(videos, tmp_path),
        [*testing, "0"],
        ["data", "check", str(videos), "--workers", "2"],
        [*testing, "1"],
        before=without_shared_memory(size),
    )
    assert said.codes == [0, 0, 0, 1], said.err
    (line,) = said.err.splitlines()
    assert line.startswith("vidnas: error: no shared memory left for ")
    assert "--workers 0" in line
    assert "disk" not in line


@needs_mounts
def test_a_cache_folder_on_a_full_disk(videos: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    said = program(training(videos, tmp_path, "--cache-dir", str(disk)), before=with_disk(disk, "size=16k"))
    assert said.codes == [1], said.err
    assert said.err == (
        f"vidnas: error: {disk}: cannot write the frame cache (the frames take 1 MiB, and 0 are free on the disk): "
        "free some space, name another --cache-dir, or do without by --memory-budget-mib 0\n"
    )


def test_relative_folders_of_the_user_count_as_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "relative")
    assert main(["list", "x3d_s"]) == 0
    assert Path.home().is_absolute()
    assert not {"XDG_CACHE_HOME", "XDG_CONFIG_HOME"} & set(os.environ)


def test_an_output_without_the_characters(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "classes"
    lists = load_dataset(videos)
    for sample in lists.train.samples:
        target = root / ("跑步", "跳")[sample.label] / f"é{sample.path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(sample.path, target)
    video = next((root / "跳").iterdir())
    assert main(training(root, tmp_path)) == 0
    predicting = ["predict", str(tmp_path / "run"), "--views", "1x1"]
    said = program(
        [*predicting, str(video)],
        ["data", "check", str(root), "--workers", "1"],
        [*predicting, str(root / "不在.mp4")],
        PYTHONIOENCODING="ascii",
    )
    assert said.codes == [0, 0, 1], said.err
    assert said.out.count("\\u8dd1\\u6b65") >= 2
    assert "\\u4e0d\\u5728.mp4" in said.err
    assert "Traceback" not in said.err
