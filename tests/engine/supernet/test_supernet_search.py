"""The search loop: a stopped run goes on to the same archive, alpha and weights as one that was never stopped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_search import CONFIG, Batches, go, space, start

from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import Interrupted
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.supernet.search import SupernetSearch
from vidnas.engine.supernet.warm_start import warm_start
from vidnas.search.alpha import AlphaSearch
from vidnas.search.archive import read
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space.fusion_space import FusionSpace


def assert_equal(folder: Path, search: SupernetSearch, whole: Path, reference: SupernetSearch) -> None:
    for name, tensor in reference.supernet.state_dict().items():
        assert torch.equal(search.supernet.state_dict()[name], tensor), name
    assert torch.equal(search.alpha.distribution.logits, reference.alpha.distribution.logits)
    for file in ("archive.jsonl", "curves.jsonl"):
        assert (folder / file).read_bytes() == (whole / file).read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_mode": "two_pass", "weight_samples": 3},
        {"weight_mode": "streamed", "weight_samples": 3},
        {"weight_mode": "sandwich", "weight_samples": 2},
        {"kernels": "cropped"},
        {"skip_inactive": True},
        {"skip_inactive": True, "optimizer": "sgd"},
        {"warm_start": 2.0},
    ],
    ids=str,
)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = replace(CONFIG, **changes)
    reference = go(tmp_path / "whole", config)
    with pytest.raises(Interrupted, match="stopped; 8 of 12 steps are saved"):
        go(tmp_path / "cut", config, batches=Batches(1, stop_at=7))
    search = go(tmp_path / "cut", config, resume=True)
    assert_equal(tmp_path / "cut", search, tmp_path / "whole", reference)


def test_resuming_something_else_is_refused(tmp_path: Path) -> None:
    go(tmp_path / "run")
    with pytest.raises(VidnasError, match="steps 12 then, 13 now"):
        go(tmp_path / "run", replace(CONFIG, steps=13), resume=True)


def test_warmup_leaves_alpha_and_archive_alone(tmp_path: Path) -> None:
    search = go(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/curves.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(12))
    assert [i for i, line in enumerate(lines) if "entropy" in line] == list(range(4, 12))
    archive = list(read(tmp_path / "run/archive.jsonl"))
    table = search.alpha.budgets[0].costs
    assert {entry.step for entry in archive} == set(range(8))
    assert all(entry.cost == table.costs([entry.choice])[0] and entry.clips == 4 for entry in archive)
    # Alpha moved, and the supernet learned what the mean of a clip tells.
    assert search.alpha.distribution.entropy() < search.alpha.distribution.initial_entropy


def test_the_warm_start_happens_before_the_first_step(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=1, warmup_fraction=0, warm_start=2.0)
    expected = start(config).alpha
    warm_start(expected, space(), Batches(2)(0), config, make_fabric(torch.device("cpu"), config.precision))
    go(tmp_path / "run", config)
    # As it was before the only step on alpha.
    assert (expected.distribution.logits != 0).all()
    entropy = json.loads((tmp_path / "run/curves.jsonl").read_text())["entropy"]
    assert entropy == expected.distribution.entropy() < expected.distribution.initial_entropy


def test_exploding_loss_is_said(tmp_path: Path) -> None:
    with pytest.raises(VidnasError, match=r"not finite; lower search\.lr"):
        go(tmp_path / "run", replace(CONFIG, optimizer="sgd", lr=1e30, grad_clip=None))


def test_the_warm_start_looks_at_all_streams() -> None:
    """What stream 1 decides has its preferences too."""
    (dense,) = space().streams
    streams = (dense.model_copy(update={"every": 2}), dense)
    fusion = FusionSpace(source=1, target=0, group=0, kind=("none", "time_to_channel"))
    both = space().model_copy(update={"streams": streams, "fusions": (fusion,)})
    config = replace(CONFIG, warm_start=2.0)
    table = CostTable.of(both)
    alpha = AlphaSearch([Budget(table, table.dearest()[1])], config.alpha_settings(8), 0)
    warm_start(alpha, both, Batches(2)(0), config, make_fabric(torch.device("cpu"), config.precision))
    assert (alpha.distribution.logits != 0).all()
