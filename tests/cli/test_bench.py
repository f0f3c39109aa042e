"""`vidnas bench`."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from latency_examples import small_space

from vidnas.arch.cost import network_cost
from vidnas.cli.main import main
from vidnas.nn.build import build
from vidnas.nn.weights import save_model


@pytest.fixture(scope="module")
def spec_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small network; read only."""
    space = small_space()
    path = tmp_path_factory.mktemp("spec") / "small.json"
    path.write_text(space.decode(space.smallest()).model_copy(update={"name": "small"}).to_json())
    return path


def printed(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    assert main(["bench", *map(str, argv)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_three_lines(spec_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, spec_file, "--threads", "1").splitlines()
    space = small_space()
    assert lines[0] == f"small: {network_cost(space.decode(space.smallest()))}"
    assert re.fullmatch(
        r"\d+\.\d\d ms per clip, half of \d+ calls within \d+\.\d\d to \d+\.\d\d \(cpu, 1 thread, batch 1, .+\)",
        lines[1],
    )
    assert re.fullmatch(r"peak memory \d+ MiB of the process, \d+ MiB before the network", lines[2])


def test_json_at_another_clip_and_batch(spec_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(printed(capsys, spec_file, "--clip", "3x24", "--batch-size", "2", "--threads", "1", "--json"))
    space = small_space()
    spec = space.decode(space.smallest())
    assert (report["name"], report["clip"], report["batch_size"]) == ("small", "3x24x24", 2)
    assert report["macs"] == network_cost(spec, spec.clip.resized("3x24"), "all").macs
    assert report["params"] == sum(p.numel() for p in build(spec).parameters())
    ms = report["ms_per_clip"]
    assert 0 < ms["first_quartile"] <= ms["median"] <= ms["third_quartile"]
    assert report["peak_memory_mib"] > 0


def test_a_trained_model_in_openvino(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    space = small_space()
    spec = space.decode(space.smallest())
    save_model(tmp_path, build(spec), classes=("a", "b", "c"))
    lines = printed(capsys, tmp_path, "--device", "openvino", "--threads", "1").splitlines()
    assert lines[0].startswith(f"{spec.name}: ")
    assert "(openvino, 1 thread, batch 1, " in lines[1]


def test_bad_input_is_one_line(
    spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*argv: str | Path) -> str:
        assert main(["bench", *map(str, argv)]) != 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    assert "did you mean x3d_s?" in said("x3d_ss")
    assert "cannot read the architecture" in said(tmp_path / "none.json")
    assert "no model.safetensors and model.json in it" in said(tmp_path)
    assert "did you mean openvino?" in said(spec_file, "--device", "openvin")
    assert "--batch-size 0: give a whole number above 0" in said(spec_file, "--batch-size", "0")
    assert "--batch-size abc: give a whole number above 0" in said(spec_file, "--batch-size", "abc")
    assert "threads 100000: give 1024 or fewer" in said(spec_file, "--threads", "100000")
    assert "clip '3': write frames x size" in said(spec_file, "--clip", "3")
    assert "smaller than the network's pool" in said(spec_file, "--clip", "1x16")
    if not torch.cuda.is_available():
        assert "torch finds no GPU here; use --device cpu or openvino" in said(spec_file, "--device", "cuda")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert re.search(
        r"device openvino needs openvino.*: pip install 'vidnas\[export\]'", said(spec_file, "--device", "openvino")
    )
