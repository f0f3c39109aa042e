"""Training as a plain function: what it computes, and what it refuses."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import tiny_config, tiny_data, tiny_spec
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from vidnas.base.errors import VidnasError
from vidnas.base.log import log
from vidnas.data.formats import load_dataset
from vidnas.engine.run.fabric import make_fabric, quiet_lightning
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.train.loaders import Parts, TrainLoaders
from vidnas.engine.train.train import fresh_network, train
from vidnas.engine.train.training import Pace, Training
from vidnas.nn.weights import load_model


@pytest.fixture(scope="module")
def videos(synthetic_data):
    return load_dataset(synthetic_data).train


@pytest.fixture
def run(videos, synthetic_data, tmp_path, caplog):
    """Train a tiny network with these settings; returns the result and what was said."""

    def run(name, network=None, **settings):
        caplog.clear()
        resume = settings.pop("resume", False)
        data = tiny_data(synthetic_data, **settings.pop("data", {}))
        config = tiny_config(**settings)
        given = tiny_spec() if network is None else network
        result = train(given, videos, config, data, tmp_path / name, resume=resume)
        return result, caplog.messages

    return run


def weights(result):
    return load_file(result.folder.weights)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def freeze_norms(network):
    """Norms that use and keep their statistics, so that a batch can be cut in parts without changing anything."""
    for norm in (module for module in network.modules() if isinstance(module, _BatchNorm)):
        norm.eval()
        norm.train = lambda mode=True, norm=norm: norm
    return network


def test_learns_to_tell_videos_apart(synthetic_data, tmp_path):
    lists = load_dataset(synthetic_data)
    few = lists.train.subset([0, 1, 2, 3])  # one video of each of four classes
    spec = tiny_spec(dropout=0.0)
    config = tiny_config(steps=60, batch_size=4, lr=0.01, label_smoothing=0.0)
    result = train(spec, few, config, tiny_data(synthetic_data, augment="off"), tmp_path / "run")
    lines = [json.loads(line) for line in result.folder.metrics.read_text().splitlines()]
    assert lines[0]["loss"] > 1.3  # four classes of twelve: starts at ln 12
    assert lines[-1]["loss"] < 0.4
    assert sum(line["top1"] for line in lines[-10:]) / 10 > 0.9


def test_a_batch_of_more_than_the_list_is_told(run):
    told = "note: a batch of 61 is more than the 60 training videos"
    assert not any(told in line for line in run("as many", steps=1, batch_size=60)[1])
    assert sum(told in line for line in run("more", steps=1, batch_size=61)[1]) == 1


def test_equals_a_plain_loop(run, videos, synthetic_data):
    config = tiny_config(label_smoothing=0.1, grad_clip=0.5, weight_decay=0.1)
    network = fresh_network(tiny_spec(dropout=0.0), 0)
    loaders = TrainLoaders(videos, tiny_data(synthetic_data), network.spec.clip, config)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, fused=True)
    network.train()
    for step, batch in enumerate(loaders.loader(0, 6)):
        for group in optimizer.param_groups:  # one step of warm-up
            group["lr"] = config.peak_lr * 0.5 * (1 + math.cos(math.pi * max(step, 1) / 6)) * min(1, (step + 1) / 2)
        loss = torch.nn.functional.cross_entropy(network(batch.clips), batch.targets, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*matrices, *vectors], 0.5)  # in the order of the optimizer: bits matter
        optimizer.step()
    result, _ = run("a", network=tiny_spec(dropout=0.0), label_smoothing=0.1, grad_clip=0.5, weight_decay=0.1)
    assert_same(network.state_dict(), result.network.state_dict())
    assert result.figures["loss"] == pytest.approx(loss.item(), rel=1e-6)


def test_one_seed_one_result_whatever_the_workers(run):
    first, said = run("a", mixup=0.3, ema=0.5, val_fraction=0.2)
    again, _ = run("b", mixup=0.3, ema=0.5, val_fraction=0.2, data={"workers": 1})
    other, _ = run("c", mixup=0.3, ema=0.5, val_fraction=0.2, seed=1)
    assert_same(weights(first), weights(again))
    assert not torch.equal(weights(first)["head.fc1.weight"], weights(other)["head.fc1.weight"])
    covered = "8 frames spread over the whole video, one every 0.12 s of a median video (1.0 s)"
    assert said[0] == f"tiny: 1.74 MMACs @ 8x32x32, 0.008 M params; {covered}"
    assert said[2].startswith("adamw, lr 0.001732 at batch 12 (by rule: 0.002 x sqrt(batch / 16))")
    assert said[-1] == f"{first.folder.weights}: weights averaged with decay 0.5 up to step 6"


def test_result_in_files(run):
    result, _ = run("a", val_fraction=0.2, keep="best", norm_batches=2)
    network, info = load_model(result.folder.root)
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(clips), result.network(clips))
    assert not result.network.training
    assert len(info.classes) == 12
    assert info.config["kept"] == result.kept
    assert result.kept.startswith(f"weights of step {result.figures['best_step']}, the best on the held-out part, norm")
    assert info.config["steps"] == result.steps == 6
    record = json.loads(result.folder.run_record.read_text())
    assert record["settings"]["train"]["keep"] == "best"
    assert record["versions"]["torch"] == torch.__version__
    lines = [json.loads(line) for line in result.folder.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "val_top1" in line] == [4, 6]  # 48 videos, 4 steps an epoch
    best = max((line for line in lines if "val_top1" in line), key=lambda line: (line["val_top1"], -line["val_loss"]))
    assert result.figures["best_val_loss"] == best["val_loss"]
    assert list(result.folder.tensorboard.glob("events.*"))
    for file in result.folder.root.glob("*.ckpt"):
        assert torch.load(file, weights_only=True)


def test_finished_run_is_returned(run):
    first, _ = run("a")
    again, said = run("a", resume=True, checkpoint_every_steps=3)  # a setting that changes no number
    assert_same(first.network.state_dict(), again.network.state_dict())
    assert (first.steps, first.kept, first.figures) == (again.steps, again.kept, again.figures)
    assert said == [f"{first.folder.weights}: finished already, nothing to do"]
    with pytest.raises(VidnasError, match="holds a finished run already"):
        run("a")


def test_a_finished_run_that_exchanges_labels_is_returned(run):
    clips = {"flip": [("move_left", "move_right")], "aspect": (0.8, 1.2)}
    first, _ = run("a", data=clips)
    again, _ = run("a", data=clips, resume=True)
    assert_same(first.network.state_dict(), again.network.state_dict())


def test_resume_with_something_else_is_refused(run, videos, synthetic_data, tmp_path):
    run("a")
    (tmp_path / "a" / "model.json").unlink()
    with pytest.raises(VidnasError, match=r"architecture \w{12} then, \w{12} now"):
        run("a", network=tiny_spec(dropout=0.5), resume=True)
    with pytest.raises(VidnasError, match=r"train.lr None then, 0.5 now; clips.flip off then, on now"):
        run("a", lr=0.5, data={"flip": "on"}, resume=True)
    with pytest.raises(VidnasError, match=r"clips.augment None then, rand now; clips.tempo \[1.0, 1.0\] then, \[0.8, "):
        run("a", data={"augment": "rand", "tempo": (0.8, 1.2)}, resume=True)
    fewer = videos.subset(range(59))
    with pytest.raises(VidnasError, match=r"training list 60 videos \(\w+\) then, 59 videos \(\w+\) now"):
        train(tiny_spec(), fewer, tiny_config(), tiny_data(synthetic_data), tmp_path / "a", resume=True)
    result, _ = run("a", resume=True)  # all steps were done: only the files are written again
    assert result.folder.is_finished


def test_accumulating_equals_the_whole_batch(run):
    whole, _ = run("a", freeze_norms(fresh_network(tiny_spec(dropout=0.0), 0)), optimizer="sgd", lr=0.1)
    parts, _ = run("b", freeze_norms(fresh_network(tiny_spec(dropout=0.0), 0)), optimizer="sgd", lr=0.1, accumulate=3)
    moved = fresh_network(tiny_spec(dropout=0.0), 0).state_dict()
    for name, value in weights(whole).items():
        # fp32 sums in another order, over six steps
        torch.testing.assert_close(weights(parts)[name], value, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(weights(whole)["head.fc2.weight"], moved["head.fc2.weight"], atol=1e-4)


def test_parts_are_the_batch():
    batches = [[(0, 1), (0, 2), (0, 3), (0, 4)], [(1, 5), (1, 6), (1, 7), (1, 8)]]
    parts = Parts(batches, 2)
    assert list(parts) == [[(0, 1), (0, 2)], [(0, 3), (0, 4)], [(1, 5), (1, 6)], [(1, 7), (1, 8)]]
    assert len(parts) == 4


@pytest.mark.parametrize(("batch_size", "accumulate", "processes"), [(12, 4, 2), (16, 8, 4), (10, 1, 4)])
def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_written(
    run, tmp_path, monkeypatch, batch_size, accumulate, processes
):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # as torchrun does
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    told = rf"train\.batch_size: .* accumulate times processes \({accumulate} x {processes}\) \(got {batch_size}\)"
    with pytest.raises(VidnasError, match=told):
        run("a", batch_size=batch_size, accumulate=accumulate)
    assert not (tmp_path / "a" / "run.json").exists()


def test_checkpointing_activations_changes_nothing(run):
    plain, _ = run("a")
    saving, _ = run("b", activation_checkpointing=True)
    assert_same(weights(plain), weights(saving))


def test_clipping_bounds_the_step(run):
    start = fresh_network(tiny_spec(), 0).state_dict()
    clipped, _ = run("a", optimizer="sgd", lr=1.0, weight_decay=0.0, steps=1, warmup_epochs=0, grad_clip=1e-3)
    squares = sum(((weights(clipped)[n] - start[n]) ** 2).sum() for n in dict(clipped.network.named_parameters()))
    assert float(squares) ** 0.5 == pytest.approx(1e-3, rel=1e-2)  # 1e-6 is added to the norm that divides


def test_bf16_trains_in_mixed_precision(run):
    full, _ = run("a")
    mixed, _ = run("b", precision="bf16", ema=0.9, val_fraction=0.2)
    assert all(value.dtype != torch.bfloat16 for value in weights(mixed).values())
    assert all(bool(value.isfinite().all()) for value in weights(mixed).values())
    assert not torch.equal(weights(full)["head.fc1.weight"], weights(mixed)["head.fc1.weight"])
    assert mixed.figures["loss"] == pytest.approx(full.figures["loss"], rel=0.05)


def test_average_follows_the_weights(videos, synthetic_data, tmp_path):
    config = tiny_config(ema=0.7, batch_size=60, steps=4, warmup_epochs=0, lr=0.05)
    network = fresh_network(tiny_spec(), 0)
    loaders = TrainLoaders(videos, tiny_data(synthetic_data), network.spec.clip, config)
    raw, averaged = [], []

    def record(validated):  # every step ends an epoch here
        raw.append({name: value.clone() for name, value in network.state_dict().items()})
        averaged.append({name: value.clone() for name, value in validated.state_dict().items()})
        return {"val_loss": 0.0, "val_top1": 0.0}

    with quiet_lightning():
        fabric = make_fabric(torch.device("cpu"), "fp32")
        training = Training(
            network,
            config,
            Pace(4, 1),
            RunFolder(tmp_path),
            {},
            fabric,
            lambda step: loaders.loader(step, 4),
            validate=record,
        )
    for _ in range(4):
        training.take_step()
    assert isinstance(training.average, AveragedModel)
    expected = raw[0]
    for step in range(4):
        for name, value in raw[step].items():
            if value.is_floating_point():
                decay = 0 if step == 0 else min(0.7, (1 + step) / (10 + step))
                expected[name] = decay * expected[name] + (1 - decay) * value
                torch.testing.assert_close(averaged[step][name], expected[name], rtol=1e-5, atol=1e-6)  # fp32 rounding
    assert not torch.allclose(raw[3]["head.fc2.weight"], averaged[3]["head.fc2.weight"], atol=1e-5)


def test_a_full_disk_loses_nothing(run, videos, synthetic_data, tmp_path):
    """A limit on the size of files stands for a disk that refuses in the middle of a write."""
    resource = pytest.importorskip("resource")
    whole, _ = run("a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(record):
        if record.getMessage().startswith("step 5/6"):  # the state after step 4 is saved
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        return True

    log.addFilter(fill_disk)
    try:
        with pytest.raises(VidnasError, match=r"last\.ckpt: cannot be written .* nothing saved before is lost"):
            train(tiny_spec(), videos, tiny_config(), tiny_data(synthetic_data), tmp_path / "b")
    finally:
        log.removeFilter(fill_disk)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resumed, said = run("b", resume=True)
    assert said[0] == "going on after step 4"
    assert_same(weights(whole), weights(resumed))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 1e30, "optimizer": "sgd"}, "the loss is (nan|inf); use a lower train.lr"),
        ({"precision": "fp16", "device": "cpu"}, "fp16 needs a GPU; use bf16 or fp32 on a CPU"),
        ({"network": tiny_spec(5)}, "the list has 12 classes, the network 5"),
        (
            {"batch_size": 10, "accumulate": 10, "data": {"flip": [("move_left", "nothing")]}},
            "flip: move_left / nothing",
        ),
    ],
)
def test_bad_input_is_one_line(run, settings, message):
    with pytest.raises(VidnasError, match=message) as caught:
        run("a", **settings)
    assert "\n" not in str(caught.value)


def test_broken_videos_are_set_aside_and_told(videos, synthetic_data, tmp_path, caplog):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    samples = (replace(videos.samples[0], path=broken), *videos.samples[1:])
    listed = replace(videos, root=tmp_path.parent, samples=samples)
    config = tiny_config(steps=5)
    train(tiny_spec(), listed, config, tiny_data(synthetic_data), tmp_path / "run")
    assert f"set aside in training: {broken}: the file is empty (0 bytes)" in caplog.messages
    many = replace(listed, samples=tuple(replace(sample, path=broken) for sample in samples[:30]) + samples[30:])
    with pytest.raises(VidnasError, match="videos are broken"):
        train(tiny_spec(), many, config, tiny_data(synthetic_data), tmp_path / "run2")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into /proc")
def test_no_frames_stay_mapped_after_a_training(videos, synthetic_data, tmp_path):
    data = tiny_data(synthetic_data, memory_budget_mib=100, cache_dir=tmp_path / "cache")
    config = tiny_config(steps=2, val_fraction=0.2)
    for name in "ab":
        train(tiny_spec(), videos, config, data, tmp_path / name)
    assert len(list((tmp_path / "cache").glob("*/frames.bin"))) == 2  # to learn from, and held out
    assert str(tmp_path / "cache") not in Path("/proc/self/maps").read_text(encoding="utf-8")
