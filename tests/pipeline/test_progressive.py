"""Progressive search on real videos: steps build on each other, and a killed one goes on to the same result."""

import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
from dying import Killed, at_call
from tiny_training import tiny_data
from two_streams import two_stream_space

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.search import SupernetSearch
from vidnas.pipeline.lists import load_lists
from vidnas.pipeline.progressive import (
    ProgressiveResult,
    StepSettings,
    check_steps,
    divided,
    search_progressively,
)
from vidnas.pipeline.search import BuiltOn, prepare_process
from vidnas.search.costs import CostTable
from vidnas.search.space.progressive import step_space
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.published.auto_tsnet import auto_tsnet_space
from vidnas.search.space.space import Space

CONFIG = SearchConfig(
    steps=6, batch_size=8, candidates=2, norm_batches=1, checkpoint_every_steps=2, warmup_epochs=0.2, threads=1
)


def settings(space: Space) -> list[StepSettings]:
    """Targets in the middle of what each step can be."""
    first, whole = CostTable.of(step_space(space, 0)), CostTable.of(space)
    one = (first.cheapest()[1] + first.dearest()[1]) / 2
    two = one + whole.cheapest()[1] - first.cheapest()[1] + 2e5
    return [
        StepSettings({"macs": one}, CONFIG),
        StepSettings({"macs": two}, replace(CONFIG, steps=5)),
        StepSettings({"macs": two + 1e5}, replace(CONFIG, steps=4)),
    ]


def search(videos: Path, root: Path, *, resume: bool = False) -> ProgressiveResult:
    space = two_stream_space()
    data = tiny_data(videos)
    prepare_process(CONFIG)
    lists = load_lists(data)
    return search_progressively(space, lists.train, settings(space), data, root, resume=resume)


@pytest.fixture(scope="module")
def whole(synthetic_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProgressiveResult, Path]:
    root = tmp_path_factory.mktemp("whole") / "run"
    return search(synthetic_data, root), root


def test_each_step_is_built_on_the_one_before(whole: tuple[ProgressiveResult, Path]) -> None:
    result, root = whole
    space = two_stream_space()
    first, second, last = (step.result.spec for step in result.steps)
    assert second.streams[0] == first.streams[0]
    assert last.fusions == second.fusions
    assert space.decode(space.encode(last)).content_hash == last.content_hash
    assert ArchSpec.load(root / "searched.json") == last == result.spec
    for step, own in zip(result.steps, settings(space), strict=True):
        assert network_cost(step.result.spec).macs <= own.targets["macs"]
    record = json.loads((root / "result.json").read_text())
    assert [step["step"] for step in record["steps"]] == ["stream 0", "stream 1 and fusions", "attention"]
    assert record["initial_entropy"] == pytest.approx(math.log(space.size))
    assert record["entropy"] == pytest.approx(sum(step["entropy"] for step in record["steps"]))
    assert record["entropy"] == pytest.approx(sum(step.result.record["entropy"] for step in result.steps))


def test_weights_are_inherited_and_still_trained(whole: tuple[ProgressiveResult, Path]) -> None:
    _, root = whole
    states = [torch.load(root / f"step{step}" / "last.ckpt", weights_only=True)["supernet"] for step in (1, 2, 3)]
    # The classifier reads 32 channels of stream 0 in all of them; initialised anew it would be 1.4 norms away.
    read = [state["head.fc1.weight"][:, :32] for state in states]
    for before, after in pairwise(read):
        assert 0 < (after - before).norm() < 0.5 * before.norm()


MOMENTS = {
    "in the first step, before a state": (SupernetSearch, "weights_step", 2),
    "in the first step": (SupernetSearch, "weights_step", 5),
    "between the first and the second": (BuiltOn, "give_weights", 1),
    "in the second step": (SupernetSearch, "weights_step", 10),
    "between the second and the third": (BuiltOn, "give_weights", 2),
    "in the third step": (SupernetSearch, "weights_step", 14),
}


# The others are killed in the long tests.
ALWAYS = ("in the first step, before a state", "between the second and the third")


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.long) for name in MOMENTS]
)
def test_killed_and_resumed(
    whole: tuple[ProgressiveResult, Path],
    synthetic_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    reference, whole_root = whole
    owner, name, number = MOMENTS[moment]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, at_call(number, getattr(owner, name)))
        with pytest.raises(Killed):
            search(synthetic_data, tmp_path / "run")
    result = search(synthetic_data, tmp_path / "run", resume=True)
    assert result.record == reference.record
    for file in (
        "searched.json",
        "result.json",
        *(f"step{n}/{f}" for n in (1, 2, 3) for f in ("archive.jsonl", "curves.jsonl")),
    ):
        assert (tmp_path / "run" / file).read_bytes() == (whole_root / file).read_bytes(), file


def test_seconds_of_all_attempts_count(
    whole: tuple[ProgressiveResult, Path], synthetic_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the saved state, and those since; of a step that was not touched none are added."""
    root = tmp_path / "run"
    shutil.copytree(whole[1], root)
    (root / "step2" / "result.json").unlink()
    state = torch.load(root / "step2" / "last.ckpt", weights_only=True)
    assert 0 < state["sec"] <= whole[0].steps[1].result.sec
    torch.save({**state, "sec": 5000.0}, root / "step2" / "last.ckpt")
    again = [step.result.sec for step in search(synthetic_data, root, resume=True).steps]
    before = [step.result.sec for step in whole[0].steps]
    assert (again[0], again[2]) == (before[0], before[2])
    assert 5000 < again[1] < 5060
    assert json.loads((root / "step2" / "time.json").read_text()) == {"sec": again[1]}


def test_a_finished_one_is_not_searched_again_and_another_is_refused(
    whole: tuple[ProgressiveResult, Path], synthetic_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, root = whole
    monkeypatch.setattr(SupernetSearch, "weights_step", at_call(1, SupernetSearch.weights_step))
    assert search(synthetic_data, root, resume=True).record == reference.record
    with pytest.raises(VidnasError, match="add --resume to go on"):
        search(synthetic_data, root)


@pytest.mark.parametrize("metric", ["macs", "params", "activations"])
@pytest.mark.parametrize("clip", [ClipSpec(frames=8, size=40), ClipSpec(frames=16, size=56), None])
def test_attention_is_left_half_of_what_it_can_cost(clip: ClipSpec | None, metric: str) -> None:
    space = auto_space(2e7, num_classes=9, streams=2, clip=clip)[0] if clip else auto_tsnet_space()
    with_all = [v.size - 1 if v.kind == "attention" else v.size // 2 for v in space.variables]
    without = [0 if v.kind == "attention" else v.size // 2 for v in space.variables]
    few, many = (getattr(network_cost(space.decode(tuple(choice))), metric) for choice in (without, with_all))
    first, second, last = (own.targets[metric] for own in divided(space, {metric: many}, CONFIG))
    assert second == pytest.approx((few + many) / 2)
    assert (first, last) == (pytest.approx(0.7 * second), many)


def test_steps_of_the_published_space_are_those_of_the_paper() -> None:
    config = replace(CONFIG, epochs=1400, steps=None, warmup_epochs=14)
    for given in (None, (1.4e9, 2e9)):
        steps = divided(auto_tsnet_space(), {"macs": 2.5e9}, config, given)
        assert [own.targets["macs"] for own in steps] == pytest.approx([1.4e9, 2e9, 2.5e9])
        assert [own.search.epochs for own in steps] == [800, 400, 200]
        assert [own.search.warmup_epochs for own in steps] == pytest.approx([8, 4, 2])


def test_targets_that_earlier_steps_may_leave_no_room_for_are_refused_at_once() -> None:
    space = two_stream_space()
    good = settings(space)
    check_steps(space, good)
    narrow = replace(good[1], targets={"macs": good[0].targets["macs"] + 1e4})
    with pytest.raises(VidnasError, match=r"of step 2 \(stream 1 and fusions\) is below .* MMACs, which networks"):
        check_steps(space, [good[0], narrow, good[2]])
    with pytest.raises(VidnasError, match=r"of step 3 \(attention\) is below"):
        check_steps(space, [*good[:2], replace(good[2], targets={"macs": 1.0})])
    with pytest.raises(VidnasError, match=r"of step 1 \(stream 0\) is below"):
        check_steps(space, [replace(good[0], targets={"macs": 1.0}), *good[1:]])
    with pytest.raises(VidnasError, match=r"a progressive search has 3 steps \(stream 0, .*\), 2 are given"):
        check_steps(space, good[:2])
    with pytest.raises(VidnasError, match="needs targets of the same metrics"):
        check_steps(space, [*good[:2], replace(good[2], targets={"params": 1e6})])
    first, *others = space.fusions
    always = space.model_copy(update={"fusions": (first.model_copy(update={"kind": first.kind[1:]}), *others)})
    with pytest.raises(VidnasError, match=r"space two: fusions\.0\.kind: a progressive search needs none among"):
        check_steps(always, good)


def test_the_least_that_a_step_is_asked_for_is_enough() -> None:
    """Whatever stream 0 is: what stream 1 adds at the least is the same beside all of them."""
    space = two_stream_space()
    first = step_space(space, 0)
    costs = CostTable.of(first)
    choices = list(product(*map(range, first.sizes)))
    added = set()
    for choice in choices:
        second = CostTable.of(step_space(space, 1, first.decode(choice)))
        added.add(second.cheapest()[1] - costs.cost(choice))
    assert len(choices) > 8
    assert len(added) == 1
