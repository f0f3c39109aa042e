"""Figures and files of a test with several labels per video."""

import csv
import json

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multilabel_average_precision

from vidnas.base.errors import VidnasError
from vidnas.engine.evaluate.multi_label_result import MultiLabelResult
from vidnas.engine.evaluate.saved import load_result


@pytest.fixture
def result() -> MultiLabelResult:
    rng = np.random.default_rng(0)
    targets = (rng.random((50, 4)) < 0.3).astype(np.float32)
    targets[:, 2] = 0
    return MultiLabelResult(
        classes=("run", "jump, high", "none shows it", "7"),
        paths=tuple(f"videos/{i}.mp4" for i in range(50)),
        targets=targets,
        scores=rng.random((50, 4)),
        broken=(("bad.mp4", "empty"),),
        views="2x1",
        clip="8x32x32",
        precision="bf16",
        macs_per_view=1_000_000,
        wall_sec=0.5,
        list_hash="0" * 64,
    )


def test_figures_agree_with_torchmetrics(result: MultiLabelResult) -> None:
    scores, targets = torch.from_numpy(result.scores), torch.from_numpy(result.targets).long()
    shown = [0, 1, 3]
    each = multilabel_average_precision(scores[:, shown], targets[:, shown], 3, average="none").numpy()
    np.testing.assert_allclose(result.per_class[shown], each, rtol=1e-6)
    assert np.isnan(result.per_class[2])
    assert result.headline == pytest.approx(each.mean())
    assert result.micro == pytest.approx(float(multilabel_average_precision(scores, targets, 4, average="micro")))
    assert f"mAP {100 * each.mean():.1f}%" in result.describe()
    assert "1 videos could not be read" in result.describe()


def test_what_is_saved_is_read_again(result: MultiLabelResult, tmp_path) -> None:
    result.save(tmp_path)
    read = load_result(tmp_path)
    assert isinstance(read, MultiLabelResult)
    np.testing.assert_array_equal(read.scores, result.scores)
    np.testing.assert_array_equal(read.targets, result.targets)
    assert read.summary() == result.summary() == json.loads((tmp_path / "result.json").read_text())
    rows = list(csv.DictReader((tmp_path / "per_class.csv").open(newline="")))
    assert [int(row["videos"]) for row in rows] == result.targets.sum(0).tolist()
    assert rows[2]["average_precision"] == ""
    assert float(rows[1]["average_precision"]) == pytest.approx(result.per_class[1], rel=1e-5)
    first = next(csv.DictReader((tmp_path / "scores.csv").open(newline="")))
    names = [name for name, score in zip(result.classes, result.scores[0], strict=True) if score >= 0.5]
    assert first["predicted"] == ";".join(names)
    changed = json.loads((tmp_path / "result.json").read_text()) | {"task": "detection"}
    (tmp_path / "result.json").write_text(json.dumps(changed))
    with pytest.raises(VidnasError, match="no task 'detection'"):
        load_result(tmp_path)
