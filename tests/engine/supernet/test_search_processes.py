"""A search on two processes: the same as one process that runs both shards, and one that fails ends both."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Ranks
from tiny_search import CONFIG, Batches, go, start
from torch import nn
from torch.nn import functional as F

from vidnas.base.errors import VidnasError
from vidnas.data.dataset import Batch
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.run.processes import all_reduce_gradients, equal_on_all_ranks, get_rank
from vidnas.engine.supernet.config import SearchConfig
from vidnas.search.archive import read
from vidnas.search.parsec import omega
from vidnas.search.space.space import Choice

CONFIGS = {
    "uniform": replace(CONFIG, weight_samples=2),
    "two_pass": replace(CONFIG, weight_mode="two_pass", weight_samples=3),
    # Momentum does not divide by the size of gradients, clipping does not hide a wrong scale of theirs.
    "sgd": replace(CONFIG, optimizer="sgd", lr=0.05, grad_clip=None),
}


def searched(folder: Path, config: SearchConfig, resume: bool = False) -> None:
    """Work of a process: a search, and what this process holds at its end."""
    search = go(folder, config, resume=resume)
    held = {"weights": search.supernet.state_dict(), "alpha": search.alpha.distribution.logits}
    torch.save(held, folder / f"held{get_rank()}.pt")


def run(count: int, folder: Path, config: SearchConfig, **settings: Any) -> dict[str, Any]:
    """What the first process holds at the end."""
    folder.mkdir(exist_ok=True)
    ranks = Ranks(count, folder / "said", searched, folder, config, *settings.values())
    assert ranks.wait() == [0] * count, ranks.said(0)
    return held(folder, 0)


def held(folder: Path, rank: int) -> dict[str, Any]:
    whole: dict[str, Any] = torch.load(folder / f"held{rank}.pt", weights_only=True)
    return {**whole["weights"], "alpha": whole["alpha"]}


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_equal_one_that_runs_both_shards(tmp_path: Path, name: str) -> None:
    config = replace(CONFIGS[name], shards=2)
    one = run(1, tmp_path / "one", config)
    two = run(2, tmp_path / "two", config)
    for key, value in held(tmp_path / "two", 1).items():
        assert torch.equal(value, two[key]), key
    for key, value in one.items():
        # The bar of the method: gradients are added up in another order, everything else is the same.
        torch.testing.assert_close(two[key], value, rtol=0, atol=1e-6, msg=key)
    entries = [list(read(tmp_path / folder / "archive.jsonl")) for folder in ("one", "two")]
    assert [(e.step, e.choice, e.count, e.clips) for e in entries[0]] == [
        (e.step, e.choice, e.count, e.clips) for e in entries[1]
    ]
    curves = [(tmp_path / folder / "curves.jsonl").read_text().splitlines() for folder in ("one", "two")]
    for a, b in zip(*curves, strict=True):
        assert json.loads(a)["loss"] == pytest.approx(json.loads(b)["loss"], abs=1e-6)


def test_two_processes_go_on_as_one(tmp_path: Path) -> None:
    config = replace(CONFIG, shards=2)
    whole = run(1, tmp_path / "whole", config)
    ranks = Ranks(2, tmp_path / "said", stopped, tmp_path / "cut", config)
    assert ranks.wait() == [128 + signal.SIGTERM] * 2
    # The second process got the signal; the first one tells.
    state = tmp_path / "cut" / "last.ckpt"
    assert [ranks.said(rank) for rank in (0, 1)] == [
        [f"vidnas: error: stopped; 8 of 12 steps are saved in {state}: the same command with --resume goes on"],
        [],
    ]
    resumed = run(1, tmp_path / "cut", config, resume=True)
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=1e-6, msg=key)  # as above


def stopped(folder: Path, config: SearchConfig) -> None:
    go(folder, config, batches=Batches(1, stop_at=7 if os.environ["RANK"] == "1" else None))


class Unreadable(Batches):
    """Batches that fail in the second process."""

    def __call__(self, start: int) -> Iterator[Batch]:
        for step, batch in enumerate(super().__call__(start), start):
            if step == 5 and get_rank() == 1:
                raise VidnasError("clip.mp4: broken")
            yield batch


def unreadable(folder: Path) -> None:
    go(folder, CONFIG, batches=Unreadable(1))


def not_finite(folder: Path) -> None:
    go(folder, replace(CONFIG, optimizer="sgd", lr=1e30, grad_clip=None))


def read_only(folder: Path) -> None:
    (folder / "curves.jsonl").mkdir(parents=True, exist_ok=True)
    go(folder, CONFIG)


@pytest.mark.parametrize(
    ("work", "teller", "line"),
    [(unreadable, 1, "clip.mp4: broken"), (not_finite, 0, "loss is not finite"), (read_only, 0, "curves.jsonl")],
)
def test_one_that_fails_ends_both_with_one_line(tmp_path: Path, work: Any, teller: int, line: str) -> None:
    ranks = Ranks(2, tmp_path / "said", work, tmp_path / "run")
    assert 0 not in ranks.wait()
    assert line in ranks.said(teller)[-1]
    assert ranks.said(1 - teller) == []


def test_batches_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(VidnasError, match=r"batch_size: must be a multiple of 3, the number of shards .* \(got 4\)"):
        CONFIG.for_processes(3)
    with pytest.raises(VidnasError, match=r"search.shards: must be a multiple of 4, the number of processes"):
        replace(CONFIG, shards=2).for_processes(4)
    with pytest.raises(VidnasError, match=r"weight_mode: must be another than streamed where there are several shards"):
        replace(CONFIG, weight_mode="streamed").for_processes(2)
    assert CONFIG.for_processes(4).shards == 4
    assert replace(CONFIG, shards=4).for_processes(2).shards == 4


@pytest.mark.parametrize("mode", ["uniform", "two_pass"])
def test_gradient_over_shards_is_that_of_the_mean(mode: str) -> None:
    """Against autograd through the losses of all shards at once."""
    settings = {"optimizer": "sgd", "grad_clip": None, "label_smoothing": 0.0, "weight_samples": 2, "shards": 2}
    search = start(replace(CONFIG, weight_mode=mode, temperature="mean", **settings))  # type: ignore[arg-type]
    search.supernet.double()
    batch = next(Batches(1)(0))
    batch = batch._replace(clips=batch.clips.double())
    seeds = [0, 100_000_007]  # of dropout, at step 0
    halves = list(zip(batch.clips.chunk(2), batch.targets.chunk(2), seeds, strict=True))
    search.supernet.train()

    def likelihood(half: int, choice: Choice) -> torch.Tensor:
        clips, labels, seed = halves[half]
        torch.manual_seed(seed)
        return -F.cross_entropy(search.supernet(clips, choice), labels, reduction="sum")

    choices = search.alpha.distribution.sample(4 if mode == "uniform" else 2, CONFIG.seed + 1, 0)
    assert len(set(choices)) == len(choices)
    if mode == "uniform":
        loss = -sum(likelihood(place // 2, choice) for place, choice in enumerate(choices)) / (2 * 4)
    else:
        scores = torch.stack([likelihood(0, choice) + likelihood(1, choice) for choice in choices])
        loss = -(omega(scores.detach(), 4.0) * scores).sum() / 4
    loss.backward()
    expected = {name: p.grad.clone() for name, p in search.supernet.named_parameters() if p.grad is not None}
    search.weights_step(batch)
    found = {name: p.grad for name, p in search.supernet.named_parameters() if p.grad is not None}
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12, msg=name)  # fp64


def used_by_some() -> None:
    """Work of a process: parameters used by the first, by the second, by none; one in another memory layout."""
    make_fabric(torch.device("cpu"), "fp32")
    rank = get_rank()
    shape = (4, 3, 1, 2, 2)
    parameters = [nn.Parameter(torch.zeros(shape).contiguous(memory_format=torch.channels_last_3d)) for _ in range(4)]
    for number, parameter in enumerate(parameters[:3]):
        if number in (rank, 2):
            parameter.grad = torch.full(shape, 1.0 + rank)
            parameter.grad[0, 1, 0, 1, 0] = 10.0
    all_reduce_gradients(parameters)
    first, second, both, none = (parameter.grad for parameter in parameters)
    assert first is not None
    assert second is not None
    assert both is not None
    assert none is None
    expected = torch.full(shape, 3.0)
    expected[0, 1, 0, 1, 0] = 20.0
    assert torch.equal(both, expected)
    assert float(first.min()) == 1.0
    assert float(second.min()) == 2.0
    assert both.stride() == parameters[2].stride()
    assert equal_on_all_ranks([both])
    assert not equal_on_all_ranks([both, torch.tensor(rank)])


def test_gradients_add_up_where_processes_use_different_parameters(tmp_path: Path) -> None:
    ranks = Ranks(2, tmp_path, used_by_some)
    assert ranks.wait() == [0, 0], ranks.said(0)
