"""The search loop: a stopped run goes on to the same archive, alpha and weights as one that was never stopped."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vidnas.arch.spec import ClipSpec, HeadSpec, Kernel, StemSpec
from vidnas.data.dataset import Batch
from vidnas.engine.interrupt import Interrupted
from vidnas.engine.search_config import SearchConfig
from vidnas.engine.supernet_search import SearchFolder, SupernetSearch, make_fabric, run_search
from vidnas.engine.warm_start import warm_start
from vidnas.errors import VidnasError
from vidnas.search.archive import read
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space import GroupSpace, Space, StreamSpace

CONFIG = SearchConfig(
    steps=12, batch_size=4, samples=4, checkpoint_every_steps=5, warmup_epochs=0.5, device="cpu", label_smoothing=0.1
)


def space() -> Space:
    groups = tuple(
        GroupSpace(
            depth=1, stride=2, channels=(8, 16), expansion=(1.5, 3.0), kernel=(Kernel(t=1, s=3), Kernel(t=3, s=3))
        )
        for _ in range(2)
    )
    stream = StreamSpace(stem=StemSpec(channels=8), groups=groups, conv5=24)
    head = HeadSpec(num_classes=3, hidden=16, dropout=0.2)
    return Space(name="loop", clip=ClipSpec(frames=2, size=16), streams=(stream,), head=head)


class Batches:
    """Batches that are a function of the step; it may send itself a signal on the way."""

    def __init__(self, seed: int, stop_at: int | None = None, signum: int = signal.SIGTERM) -> None:
        self.seed, self.stop_at, self.signum = seed, stop_at, signum

    def __call__(self, start: int) -> Iterator[Batch]:
        step = start
        while True:
            if step == self.stop_at:
                os.kill(os.getpid(), self.signum)
            generator = torch.Generator().manual_seed(1000 * self.seed + step)
            labels = torch.randint(3, (4,), generator=generator)
            clips = torch.randn(4, 3, 2, 16, 16, generator=generator) + labels[:, None, None, None, None]
            yield Batch(clips.contiguous(memory_format=torch.channels_last_3d), labels, torch.arange(4))
            step += 1


def start(config: SearchConfig) -> SupernetSearch:
    table = CostTable.of(space())
    target = (table.cheapest()[1] + table.dearest()[1]) / 2
    fabric = make_fabric(config, torch.device("cpu"))
    return SupernetSearch(space(), [Budget(table, target)], config.schedule(steps_per_epoch=3), config, fabric)


def go(
    folder: Path, config: SearchConfig = CONFIG, *, resume: bool = False, stop_at: int | None = None
) -> SupernetSearch:
    search = start(config)
    folder.mkdir(exist_ok=True)
    fingerprint = {"space": space().content_hash, "steps": search.schedule.total}
    run_search(
        search, Batches(1, stop_at), Batches(2), SearchFolder(folder), fingerprint, resume=resume, notify=lambda _: None
    )
    return search


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
    with pytest.raises(Interrupted, match="stopped at step 8 of 12; the state is saved"):
        go(tmp_path / "cut", config, stop_at=7)
    search = go(tmp_path / "cut", config, resume=True)
    assert_equal(tmp_path / "cut", search, tmp_path / "whole", reference)


def killed_search(folder: Path) -> None:
    """Runs in a process of its own and never returns."""
    search = start(CONFIG)
    fingerprint = {"space": space().content_hash, "steps": search.schedule.total}
    batches = Batches(1, stop_at=8, signum=signal.SIGKILL)
    run_search(search, batches, Batches(2), SearchFolder(folder), fingerprint, resume=False, notify=print)


def test_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    """After a kill the files run ahead of the state: they are cut back, a torn line included."""
    reference = go(tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    process = multiprocessing.get_context("spawn").Process(target=killed_search, args=(folder,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    with (folder / "archive.jsonl").open("a") as archive:
        archive.write('{"step": 99, "cho')
    search = go(folder, resume=True)
    assert_equal(folder, search, tmp_path / "whole", reference)


def test_resuming_something_else_is_refused(tmp_path: Path) -> None:
    go(tmp_path / "run")
    with pytest.raises(VidnasError, match="was saved with steps 12, this run has 13"):
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
    warm_start(expected, space(), Batches(2)(0), config, make_fabric(config, torch.device("cpu")))
    go(tmp_path / "run", config)
    # As it was before the only step on alpha.
    assert (expected.distribution.logits != 0).all()
    entropy = json.loads((tmp_path / "run/curves.jsonl").read_text())["entropy"]
    assert entropy == expected.distribution.entropy() < expected.distribution.initial_entropy


def test_exploding_loss_is_said(tmp_path: Path) -> None:
    with pytest.raises(VidnasError, match=r"not finite; lower search\.lr"):
        go(tmp_path / "run", replace(CONFIG, optimizer="sgd", lr=1e30, grad_clip=None))
