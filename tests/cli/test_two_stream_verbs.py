"""A network of two streams through every verb, on real video files; what is refused, and how it is named."""

import json
from pathlib import Path

import pytest
import torch
from two_streams import small_two_streams

from vidnas.cli.main import main
from vidnas.data.formats import load_dataset
from vidnas.nn.weights import load_model

QUICK = ["--steps", "2", "--batch-size", "6", "--workers", "0", "--memory-budget-mib", "0"]


def output(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    assert main([str(word) for word in argv]) == 0
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    assert main([str(word) for word in argv]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture(scope="module")
def arch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arch") / "two.json"
    path.write_text(small_two_streams().to_json())
    return path


@pytest.fixture(scope="module")
def trained(arch: Path, synthetic_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps."""
    out = tmp_path_factory.mktemp("two") / "run"
    words = ["train", "--arch", arch, "--data", synthetic_data, "--out", out, "--clip", "8x40", *QUICK]
    assert main([str(word) for word in words]) == 0
    return out


def test_train_test_predict_export(
    trained: Path, synthetic_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, info = load_model(trained)
    assert (info.spec.name, str(info.clip), info.spec.streams[0].every) == ("small_two_streams", "8x40x40", 4)
    assert len(network.fusions) == 4
    result = json.loads((trained / "test" / "result.json").read_text())
    assert result["videos"] == 24

    # 10-Center and 10-LeftCenterRight, with fewer clips: one tensor of all frames either way.
    told = output(
        capsys, "test", trained, "--data", synthetic_data, "--views", "2x3", "--workers", "0", "--out", tmp_path
    )
    assert "24 videos, " in told
    assert "@ 8x46x46 = " in told
    video = load_dataset(synthetic_data).test.samples[0].path
    assert output(capsys, "predict", trained, video, "--views", "2x1", "--top", "1").startswith(f"{video}: ")
    output(capsys, "export", trained, "--format", "torch", "--out", tmp_path / "model.pt2")
    clips = torch.randn(1, 3, 8, 40, 40)
    with torch.no_grad():
        exported = torch.export.load(tmp_path / "model.pt2").module()(clips)
        assert (exported - network(clips)).abs().max() < 1e-4 * exported.abs().max()


def test_one_stream_starts_the_other(
    arch: Path, trained: Path, synthetic_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone.json"
    alone.write_text(load_model(trained)[1].spec.alone(0).to_json())
    data = ["--data", synthetic_data, "--test", "none", *QUICK]
    output(capsys, "train", "--arch", alone, *data, "--out", tmp_path / "one")
    two = ["train", "--arch", arch, "--clip", "8x40", *data, "--weights", tmp_path / "one", "--out", tmp_path / "two"]
    assert main([str(word) for word in two]) == 0
    told = "".join(capsys.readouterr())
    assert "replaced  streams.1 (" in told
    assert "head.fc1.weight: 23 of 36 input channels are the file's, the others start at zero" in told


def test_a_network_of_the_zoo_trains(synthetic_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--arch", "manual_tsnet_55", "--clip", "8x32", "--data", synthetic_data, "--test", "none"]
    output(capsys, *words, "--out", tmp_path / "run", *QUICK, "--steps", "1", "--batch-size", "2")
    network, info = load_model(tmp_path / "run")
    assert (info.spec.name, str(info.clip), len(network.fusions)) == ("manual_tsnet_55", "8x32x32", 5)


def test_frames_that_it_cannot_take_are_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], synthetic_data: Path
) -> None:
    words = ["train", "--arch", "manual_tsnet_55", "--data", synthetic_data, "--out", tmp_path / "run", *QUICK]
    said = "streams.0.every: one frame in 8 is taken of a clip of 12 frames; make frames a multiple of 8"
    assert said in refusal(capsys, *words, "--clip", "12x32")
    assert not (tmp_path / "run").exists()
    assert said in refusal(capsys, "info", "manual_tsnet_55", "--clip", "12x160")


def test_list_and_info_say_what_is_a_reconstruction(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in output(capsys, "list", "tsnet").splitlines() if "tsnet" in line]
    assert len(lines) == 14
    assert all(line.endswith("reconstruction" if line.startswith("auto") else "widths fitted") for line in lines)
    assert "2.459 GMACs @ 32x160x160" in next(line for line in lines if line.startswith("auto_tsnet_s "))
    rows = json.loads(output(capsys, "list", "*", "--json"))
    assert {row["note"] for row in rows if "auto_tsnet" in row["name"]} == {"reconstruction"}
    told = output(capsys, "info", "auto_tsnet_m", "--clip", "32x256")
    assert told.startswith("auto_tsnet_m (reconstruction) (")
    assert "Not all is its paper's: reconstruction (docs/discrepancies.md).\n" in told
    assert "6.102 GMACs @ 32x256x256" in told
    assert "fusions.group3_1to0_time_strided_convolution.conv" in told
    report = json.loads(output(capsys, "info", "auto_tsnet_m", "--json"))
    assert (report["name"], report["note"]) == ("auto_tsnet_m (reconstruction)", "reconstruction")


def test_plot_and_bench(arch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output(capsys, "plot", "auto_tsnet_s", "-o", tmp_path / "two.svg")
    assert ">auto_tsnet_s (reconstruction)<" in (tmp_path / "two.svg").read_text()
    assert "small_two_streams: 2.55 MMACs @ 8x32x32" in output(capsys, "bench", arch)
