"""`vidnas export`."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ClipSpec
from vidnas.cli.main import main
from vidnas.deploy.formats import FORMATS
from vidnas.nn.build import build
from vidnas.nn.weights import load_model, save_model

CLASSES = ("left", "right")


def save_network(folder: Path) -> None:
    """A small network with no branch hidden behind a zero-initialised norm."""
    spec = get_spec("x2d").with_clip(ClipSpec(frames=2, size=32)).with_classes(len(CLASSES))
    torch.manual_seed(0)
    network = build(spec)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    save_model(folder, network, classes=CLASSES)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model; read only."""
    folder = tmp_path_factory.mktemp("run")
    save_network(folder)
    return folder


def error_line(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    """The one line that a refused command prints."""
    code = main([str(word) for word in argv])
    printed = capsys.readouterr()
    assert code != 0
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_exports_and_says_how_to_use_it(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(model), "--format", "torch", "-o", "a.pt2", "--clip", "2x64", "--dynamic-batch"]) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    size = Path("a.pt2").stat().st_size / 2**20
    lines = printed.out.splitlines()
    assert lines[0] == f"a.pt2: {size:.1f} MiB, x2d"
    assert lines[1] == "input: clips float32 (batch, 3, 2, 64, 64), made from a video as a.pt2.json says"
    assert lines[2] == "output: logits float32 (batch, 2)"
    assert re.fullmatch(r"greatest difference from the original: \d\.\de[+-]\d\d of max\|logits\|", lines[3])

    clips = torch.randn(3, 3, 2, 64, 64)
    got = eval(lines[4].removeprefix("use: "), {"torch": torch, "clips": clips})
    with torch.no_grad():
        wanted = load_model(model)[0](clips)
    # Float32 in another order.
    torch.testing.assert_close(got.detach(), wanted, rtol=1e-4, atol=1e-5)


def test_other_formats_land_beside_the_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    openvino = pytest.importorskip("openvino")
    save_network(tmp_path)
    clips = torch.randn(1, 3, 2, 32, 32)
    with torch.no_grad():
        wanted = load_model(tmp_path)[0](clips).numpy()
    for name in ("onnx", "openvino"):
        assert main(["export", str(tmp_path / "model.safetensors"), "--format", name]) == 0
        printed = capfd.readouterr()
        assert printed.err == ""
        path = tmp_path / f"model{FORMATS[name].suffix}"
        assert printed.out.startswith(f"{path}: ")
        assert json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))["classes"] == list(CLASSES)
        code = printed.out.splitlines()[4].removeprefix("use: ")
        got = eval(code, {"onnxruntime": onnxruntime, "openvino": openvino, "clips": clips.numpy()})
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-5)  # float32 in another order
    assert load_model(tmp_path)[1].classes == CLASSES  # the model's own files are as before


def test_three_crops_are_larger_and_described(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.pt2"
    assert main(["export", str(model), "--format", "torch", "-o", str(out), "--views", "4x3"]) == 0
    assert "input: clips float32 (1, 3, 2, 36, 36), made from a video as" in capfd.readouterr().out
    steps = json.loads(Path(f"{out}.json").read_text(encoding="utf-8"))["preprocessing"]
    assert (steps["sampling"]["clips"], steps["crop"]["size"], steps["resize"]["short_side"]) == (4, 36, 36)


def test_bad_input_is_one_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*argv: str | Path) -> str:
        return error_line(capsys, "export", *argv)

    out = tmp_path / "net.pt2"
    assert "did you mean onnx?" in said(model, "--format", "onx", "-o", out)
    assert "--format" in said(model, "-o", out)
    assert "did you mean --format?" in said(model, "--fromat", "onnx")
    assert "clip '13': write frames x size" in said(model, "--format", "torch", "-o", out, "--clip", "13")
    assert "views 4x2: write clips x crops" in said(model, "--format", "torch", "-o", out, "--views", "4x2")
    assert "smaller than the network's pool" in said(model, "--format", "torch", "-o", out, "--clip", "1x32")
    assert "ends in .onnx" in said(model, "--format", "onnx", "-o", out)
    assert "make it first" in said(model, "--format", "torch", "-o", tmp_path / "no" / "net.pt2")
    assert "no-model" in said(tmp_path / "no-model", "--format", "torch", "-o", out)
    (tmp_path / "video.safetensors").write_bytes(b"not weights")
    (tmp_path / "video.json").write_text("{}")
    assert "video" in said(tmp_path / "video.safetensors", "--format", "torch", "-o", out)
    assert not out.exists()
    out.write_text("mine")
    assert "--force" in said(model, "--format", "torch", "-o", out)
    assert out.read_text() == "mine"


def test_a_disk_without_room_leaves_nothing(model: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails half way in the same manner."""
    out = tmp_path / "net.pt2"
    done = subprocess.run(
        [sys.executable, "-m", "vidnas", "export", str(model), "--format", "torch", "-o", str(out)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1
    assert (
        done.stderr == f"vidnas: error: {out}: cannot be written (file too large); make room or choose another folder\n"
    )
    assert list(tmp_path.iterdir()) == []
