"""Checking real files in real processes, and the command line over it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidnas.cli.main import main
from vidnas.data.check import Finding, check, examine, shared
from vidnas.data.decode import VideoInfo, read_frames
from vidnas.data.encode import SmallForm, write_small
from vidnas.data.formats import VideoList, load_dataset, load_list
from vidnas.data.processes import run_apart
from vidnas.data.synthetic import write_dataset, write_video


def video(path: Path, frames: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    write_video(path, pixels, 10)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with every fault; read-only."""
    root = tmp_path_factory.mktemp("spoilt")
    for i in range(3):
        video(root / "clap" / f"{i}.mp4", 6 + i, i)
        video(root / "wave" / f"{i}.mp4", 6, 10 + i)
    video(root / "clap" / "one frame.mp4", 1, 20)
    shutil.copy(root / "clap" / "0.mp4", root / "clap" / "z copy.mp4")
    shutil.copy(root / "clap" / "2.mp4", root / "wave" / "z other label.mp4")
    (root / "wave" / "empty.mp4").touch()
    (root / "wave" / "empty too.mp4").touch()  # not called a duplicate
    (root / "wave" / "text.mp4").write_text("no video" * 100)
    return root


def names(videos: VideoList, places: tuple[int, ...]) -> list[str]:
    return [videos.relative(videos.samples[i]) for i in places]


def test_report(spoilt: Path) -> None:
    videos = load_list(spoilt)
    report = check(videos, workers=2, progress=False)
    assert names(videos, report.unreadable) == ["wave/empty too.mp4", "wave/empty.mp4", "wave/text.mp4"]
    causes = [report.findings[i].cause or "" for i in report.unreadable]
    assert "0 bytes" in causes[0]
    assert "not a video" in causes[2]
    assert names(videos, report.too_short) == ["clap/one frame.mp4"]
    assert [names(videos, same) for same in report.duplicates] == [
        ["clap/0.mp4", "clap/z copy.mp4"],
        ["clap/2.mp4", "wave/z other label.mp4"],
    ]
    # The first of equal files stays, unless nobody can tell which label is right.
    assert names(videos, report.good) == ["clap/0.mp4", "clap/1.mp4", "wave/0.mp4", "wave/1.mp4", "wave/2.mp4"]
    counted = {videos.relative(s): f.frames for s, f in zip(videos.samples, report.findings, strict=True)}
    assert counted["clap/1.mp4"] == 7
    assert counted["clap/one frame.mp4"] == 1
    longer = check(videos, workers=1, min_frames=7, progress=False)
    assert names(videos, longer.too_short)[:2] == ["clap/0.mp4", "clap/one frame.mp4"]
    assert longer.findings == report.findings


def test_shared_files_of_two_lists(spoilt: Path) -> None:
    videos = load_list(spoilt)
    a = check(videos.subset([0, 1]), workers=1, progress=False)
    b = check(videos.subset([4, 5]), workers=1, progress=False)  # 4 is the copy of 0
    assert shared(a, b) == ((0, 0),)
    assert shared(b, a) == ((0, 0),)


def test_a_video_is_decoded_once(spoilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    open_once = VideoInfo.open
    monkeypatch.setattr(VideoInfo, "open", lambda info: passes.append(info.path) or open_once(info))
    path = spoilt / "clap" / "2.mp4"
    finding = examine(path)
    assert passes == [path]
    assert finding.look is not None
    # The eight times lie in the middle of the eight frames.
    whole = read_frames(path, [0.05 + 0.1 * k for k in range(8)])
    small = [Image.fromarray(frame).convert("L").resize((16, 16), Image.Resampling.BOX).tobytes() for frame in whole]
    assert (finding.frames, finding.look.levels) == (8, b"".join(small))


def crash_or_count(path: Path) -> Finding:
    """Stands for a decoder that takes its process down, as no file at hand does."""
    if path.name.startswith("crash"):
        os._exit(11)
    return Finding(len(path.name), None)


def test_a_file_that_kills_its_process_is_found_out() -> None:
    paths = [Path(f"{'crash' if i in (3, 11) else 'good'}{i}") for i in range(14)]
    done: dict[int, Finding] = {}
    crash = Finding(0, None, "crash")
    findings = run_apart(crash_or_count, paths, 2, dead=crash, done=lambda place, found: done.update({place: found}))
    assert [i for i, finding in enumerate(findings) if finding.cause is not None] == [3, 11]
    assert all(f.frames == len(p.name) for f, p in zip(findings, paths, strict=True) if f.cause is None)
    assert [done[i] for i in range(14)] == findings


def test_command_reports_and_fixes(spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shutil.copytree(spoilt, tmp_path / "data")
    assert main(["data", "check", str(data), "--workers", "2"]) == 1
    out = capsys.readouterr().out
    for line in (
        "12 videos, 2 classes, 1 to 8 frames",
        "wave/empty.mp4: the file is empty (0 bytes)",
        "clap/one frame.mp4: 1",
        "clap/0.mp4 = clap/z copy.mp4\n",
        "clap/2.mp4 = wave/z other label.mp4 (in different classes: clap, wave)",
        "clap  2 of 5",
        "wave  3 of 7",
    ):
        assert line in out, out
    assert not list(data.glob("*.csv"))

    fixed = data / "clean.csv"
    assert main(["data", "check", str(data), "--fix", str(fixed), "--group-regex", r"(\d)\."]) == 1
    assert "no group" in capsys.readouterr().err
    assert main(["data", "check", str(data), "--fix", str(fixed), "--group-regex", r"/(.)"]) == 0
    clean = load_list(fixed)
    assert names(clean, tuple(range(len(clean)))) == [
        f"{c}.mp4" for c in ("clap/0", "clap/1", "wave/0", "wave/1", "wave/2")
    ]
    assert clean.classes == ("clap", "wave")
    assert [sample.group for sample in clean.samples] == ["0", "1", "0", "1", "2"]
    assert main(["data", "check", str(fixed)]) == 0
    assert "all good" in capsys.readouterr().out


def test_two_lists_are_fixed_in_place_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(5):
        video(tmp_path / "v" / f"{i}.mp4", 5, i)
    shutil.copy(tmp_path / "v" / "0.mp4", tmp_path / "v" / "leak.mp4")
    (tmp_path / "v" / "bad.mp4").touch()
    (tmp_path / "classes.txt").write_text("zoom\napplaud\n")
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("v/0.mp4 0\nv/1.mp4 1\nv/2.mp4 0\nv/bad.mp4 1\n")
    test.write_text("v/3.mp4 0\nv/4.mp4 1\nv/leak.mp4 0\n")
    before = train.read_text(), test.read_text()
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "in the training list and in the test list (1):\n  v/0.mp4 = v/leak.mp4" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path), "--fix", str(tmp_path / "x.csv")]) == 1
    assert "two lists" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path), "--fix", str(tmp_path)]) == 0
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert names(lists.train, (0, 1)) == ["v/1.mp4", "v/2.mp4"]
    assert (lists.train.labels, lists.test.labels) == ((1, 0), (0, 1, 0))
    assert lists.train.classes == ("zoom", "applaud")
    assert ((tmp_path / "train.csv.bak").read_text(), (tmp_path / "test.csv.bak").read_text()) == before
    assert main(["data", "check", str(tmp_path)]) == 0
    # A second backup would overwrite the first.
    assert main(["data", "check", str(tmp_path), "--fix", str(tmp_path)]) == 1
    assert "train.csv.bak: is there already" in capsys.readouterr().err


def test_training_videos_that_look_like_test_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(
        tmp_path, classes=["grow", "move_left"], train_per_class=3, test_per_class=2, size=(64, 64), frames=16
    )
    (tmp_path / "Test.csv").write_text((tmp_path / "test.csv").read_text())
    (tmp_path / "test.csv").unlink()
    assert main(["data", "check", str(tmp_path), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "all good" in out
    assert "note: groups: " in out
    # A test video becomes a smaller copy of a training video.
    write_small(
        tmp_path / "videos/train/grow_0001.mp4", tmp_path / "videos/test/grow_0000.mp4", SmallForm("h264", 48, crf=28)
    )
    assert main(["data", "check", str(tmp_path), "--workers", "1"]) == 1
    pair = "videos/train/grow_0001.mp4 ~ videos/test/grow_0000.mp4"
    assert f"in the training list, and looking like one in the test list (1):\n  {pair}\n" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path), "--fix", str(tmp_path), "--workers", "1"]) == 0
    lists = load_dataset(tmp_path)
    assert lists.test is not None
    assert (len(lists.train), len(lists.test)) == (5, 4)
    assert sorted(path.name for path in tmp_path.glob("*.csv*")) == [
        *("Test.csv", "Test.csv.bak", "train.csv", "train.csv.bak")
    ]


def test_names_that_look_like_groups_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        for g in range(3):
            video(tmp_path / name / f"{name}_g{g}_c1.mp4", 4, g)
            for c in (2, 3):
                shutil.copy(tmp_path / name / f"{name}_g{g}_c1.mp4", tmp_path / name / f"{name}_g{g}_c{c}.mp4")
    main(["data", "check", str(tmp_path), "--workers", "1"])
    out = capsys.readouterr().out
    assert "names look like 6 groups of 18 videos, and 4 of 4 test videos are of groups that train has too" in out
    assert r"--group-regex '([^/]+_g\d+)_c\d+'" in out
    main(["data", "check", str(tmp_path), "--workers", "1", "--group-regex", r"([^/]+_g\d+)_c\d+"])
    assert "note: groups: 4 for train, 2 for test; none in more than one of them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "no such file or folder"),
        (["DATA", "--fix", "DATA/none/x.csv"], 1, "no such folder"),
        (["DATA", "--fix", "ELSEWHERE/x.csv"], 1, "does not reach out"),
        (["DATA", "--workers", "0"], 2, "above 0"),
        (["DATA", "--min-frames", "many"], 2, "above 0"),
        (["DATA", "--worker", "1"], 2, "did you mean --workers?"),
        ([], 2, "needs FOLDER|CSV"),
    ],
)
def test_bad_commands_fail_before_anything_is_decoded(
    spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    filled = [a.replace("DATA", str(spoilt)).replace("ELSEWHERE", str(tmp_path)) for a in arguments]
    assert main(["data", "check", *filled]) == code
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert not out


def test_unknown_action(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "chekc"]) == 2
    assert "did you mean check?" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups")
@pytest.mark.parametrize("after_sec", [0.2, 1.0])
def test_ctrl_c_ends_everything_with_one_line(tmp_path: Path, after_sec: float) -> None:
    video(tmp_path / "a" / "0.mp4", 5, 0)
    video(tmp_path / "b" / "0.mp4", 5, 1)
    # Far more files than can be decoded in the time.
    for i in range(1, 4000):
        (tmp_path / "a" / f"{i}.mp4").hardlink_to(tmp_path / "a" / "0.mp4")
    command = "import sys; from vidnas.cli.main import main; print('up', flush=True); sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "data", "check", str(tmp_path), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_sec)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.replace("\n", "") == "vidnas: error: interrupted"
    assert out == ""
    deadline = time.monotonic() + 5  # the workers may take a moment longer than their parent
    while group_lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_lives(process.pid)


def group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_of_a_list_without_a_usable_video_no_list_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run/a.mp4", "jump/b.mp4"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True)
        path.write_text("no video")
    fixed = tmp_path / "fixed.csv"
    assert main(["data", "check", str(tmp_path / "data"), "--fix", str(fixed)]) == 1
    told = capsys.readouterr()
    assert "run/a.mp4: " in told.out
    assert told.err == f"vidnas: error: {tmp_path / 'data'}: none of the 2 videos is of use; the lines above say why\n"
    assert not fixed.exists()
