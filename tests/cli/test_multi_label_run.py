"""Several labels per video, from the list to the report, as a user calls it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from search_commands import command, fails
from several_motions import CLASSES, write_several

from vidnas.arch.spec import ArchSpec
from vidnas.cli.main import main
from vidnas.data.formats import load_dataset
from vidnas.engine.evaluate.multi_label_result import MultiLabelResult
from vidnas.engine.evaluate.saved import load_result
from vidnas.nn.weights import load_model
from vidnas.search.space.published.registry import resolve_space


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, 36 training and 12 test videos; read-only."""
    root = tmp_path_factory.mktemp("several") / "data"
    write_several(root, train_places=6, test_places=2)
    return root


@pytest.fixture(scope="module")
def run(several: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `vidnas run` on them; read-only."""
    out = tmp_path_factory.mktemp("run") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out.parent / "cache"))
        assert main(command("run", several, out, "--baselines", "random", "--train.val-fraction", "0.4")) == 0
    return out


def test_a_run_searches_trains_tests_and_reports(several: Path, run: Path) -> None:
    spec = ArchSpec.load(run / "search" / "searched.json")
    assert (spec.head.kind, spec.head.num_classes, spec.head.ensemble) == ("multi_label", 3, "sigmoid_mean")
    found = json.loads((run / "search" / "result.json").read_text())
    for candidates in (found["candidates"], found["baselines"]["random"]["candidates"]):
        assert all(0 <= one["holdout_map"] <= 1 and one["holdout_log_likelihood"] < 0 for one in candidates)
    test = load_result(run / "searched" / "test")
    assert isinstance(test, MultiLabelResult)
    np.testing.assert_array_equal(test.targets, load_dataset(several).test.targets)
    result = json.loads((run / "result.json").read_text())
    assert result["searched"]["map"] == test.headline
    assert "mcnemar_p" not in result
    assert "correct" not in result["searched"]
    page = (run / "report.html").read_text()
    assert "Average precision of each class" in page
    assert f"Searched {100 * test.headline:.1f}%" in page
    assert "mAP" in page
    assert "McNemar" not in page
    assert "Confusion" not in page
    lines = [json.loads(line) for line in (run / "searched" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "hit1"} <= set(lines[0])
    assert {"val_map", "val_hit1", "val_loss"} <= set(lines[-1])


def test_a_training_learns_and_is_tested_alike_on_the_same_videos(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ArchSpec.from_data(_small_network().model_dump())
    (tmp_path / "net.json").write_text(spec.to_json())
    words = ["--arch", str(tmp_path / "net.json"), "--data", str(several), "--out", str(tmp_path / "trained")]
    settings = ["--train.epochs", "30", "--train.batch-size", "12", "--train.threads", "1", "--train.lr", "0.05"]
    plain = ["--clips.workers", "0", "--clips.jitter", "[1.0,1.0]", "--clips.augment", "off", "--views", "1x1"]
    plain += ["--train.optimizer", "adamw"]
    assert main(["train", *words, *settings, *plain]) == 0
    told = capsys.readouterr().out
    assert "hit@1" in told
    lines = [json.loads(line) for line in (tmp_path / "trained" / "metrics.jsonl").read_text().splitlines()]
    # One who knows how frequent the classes are, and nothing else, has 0.656.
    assert lines[-1]["loss"] < 0.56
    test = load_result(tmp_path / "trained" / "test")
    assert f"mAP {100 * test.headline:.1f}%, micro" in told
    network, info = load_model(tmp_path / "trained")
    assert (network.spec.head.kind, info.classes) == ("multi_label", CLASSES)
    # Tested again, on a list of its own in another order of lines, the scores are the same.
    rows = list(csv.reader((several / "test.csv").open()))
    (several / "turned.csv").write_text("".join(",".join(row[:2]) + "\n" for row in reversed(rows[1:])))
    again = ["--data", str(several / "turned.csv"), "--out", str(tmp_path / "again"), "--views", "1x1"]
    assert main(["test", str(tmp_path / "trained"), *again, "--workers", "0"]) == 0
    other = load_result(tmp_path / "again")
    np.testing.assert_allclose(other.scores[::-1], test.scores, atol=1e-5)
    assert other.headline == pytest.approx(test.headline)


def test_predictions_are_the_classes_with_a_score_of_one_half(
    several: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = sorted((several / "videos").glob("test_*.mp4"))[:3]
    assert main(["predict", str(run / "searched"), *map(str, videos), "--views", "1x1", "--json"]) == 0
    test = load_result(run / "searched" / "test")
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        scores = test.scores[[Path(path).name for path in test.paths].index(Path(line["path"]).name)]
        shown = [name for name, score in zip(CLASSES, scores, strict=True) if score >= 0.5]
        best = CLASSES[int(scores.argmax())]
        assert sorted(one["class"] for one in line["top"]) == sorted(shown or [best])
        for one in line["top"]:
            assert one["score"] == pytest.approx(scores[CLASSES.index(one["class"])], abs=1e-5)


def test_an_export_says_how_scores_are_made(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run / "searched"), "--format", "torch", "--out", str(tmp_path / "net.pt2")]) == 0
    said = json.loads((tmp_path / "net.pt2.json").read_text())
    assert said["postprocessing"]["activation"] == "sigmoid"
    assert said["spec"]["head"]["kind"] == "multi_label"


def test_lists_and_heads_that_do_not_fit_are_refused(
    several: Path, videos: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.json").write_text(_small_network().with_classes(3, multi_label=True).to_json())
    words = ["--data", str(videos), "--out", str(tmp_path / "trained"), "--clips.workers", "0"]
    error = fails(capsys, ["train", "--arch", str(tmp_path / "net.json"), *words])
    assert "the list has one label per video" in error
    assert "head.kind 'classification'" in error
    one = several / "one.csv"
    one.write_text("\n".join(f"videos/test_{number:04d}.mp4,{CLASSES[number % 3]}" for number in range(1, 7)))
    error = fails(capsys, ["test", str(run / "searched"), "--data", str(one), "--out", str(tmp_path / "t")])
    assert "one.csv: has one label per video, and the network several" in error
    assert "`run;`" in error


def _small_network() -> ArchSpec:
    space = resolve_space("tiny")
    spec = space.decode(space.smallest())
    clip = spec.clip.model_copy(update={"frames": 8, "size": 32, "sampling": "uniform", "stride": 1.0})
    return spec.with_clip(clip).with_classes(2)
