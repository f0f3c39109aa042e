"""The verbs train, test and predict on real video files."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from tiny_training import tiny_spec

from vidnas.cli.main import main
from vidnas.data.formats import load_dataset
from vidnas.nn.weights import load_model

QUICK = ["--steps", "2", "--batch-size", "12", "--workers", "0", "--memory-budget-mib", "0"]


@pytest.fixture(scope="module")
def arch(tmp_path_factory):
    path = tmp_path_factory.mktemp("arch") / "tiny.json"
    path.write_text(tiny_spec(400).to_json())
    return str(path)


@pytest.fixture(scope="module")
def trained(arch, synthetic_data, tmp_path_factory):
    """The folder of a run of two steps."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["train", "--arch", arch, "--data", str(synthetic_data), "--out", str(out), *QUICK]) == 0
    return out


def copy_lists(source, target, rows):
    """A copy with the first `rows` lines of each list."""
    shutil.copytree(source / "videos", target / "videos")
    for name in ("train.csv", "test.csv"):
        lines = (source / name).read_text().splitlines()
        (target / name).write_text("\n".join(lines[: rows + 1]) + "\n")
    return target


def test_train_tests_at_the_end(trained, synthetic_data, capsys):
    network, info = load_model(trained)
    assert info.classes == load_dataset(synthetic_data).train.classes
    assert network.spec.head.num_classes == 12
    result = json.loads((trained / "test" / "result.json").read_text())
    assert result["videos"] == 24
    assert result["views"] == "1x1"


def test_what_is_no_trained_network_says_what_to_give(trained, tmp_path, capsys):
    def said(path):
        assert main(["predict", str(path), "video.mp4"]) == 1
        return capsys.readouterr().err

    for name in ("last.ckpt", "metrics.jsonl"):
        assert f"{trained / name}: no trained network; give its run folder, {trained}" in said(trained / name)
    assert f"no model.safetensors and model.json in it; its run folder is {trained}" in said(trained / "test")
    torch.save({"state_dict": {"model.weight": torch.ones(1)}}, tmp_path / "epoch=3.ckpt")
    assert "`vidnas train --arch NAME --weights FILE` starts from them" in said(tmp_path / "epoch=3.ckpt")
    (tmp_path / "report.html").touch()
    assert "no trained network; give a run folder, or its model.safetensors" in said(tmp_path / "report.html")


def test_test_writes_every_video(trained, synthetic_data, tmp_path, capsys):
    words = [
        "test",
        str(trained),
        "--data",
        str(synthetic_data),
        "--views",
        "2x3",
        "--workers",
        "0",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "24 videos, " in told
    assert "2 clips of each video, 16 frames together, one every 0.062 s of a median video (1.0 s)" in told
    assert "2x3 views x 2.35 MMACs @ 8x36x36 = 14.12 MMACs per video" in told
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    top1 = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert f"top-1 {100 * top1:.1f}%, top-5" in told
    assert len(list(csv.DictReader((tmp_path / "per_class.csv").open()))) == 12


def test_predict_goes_on_after_a_bad_file(trained, synthetic_data, tmp_path, capsys):
    good = load_dataset(synthetic_data).test.samples[5].path
    bad = tmp_path / "bad.mp4"
    bad.touch()
    words = [str(bad), str(good), str(tmp_path / "none.mp4")]
    assert main(["predict", str(trained), *words, "--top", "3", "--views", "1x3"]) == 1
    told = capsys.readouterr()
    assert told.out.startswith(f"{good}: ")
    assert told.out.count("%") == 3
    assert told.err.splitlines() == [
        "1x3 views x 2.35 MMACs @ 8x36x36 = 7.06 MMACs per video",
        f"vidnas: error: {bad}: the file is empty (0 bytes)",
        f"vidnas: error: {tmp_path / 'none.mp4'}: no such file",
    ]
    assert main(["predict", str(trained / "model.safetensors"), *words, "--json", "--top", "100"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == words
    assert "empty" in lines[0]["error"]
    top = lines[1]["top"]
    assert {entry["class"] for entry in top} == set(load_model(trained)[1].classes)
    assert sum(entry["score"] for entry in top) == pytest.approx(1, abs=1e-4)  # each is rounded to 6 digits
    assert [entry["score"] for entry in top] == sorted((entry["score"] for entry in top), reverse=True)


def test_predict_takes_folders(trained, synthetic_data, tmp_path, capsys):
    samples = load_dataset(synthetic_data).test.samples
    clips = tmp_path / "clips"
    names = ("b.mp4", "a/deep/c.MP4", "a/bytes_\udce9.mp4", ".hidden.mp4", "__MACOSX/d.mp4")
    for sample, name in zip(samples, names, strict=False):
        (clips / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.path, clips / name)
    (clips / "notes.txt").touch()
    (clips / "again").symlink_to(clips)
    (tmp_path / "empty").mkdir()
    words = [str(clips), "rtsp://camera/1", str(tmp_path / "empty"), "--views", "1x1", "--top", "1"]
    assert main(["predict", str(trained), *words]) == 1
    told = capsys.readouterr()
    assert [line.partition(": ")[0] for line in told.out.splitlines()] == [
        f"{clips}/a/bytes_\\xe9.mp4",
        f"{clips}/a/deep/c.MP4",
        f"{clips}/b.mp4",
    ]
    assert told.err.splitlines()[1:] == [
        f"note: {clips}: 3 files passed over: hidden or no videos",
        "vidnas: error: rtsp://camera/1: an address, and vidnas reads files; download it first, then give the file",
        f"vidnas: error: {tmp_path}/empty: no video in this folder (0 other files)",
    ]
    assert main(["predict", str(trained), *words, "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert os.fsencode(lines[0]["path"]) == os.fsencode(clips) + b"/a/bytes_\xe9.mp4"
    assert [line["path"] for line in lines[3:]] == words[1:3]


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_names_that_are_not_utf8_reach_a_strict_output(more, trained, synthetic_data, tmp_path, monkeypatch):
    good, bad = tmp_path / "good_\udce9.mp4", tmp_path / "bad_\udce9.mp4"
    shutil.copy(load_dataset(synthetic_data).test.samples[0].path, good)
    bad.touch()
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["predict", str(trained), str(good), str(bad), "--views", "1x1", *more]) == 1
    err.flush()
    assert f"{tmp_path}/bad_\\xe9.mp4: the file is empty" in err.buffer.getvalue().decode()
    assert len(out.buffer.getvalue().splitlines()) == (2 if more else 1)


def test_a_whole_run_stands_for_the_network_that_was_searched(trained, synthetic_data, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "search").mkdir(parents=True)
    assert main(["predict", str(run), "x.mp4"]) == 1
    assert "has not come to its trainings yet; the same `vidnas run` with --resume goes on" in capsys.readouterr().err
    shutil.copytree(trained, run / "searched")
    video = str(load_dataset(synthetic_data).test.samples[0].path)
    note = f"note: {run} is a whole run; taking the network that was searched, {run}/searched"
    test = ["--data", str(synthetic_data / "test.csv"), "--views", "1x1", "--workers", "0"]
    for words in (["predict", "RUN", video], ["test", "RUN", *test], ["export", "RUN", "--format", "torch"]):
        assert main([str(run) if word == "RUN" else word for word in words]) == 0
        assert capsys.readouterr().err.splitlines()[0] == note
    assert (run / "searched" / "model.pt2").exists()
    assert not (run / "test").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["searched.json", "space.json", "last.ckpt"], "a search, whose network is not trained yet: `vidnas train --"),
        (["space.json", "last.ckpt"], "a search that is not finished; the same `vidnas search` with --resume goes on"),
        (["last.ckpt"], "this run is not finished; train it to the end with --resume"),
        ([], "no model.safetensors and model.json in it"),
    ],
)
def test_why_a_folder_holds_no_network(files, message, tmp_path, capsys):
    for name in files:
        (tmp_path / name).touch()
    assert main(["predict", str(tmp_path), "x.mp4"]) == 1
    assert message in capsys.readouterr().err


def test_predicting_loads_no_training_code(trained, synthetic_data):
    video = load_dataset(synthetic_data).test.samples[0].path
    code = "import sys; from vidnas.cli.main import main; main(sys.argv[1:]); print('lightning' in sys.modules)"
    words = [sys.executable, "-c", code, "predict", str(trained), str(video), "--views", "1x1"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "False"


def test_weights_of_another_data_set(arch, trained, synthetic_data, tmp_path, capsys):
    few = copy_lists(synthetic_data, tmp_path / "few", 3)
    out = tmp_path / "tuned"
    words = ["train", "--arch", arch, "--data", str(few), "--out", str(out), "--weights", str(trained), *QUICK]
    assert main([*words, "--batch-size", "3", "--lr", "1e-6"]) == 0
    told = capsys.readouterr().out
    assert "replaced  head.fc2.weight: 12 classes in the file, 3 in the network" in told
    before, after = (load_model(folder)[0].state_dict() for folder in (trained, out))
    assert after["head.fc2.weight"].shape[0] == 3
    name = "streams.0.groups.0.block1.expand.weight"
    assert float((before[name] - after[name]).abs().max()) < 1e-4  # two steps of 1e-6: began where the other ended


def test_recipes_options_and_clips(arch, synthetic_data, tmp_path, capsys):
    few = copy_lists(synthetic_data, tmp_path / "few", 4)
    words = ["train", "--arch", arch, "--data", str(few), "--out", str(tmp_path / "run"), *QUICK, "--batch-size", "4"]
    words += ["--config", "x3d_kinetics", "--norm-batches", "1", "--accumulate", "1", "--flip", "off"]
    assert main([*words, "--clip", "4x32", "--sampling", "stride", "--stride", "2"]) == 0
    told = capsys.readouterr().out
    assert "sgd, lr 0.00625 at batch 4" in told
    assert "; 4 frames, stride 2 at 30 fps: 0.23 s, 23% of a median video (1.0 s)\n" in told
    assert "1 clip of 0.23 s of each video covers 23% of a median video (1.0 s)\n" in told
    _, info = load_model(tmp_path / "run")
    assert (str(info.clip), info.clip.sampling, info.clip.stride) == ("4x32x32", "stride", 2.0)
    assert info.config["settings"]["train"]["momentum"] == 0.9


def test_a_folder_is_divided_once(arch, synthetic_data, tmp_path, capsys):
    """Without a test list train and test hold the same fifth out; a CSV file is tested as a whole."""
    folder = tmp_path / "folder"
    videos = load_dataset(synthetic_data).train
    for sample in videos.samples[:30]:
        (folder / videos.classes[sample.label]).mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.path, folder / videos.classes[sample.label])
    out = tmp_path / "run"
    words = ["train", "--arch", arch, "--data", str(folder), "--out", str(out), *QUICK, "--batch-size", "4"]
    assert main(words) == 0
    trained_on = capsys.readouterr().out
    assert "note: no test list: " in trained_on
    first = (out / "test" / "scores.csv").read_text()
    assert 12 <= len(first.splitlines()) - 1 < 30  # every class has two or three videos, one of them is tested
    test = ["test", str(out), "--views", "1x1", "--workers", "0", "--batch-size", "4"]
    assert main([*test, "--data", str(folder)]) == 0
    assert "may have seen" not in capsys.readouterr().out
    assert (out / "test" / "scores.csv").read_text() == first
    next(folder.glob("*/*.mp4")).unlink()
    assert main([*test, "--data", str(folder)]) == 0
    assert "it may have seen some of these videos" in capsys.readouterr().out
    assert main([*test, "--data", str(synthetic_data / "train.csv")]) == 0
    assert "60 videos, 1.74 MMACs @ 8x32x32" in capsys.readouterr().out
    shutil.rmtree(out)
    assert main([*words, "--test", "none"]) == 0
    assert not (out / "test").exists()
    assert load_model(out)[1].config["identity"]["training list"].startswith("29 videos")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "--data", "DATA", "--out", "OUT"], 2, "vidnas train needs --arch"),
        (["train", "--arch", "x3d_z", "--data", "DATA", "--out", "OUT"], 1, "no network called 'x3d_z'; did you mean"),
        (["train", "--arch", "ARCH", "--data", "nowhere", "--out", "OUT"], 1, "nowhere: no such file or folder"),
        (
            ["train", "--arch", "ARCH", "--data", "DATA", "--out", "OUT", "--config", "BAD"],
            2,
            "line 2: train.lrr: no such",
        ),
        (
            ["train", "--arch", "ARCH", "--data", "DATA", "--out", "OUT", "--lr", "-1"],
            2,
            "give a number above 0 or null",
        ),
        (["train", "--arch", "ARCH", "--data", "DATA", "--out", "OUT", "--stride", "-1"], 1, "clip.stride"),
        (["train", "--arch", "ARCH", "--data", "DATA", "--out", "OUT", "--weights", "none"], 1, "none: no such weight"),
        (["train", "--arch", "ARCH", "--data", "DATA", "--out", "RUN"], 1, "holds a finished run already"),
        (["train", "--arch", "ARCH", "--data", "DATA", "--out", "RUN", "--resume"], 1, "train.steps 2 then, "),
        (
            ["train", "--arch", "ARCH", "--data", "DATA/train.csv", "--test", "DATA/train.csv", "--out", "OUT"],
            1,
            "is in the training list and in the test list",
        ),
        (["test", "RUN", "--data", "DATA", "--views", "3"], 1, "views '3': write clips x crops"),
        (["test", "none", "--data", "DATA"], 1, "none: no such run folder or model file"),
        (["test", "DATA", "--data", "DATA"], 1, "no model.safetensors and model.json in it"),
        (["test", "RUN", "--data", "OTHER"], 1, "is unknown to the network"),
        (["test", "RUN", "--data", "DATA", "--clip", "2x32"], 1, "smaller than the network's pool"),
        (["predict", "RUN"], 2, "vidnas predict needs VIDEO"),
        (["predict", "RUN", "x.mp4", "--top", "0"], 2, "vidnas predict --top 0: give a whole number above 0"),
        (["predict", "RUN", "x.mp4", "--top", "x"], 2, "vidnas predict --top x: give a whole number above 0"),
        (["predict", "RUN", "x.mp4", "--top"], 2, "vidnas predict --top: a value is missing; give NUMBER"),
        (["predict", "ARCH", "x.mp4"], 1, "tiny.json: "),
    ],
)
def test_bad_input_is_one_line(words, code, message, arch, trained, synthetic_data, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("train:\n  lrr: 1\n")
    for name in ("train/one", "train/two", "test/one", "test/two"):
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "x.mp4").touch()
    places = {
        "ARCH": arch,
        "DATA": str(synthetic_data),
        "OUT": str(tmp_path / "out"),
        "RUN": str(trained),
        "BAD": str(tmp_path / "bad.yaml"),
        "OTHER": str(tmp_path / "other"),
    }
    for place, path in places.items():
        words = [word.replace(place, path) if word.startswith(place) else word for word in words]
    if words[0] != "predict":
        words = [*words, "--workers", "0"]
    assert main(words) == code
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("vidnas: error: ")
    assert message in errors[0]


def test_an_unfinished_run_is_not_tested(trained, synthetic_data, tmp_path, capsys):
    (tmp_path / "last.ckpt").touch()
    assert main(["test", str(tmp_path), "--data", str(synthetic_data)]) == 1
    assert "this run is not finished; train it to the end with --resume" in capsys.readouterr().err
