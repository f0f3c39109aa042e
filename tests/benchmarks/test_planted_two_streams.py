"""The planted tasks of two streams: why they need a fusion or none, and that a search sees which."""

from math import log

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted.networks import EVERY, choice_of, planted_budget, task_space
from planted.options import TwoStreamOption
from planted.tasks import Cells
from planted.trials import HOLDOUT, derived, run, scores_anew, search_config, train_alone
from planted.two_streams import TWO_STREAM_TASKS, Bound, TwoStreamTask
from planted_networks import margins, random_network, randomised

each_task = pytest.mark.parametrize("task", TWO_STREAM_TASKS, ids=lambda task: task.name)


def pairs(task: TwoStreamTask, number: int) -> list[tuple[Cells, Cells]]:
    """Clips of class 0, each with the clip that follows."""
    return [(task.clip(0, 2 * i)[0], task.clip(0, 2 * i + 1)[0]) for i in range(number)]


def histories(cells: Cells) -> list[bytes]:
    """What each place shows through time, in an order that says nothing of places."""
    return sorted(place.tobytes() for place in np.moveaxis(cells, 0, -1).reshape(-1, len(cells)))


@each_task
def test_two_following_clips_are_twins_and_all_parts_hold_whole_pairs(task: TwoStreamTask) -> None:
    for one, other in pairs(task, 5):
        assert np.array_equal(task.twins[0].make(one), other)
        assert np.array_equal(task.twins[0].make(other), one)
        assert not np.array_equal(one, other)
    assert HOLDOUT.first % 2 == HOLDOUT.number % 2 == 0


def test_twins_of_bound_differ_in_neither_the_sparse_frames_nor_the_histories_of_places() -> None:
    """Bit by bit."""
    seen = set()
    for one, other in pairs(Bound(), 20):
        assert np.array_equal(one[::EVERY], other[::EVERY])
        assert histories(one) == histories(other)
        shaking = [(cells != cells[0]).any(0) for cells in (one, other)]
        assert not (shaking[0] & shaking[1]).any()
        seen.add(bool(shaking[0][0, 0]))
    assert seen == {False, True}


@each_task
def test_networks_without_a_fusion_have_a_floor_in_bound_alone(task: TwoStreamTask) -> None:
    """All that do not pay for 3 x 3 x 3 in the dense stream, which costs more than the fusion."""
    apart = [option for option in task.options if not option.fuses]
    budget = planted_budget(task_space(task), task)
    cheap = [o for o in apart if budget.costs.costs([choice_of(task_space(task), o)])[0] <= budget.target]
    assert {option.dense_s for option in cheap} == {1}
    assert len(cheap) == 2
    assert all(task.insufficient(option) for option in cheap) == (task.name == "bound")


@pytest.mark.parametrize("training", [False, True])
def test_no_weights_bring_the_loss_of_pairs_below_the_floor(training: bool) -> None:
    """Nor do the statistics of the batch that is scored; with a fusion twins are told apart."""
    task = Bound()
    whole = [cells for pair in pairs(task, 4) for cells in pair]
    for option in (TwoStreamOption(3, 1), task.planted):
        network = random_network(task, option, 0).train(training)
        margin = margins(network, whole)
        loss = F.softplus(margin[0::2]).mean() / 2 + F.softplus(-margin[1::2]).mean() / 2
        if option.fuses:
            assert (margin[0::2] - margin[1::2]).abs().max() > 1e-3
        else:
            # Double precision; sums run in another order.
            torch.testing.assert_close(margin[0::2], margin[1::2], rtol=1e-9, atol=1e-9)
            assert loss >= log(2) - 1e-9


@pytest.mark.parametrize("stream", [0, 1])
def test_a_stream_alone_does_not_see_the_change(stream: int) -> None:
    task = Bound()
    space = task_space(task)
    network = randomised(space.decode(choice_of(space, task.planted)).alone(stream), 0)
    ones, others = map(list, zip(*pairs(task, 4), strict=True))
    torch.testing.assert_close(margins(network, ones), margins(network, others), rtol=1e-9, atol=1e-9)


def test_training_goes_below_the_floor_with_a_fusion_alone() -> None:
    task = Bound()
    trained = {option: train_alone(task, option, 0, 100) for option in (task.planted, task.planted.without_fusion())}
    fused, apart = trained.values()
    assert fused.loss < 0.5
    # Single precision.
    assert apart.loss > log(2) - 1e-4
    assert apart.top1 == pytest.approx(0.5, abs=0.02)


def test_a_short_search_switches_a_fusion_on() -> None:
    """Where there is no other choice than a fusion or none."""
    task = Bound()
    options = [task.planted, task.planted.without_fusion()]
    job = run(task, search_config(0, 200), options)
    found = derived(task, job)
    assert found.derived == found.most_probable == task.planted
    assert found.top1 > 0.95
    off = found.derived.without_fusion()
    assert -scores_anew(job, task, [off])[off] > log(2) - 1e-4
