"""Training on two processes: the same as on one, killed and resumed, and a test that is shared."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch
from moments import Moment, die_at
from ranks import Ranks, command
from safetensors.torch import load_file
from tiny_training import tiny_config, tiny_data, tiny_spec
from torch.nn.modules.batchnorm import _BatchNorm

from vidnas.base.log import is_first_process
from vidnas.cli.main import main
from vidnas.data.augment import Views
from vidnas.data.encode import SmallForm, write_small
from vidnas.data.formats import load_dataset, load_list
from vidnas.data.sampler import permutation
from vidnas.engine.evaluate.evaluate import evaluate
from vidnas.engine.train.train import fresh_network, train


def train_and_test(data: Path, out: Path) -> None:
    """Work of a process. Norms keep their statistics, or each would normalise by its own half of the batch."""
    lists = load_dataset(data)
    network = fresh_network(tiny_spec(dropout=0.0), 0)
    for norm in (module for module in network.modules() if isinstance(module, _BatchNorm)):
        norm.eval()
        norm.train = lambda mode=True, norm=norm: norm
    config = tiny_config(optimizer="sgd", lr=0.1, ema=0.5, val_fraction=0.2)
    result = train(network, lists.train, config, tiny_data(data), out)
    outcome = evaluate(result.network, lists.test, tiny_data(data), Views(1, 3), batch_size=9)
    if is_first_process():
        outcome.save(result.folder.test)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_train_and_test_as_one(synthetic_data, tmp_path):
    assert Ranks(1, tmp_path / "said", train_and_test, synthetic_data, tmp_path / "one").wait() == [0]
    ranks = Ranks(2, tmp_path / "said", train_and_test, synthetic_data, tmp_path / "two")
    assert ranks.wait() == [0, 0]
    # Only the first process talks.
    assert [any("6 steps, 4 per epoch; AutoAugment" in line for line in ranks.said(k)) for k in (0, 1)] == [True, False]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        # Gradients are averaged over processes in another order; fp32, six steps.
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    first, second = ((tmp_path / name / "test" / "scores.csv").read_text().splitlines() for name in ("one", "two"))
    assert len(first) == len(second) == 25
    for a, b in zip(first[1:], second[1:], strict=True):
        assert a.split(",")[:2] == b.split(",")[:2]
        scores = [[float(cell) for cell in line.split(",")[3:]] for line in (a, b)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)  # weights differ as above


def train_with(damaged: Path, data: Path, out: Path) -> None:
    """Work of a process: one step, whose second half has the damaged video."""
    videos, config = load_list(data / "train.csv"), tiny_config(steps=1)
    place = permutation(len(videos), config.seed, 0)[config.batch_size // 2]
    samples = list(videos.samples)
    samples[place] = replace(samples[place], path=damaged)
    train(tiny_spec(), replace(videos, root=out.parent.parent, samples=tuple(samples)), config, tiny_data(data), out)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_what_the_second_process_has_set_aside_is_told(synthetic_data, tmp_path):
    damaged = tmp_path / "damaged.mov"
    write_small(load_list(synthetic_data / "train.csv").samples[0].path, damaged, SmallForm("jpeg", 32))
    with av.open(str(damaged)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(damaged.read_bytes())
    for start, size in places[8:16]:
        content[start : start + size] = bytes(size)
    damaged.write_bytes(content)
    ranks = Ranks(2, tmp_path / "said", train_with, damaged, synthetic_data, tmp_path / "run")
    assert ranks.wait() == [0, 0]
    told = [line for line in ranks.said(0) if "set aside in training" in line]
    assert len(told) == 1
    assert f"{damaged}: decode error after frame 8" in told[0]


# Norms learn statistics, each process its own; averaged weights and curves have a memory. Both validate and test.
RECIPE = """
train:
  steps: 9
  batch_size: 12
  ema: 0.8
  val_fraction: 0.4
  checkpoint_every_steps: 2
  log_every_steps: 3
  threads: 1
clips:
  workers: 0
  memory_budget_mib: 0
"""


def train_and_die(argv: list[str], moment: Moment) -> int:
    if os.environ["RANK"] == "1":
        die_at(moment)
    return main(argv)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
@pytest.mark.long
def test_command_under_torchrun_killed_and_resumed(synthetic_data, tmp_path):
    """One run by torchrun that nothing happens to; one whose second process is killed, and that is resumed."""
    (tmp_path / "tiny.json").write_text(tiny_spec().to_json())
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    words = ["train", "--arch", str(tmp_path / "tiny.json"), "--data", str(synthetic_data)]
    words += ["--config", str(tmp_path / "recipe.yaml"), "--out"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vidnas"]
    done = subprocess.run(
        [sys.executable, *launcher, *words, str(whole)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("9 steps, 3 per epoch") == done.stdout.count("results: ") == 1

    killed = Ranks(2, tmp_path / "said", train_and_die, [*words, str(cut)], Moment("return", "Training._metrics", 1))
    codes = killed.wait()
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, -signal.SIGKILL)
    assert torch.load(cut / "last.ckpt", weights_only=True)["step"] == 2  # in the middle of a line of metrics
    alone = Ranks(1, tmp_path / "said", command, [*words, str(cut), "--resume"])
    assert alone.wait() == [1]
    assert "train.devices 2 then, 1 now" in alone.said(0)[-1]
    assert Ranks(2, tmp_path / "said", command, [*words, str(cut), "--resume"]).wait() == [0, 0]
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, cut))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert curves(whole) == curves(cut)
    # What was tested is what was saved, norm statistics included.
    again = ["test", str(whole), "--data", str(synthetic_data), "--views", "1x1", "--out", str(tmp_path / "again")]
    assert main(again) == 0
    scores = [(folder / "scores.csv").read_text().splitlines()[1:] for folder in (whole / "test", tmp_path / "again")]
    for a, b in zip(*scores, strict=True):
        values = [[float(cell) for cell in line.split(",")[3:]] for line in (a, b)]
        assert values[0] == pytest.approx(values[1], abs=1e-6)  # clips share batches with others


def curves(folder: Path) -> list[dict[str, float]]:
    """Without what measures time."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("clips_per_sec", "data_wait_share")} for line in lines]
