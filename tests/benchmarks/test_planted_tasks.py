"""The planted video tasks: why nothing cheaper than the planted network can solve them, and that a search finds it."""

from itertools import combinations

import numpy as np
import pytest
import torch
from planted.networks import choice_of, option_of, planted_budget, task_space
from planted.options import OPTIONS, Option
from planted.tasks import TASKS, Cells, Far, Motion, Task
from planted.trials import Part, clips, search
from planted.two_streams import TWO_STREAM_TASKS
from planted_networks import margins, random_network

each_task = pytest.mark.parametrize("task", [*TASKS, *TWO_STREAM_TASKS], ids=lambda task: task.name)


def drawn(task: Task, number: int, seed: int = 0) -> list[Cells]:
    """Clips of class 0."""
    return [task.clip(seed, 2 * index)[0] for index in range(number)]


@each_task
def test_clips_are_a_function_of_seed_and_index(task: Task) -> None:
    whole, later = clips(task, 3, Part(100, 40)), clips(task, 3, Part(110, 5))
    assert torch.equal(whole.clips[10:15], later.clips)
    assert torch.equal(whole.targets[10:15], later.targets)
    assert int(whole.targets.sum()) == 20
    assert not torch.equal(whole.clips, clips(task, 4, Part(100, 40)).clips)


@each_task
def test_the_planted_network_is_the_cheapest_that_is_not_proved_insufficient(task: Task) -> None:
    space = task_space(task)
    budget = planted_budget(space, task)
    allowed = [o for o in task.options if budget.costs.costs([choice_of(space, o)])[0] <= budget.target]
    assert [option for option in allowed if not task.insufficient(option)] == [task.planted]
    assert len(allowed) >= 3
    assert all(option_of(space, choice_of(space, option), task.options) == option for option in task.options)


@each_task
def test_twins_leave_the_output_of_any_network_that_does_not_see_them(task: Task) -> None:
    originals = drawn(task, 3)
    for twin in task.twins:
        changed = [twin.make(cells) for cells in originals]
        for option in filter(twin.unseen_by, task.options):
            network = random_network(task, option, 0)
            # Double precision; sums run in another order.
            torch.testing.assert_close(margins(network, originals), margins(network, changed), rtol=1e-9, atol=1e-9)


@each_task
def test_the_planted_network_sees_every_twin(task: Task) -> None:
    originals = drawn(task, 3)
    for twin in task.twins:
        changed = [twin.make(cells) for cells in originals]
        seen = [random_network(task, task.planted, seed) for seed in range(5)]
        assert max(float((margins(n, originals) - margins(n, changed)).abs().max()) for n in seen) > 1e-3


@each_task
def test_twins_of_class_0_have_the_law_of_class_1(task: Task) -> None:
    """By all products of two cells' values, of clips that no twin was made of."""
    number = 5000
    class_1 = [task.clip(0, 2 * index + 1)[0] for index in range(number)]
    for twin in task.twins:
        changed = [twin.make(cells) for cells in drawn(task, number, seed=1)]
        # The largest of up to 660,000 normal deviations lies near 5, that of two laws far beyond.
        assert largest_deviation(changed, class_1) < 7
    assert largest_deviation(drawn(task, number, seed=1), class_1) > 10


def largest_deviation(first: list[Cells], second: list[Cells]) -> float:
    """Between the mean products of all pairs of cells, in standard errors."""
    means, variances = [], []
    for cells in (first, second):
        rows = np.stack(cells).reshape(len(cells), -1).astype(np.float64)
        means.append(rows.T @ rows / len(rows))
        variances.append((rows**2).T @ rows**2 / len(rows) - means[-1] ** 2)
    errors = np.sqrt((variances[0] + variances[1]) / len(first))
    return float((np.abs(means[0] - means[1]) / (errors + 1e-6)).max())


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_without_attention_far_patches_add_up(option: Option) -> None:
    """Left and right contents exchanged between two clips: the logits' sum stays, unless GloRe multiplies them."""
    task = Far()
    one, other = task.clip(0, 0)[0], task.clip(0, 1)[0].copy()
    # Between the patches both are the same.
    other[:, :, task.patch : -task.patch] = one[:, :, task.patch : -task.patch]
    middle = task.side // 2
    crossed = [np.concatenate([a[:, :, :middle], b[:, :, middle:]], 2) for a, b in ((one, other), (other, one))]
    differences = []
    for seed in range(5):
        network = random_network(task, option, seed)
        differences.append(float(margins(network, [one, other]).sum() - margins(network, crossed).sum()))
    if option.glore:
        assert max(map(abs, differences)) > 1e-3
    else:
        assert differences == pytest.approx([0] * 5, abs=1e-9)


def test_no_window_holds_cells_of_both_far_patches() -> None:
    gap = Far.side - 2 * Far.patch
    assert max(option.s for option in OPTIONS) < gap + 2


def test_single_frames_of_motion_are_the_same_in_both_classes() -> None:
    """Exactly, as sets of frames, while no frame stands where it stood."""
    task = Motion()
    original = drawn(task, 1)[0]
    backwards = task.twins[0].make(original)
    assert sorted(frame.tobytes() for frame in original) == sorted(frame.tobytes() for frame in backwards)
    assert not any(np.array_equal(a, b) for a, b in combinations(original[: task.side], 2))


def test_a_short_search_finds_the_planted_kernel() -> None:
    """Of six kernels: one more is sufficient, but over the budget."""
    options = [Option(t, s) for s in (1, 3) for t in (1, 3, 5)]
    found = search(Motion(), 0, 250, options)
    assert found.derived == found.most_probable == Motion.planted
    assert found.planted_probability > 0.5
    assert found.top1 > 0.95
