"""`vidnas data cache` as a user calls it."""

import shutil
from pathlib import Path

import pytest

from vidnas.cli.main import main
from vidnas.data.synthetic import write_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(
        tmp_path / "data", classes=["grow", "shrink"], train_per_class=2, test_per_class=1, size=(32, 48), frames=6
    )
    return tmp_path / "data"


def test_the_copy_is_reported_and_used(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    call = ["data", "cache", str(data), "-o", str(out), "--format", "jpeg", "--short-side", "24", "--workers", "1"]
    assert main(call) == 0
    printed = capsys.readouterr().out
    size_mb = sum(path.stat().st_size for path in out.rglob("*.mov")) / 1e6
    assert f"{out}: 6 videos, 0.0 MB in, {size_mb:.1f} MB out; 6 made now, 0 there already\n" in printed
    assert f"wrote {out / 'train.csv'}: 4 videos\nwrote {out / 'test.csv'}: 2 videos\n" in printed
    assert main(["data", "check", str(out), "--workers", "1"]) == 0

    (data / "videos/train/grow_0000.mp4").write_text("no video")
    (data / "videos/train/grow_0001.mp4").unlink()
    shutil.copy(data / "videos/train/shrink_0000.mp4", data / "videos/train/shrink_0001.mp4")
    capsys.readouterr()
    assert main(["data", "check", str(out), "--workers", "1"]) == 0
    assert "note: " + str(out) + ": out of date: videos/train/grow_0000.mp4" in capsys.readouterr().out
    assert main(call) == 1
    printed = capsys.readouterr().out
    assert "4 videos" in printed
    assert "3 made now, 3 there already" in printed
    assert "changed since they were written, made again (3): videos/train/" in printed
    assert "unreadable, left out (2):\n  videos/train/grow_0000.mp4: not a video that can be read" in printed
    assert "  videos/train/grow_0001.mp4: no such file\n" in printed
    assert "note: class 'grow' has no video left in it\n" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--format", "jpeg"], 2, "needs -o/--out"),
        (["-o", "OUT"], 2, "needs --format"),
        (["-o", "OUT", "--format", "jepg"], 2, "did you mean jpeg?"),
        (["-o", "OUT", "--format", "jpeg", "--gop", "3"], 1, "--gop: is a setting of h264, not of jpeg"),
        (["-o", "OUT", "--format", "h264", "--quality", "3"], 1, "--quality: is a setting of jpeg, not of h264"),
        (["-o", "OUT", "--format", "h264", "--short-side", "33"], 1, "even"),
        (["-o", "OUT", "--format", "jpeg", "--workers", "0"], 2, "--workers 0: give a whole number above 0"),
        (["-o", "OUT", "--format", "jpeg", "--quality", "x"], 2, "--quality x: give a whole number"),
        (["-o", "DATA", "--format", "jpeg"], 1, "lies in the data set"),
        (["-o", "DATA/small", "--format", "jpeg"], 1, "lies in the data set"),
    ],
)
def test_bad_commands_are_one_line_and_write_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    places = {"OUT": str(tmp_path / "out"), "DATA": str(data), "DATA/small": str(data / "small")}
    assert main(["data", "cache", str(data), *(places.get(a, a) for a in arguments)]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert not (data / "small").exists()
