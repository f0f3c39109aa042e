"""benchmarks/official_weights.py on files with the official names and random contents."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

create_x3d = pytest.importorskip("pytorchvideo.models.x3d", reason="needs the `peers` extra").create_x3d
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    path = HERE.parents[1] / "benchmarks/official_weights.py"
    module_spec = importlib.util.spec_from_file_location("official_weights", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module.main


def fill(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.normal_(0, 0.3)
    return state


def test_without_files_nothing_is_run(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("official weights: not run here")


def test_files_of_both(main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = json.loads((HERE / "data/slowfast_x3d_s.json").read_text())
    pytorchvideo, slowfast = tmp_path / "X3D_XS.pyth", tmp_path / "from_slowfast.pyth"
    torch.save({"model_state": fill(create_x3d(input_clip_length=4).state_dict())}, pytorchvideo)
    torch.save({"model_state": fill({name: torch.zeros(shape) for name, shape in shapes.items()})}, slowfast)
    assert main([str(pytorchvideo), str(slowfast)]) == 0
    out = capsys.readouterr().out
    assert "X3D_XS.pyth (pytorchvideo names)" in out
    assert "x3d_xs @ 4x160x160" in out
    assert "from_slowfast.pyth (SlowFast names)" in out
    assert "x3d_s @ 13x160x160" in out
    assert out.count(": equal") == 2
    assert "DIFFERENT" not in out


def test_a_bad_file_is_one_line_and_a_failure(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "x3d_s.pyth")]) == 1
    assert capsys.readouterr().err.splitlines() == [f"error: {tmp_path}/x3d_s.pyth: no such weight file"]
