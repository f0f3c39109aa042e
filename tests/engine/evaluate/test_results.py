"""Figures from scores, against torchmetrics."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

from vidnas.base.errors import VidnasError
from vidnas.engine.evaluate.classification_result import ClassificationResult
from vidnas.engine.evaluate.results import describe_cost
from vidnas.engine.evaluate.saved import load_result
from vidnas.engine.tasks.classification import ClassificationTask


def make_result(videos=200, classes=7, seed=0, empty=()):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes), videos)
    labels = rng.choice([label for label in range(classes) if label not in empty], videos)
    return ClassificationResult(
        classes=tuple(f"class {i}, with a comma" for i in range(classes)),
        paths=tuple(f"videos/{i}.mp4" for i in range(videos)),
        targets=labels,
        scores=scores,
        broken=(("videos/bad.mp4", "the file is empty (0 bytes)"),),
        views="10x3",
        clip="13x182x182",
        precision="fp32",
        macs_per_view=2_727_000_000,
        wall_sec=1.0,
        list_hash="0" * 64,
    )


def test_figures_agree_with_torchmetrics():
    result = make_result()
    scores, labels = torch.from_numpy(result.scores), torch.from_numpy(result.targets)
    assert result.top1 == pytest.approx(float(multiclass_accuracy(scores, labels, 7, average="micro")))
    assert result.top5 == pytest.approx(float(multiclass_accuracy(scores, labels, 7, average="micro", top_k=5)))
    assert result.mean_class_accuracy == pytest.approx(float(multiclass_accuracy(scores, labels, 7, average="macro")))
    np.testing.assert_array_equal(result.confusion, multiclass_confusion_matrix(scores, labels, 7).numpy())
    np.testing.assert_allclose(
        result.per_class, multiclass_accuracy(scores, labels, 7, average=None).numpy(), rtol=1e-6
    )
    held_out = ClassificationTask().figures(result.scores, result.targets)
    assert held_out["top1"] == pytest.approx(result.top1)
    assert held_out["top5"] == pytest.approx(result.top5)
    assert held_out["loss"] == pytest.approx(float(torch.nn.functional.nll_loss(scores.log(), labels)))


def test_top_k_goes_up_to_the_number_of_classes():
    result = make_result(classes=3)
    assert result.top5 is None
    assert "top-5" not in result.describe()
    assert result.top_k(5) == result.top_k(3) == 1.0


def test_a_class_without_videos_has_no_accuracy():
    result = make_result(empty=(2,))
    assert math.isnan(result.per_class[2])
    assert 0 < result.mean_class_accuracy < 1
    assert json.loads(json.dumps(result.summary()))["mean_class_accuracy"] == result.mean_class_accuracy


def test_cost_and_broken_videos_are_told():
    told = make_result().describe()
    assert "10x3 views x 2.727 GMACs @ 13x182x182 = 81.810 GMACs per video" in told
    assert describe_cost("1x1", 48_200_000, "16x56x56") == "1x1 views x 48.20 MMACs @ 16x56x56 = 48.20 MMACs per video"
    assert "1 videos could not be read and are not counted:\n  videos/bad.mp4: the file is empty (0 bytes)" in told


def test_what_is_saved_is_read_again(tmp_path):
    result = make_result(empty=(2,))
    result.save(tmp_path)
    read = load_result(tmp_path)
    np.testing.assert_array_equal(read.scores, result.scores)
    np.testing.assert_array_equal(read.predicted, result.predicted)
    assert read.summary() == result.summary()
    (tmp_path / "scores.csv").write_text("path,label\n")
    with pytest.raises(VidnasError, match="test anew"):
        load_result(tmp_path)


def test_files_hold_everything(tmp_path):
    result = make_result(empty=(2,))
    result.save(tmp_path / "a" / "test")
    folder = tmp_path / "a" / "test"
    summary = json.loads((folder / "result.json").read_text())
    assert summary["top1"] == result.top1
    assert summary["broken"] == [{"path": "videos/bad.mp4", "cause": "the file is empty (0 bytes)"}]
    with (folder / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == list(result.paths)
    np.testing.assert_allclose(
        [[float(row[name]) for name in result.classes] for row in rows], result.scores, rtol=1e-5
    )
    assert [row["label"] == row["predicted"] for row in rows] == result.correct.tolist()
    with (folder / "per_class.csv").open(newline="") as file:
        per_class = list(csv.DictReader(file))
    assert per_class[2]["accuracy"] == ""
    assert sum(int(row["correct"]) for row in per_class) == result.correct.sum()
    with (folder / "confusion.csv").open(newline="") as file:
        matrix = [[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
    np.testing.assert_array_equal(matrix, result.confusion)
