"""The task of several classes per video, against plain sums, enumeration and an average precision by hand."""

from itertools import product

import numpy as np
import pytest
import torch

from vidnas.engine.tasks.multi_label import MultiLabelTask, average_precisions, mean_of_known, micro_average_precision

TASK = MultiLabelTask()
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(20, 3, generator=GENERATOR, dtype=torch.float64)
TARGETS = (torch.rand(20, 3, generator=GENERATOR) < 0.4).float()
ALL = torch.ones(20, dtype=torch.bool)


def precision_by_hand(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Mean over the right ones of the precision at their place; scores without ties."""
    order = np.argsort(-scores)
    right = wanted[order]
    at = np.cumsum(right) / np.arange(1, len(right) + 1)
    return float((at * right).sum() / right.sum())


def test_average_precision_is_the_one_by_hand() -> None:
    scores, wanted = LOGITS.sigmoid().numpy(), TARGETS.numpy()
    expected = [precision_by_hand(scores[:, c], wanted[:, c]) for c in range(3)]
    np.testing.assert_allclose(average_precisions(torch.from_numpy(scores), TARGETS), expected, rtol=1e-6)
    assert TASK.headline_of(torch.from_numpy(scores), TARGETS) == pytest.approx(np.mean(expected))
    # Logits have the order of their scores.
    assert TASK.headline_of(LOGITS, TARGETS) == pytest.approx(np.mean(expected))
    micro = precision_by_hand(scores.ravel(), wanted.ravel())
    assert micro_average_precision(torch.from_numpy(scores), TARGETS) == pytest.approx(micro)


def test_a_class_that_nothing_shows_does_not_count() -> None:
    targets = TARGETS.clone()
    targets[:, 1] = 0
    found = average_precisions(LOGITS, targets)
    assert np.isnan(found).tolist() == [False, True, False]
    assert TASK.headline_of(LOGITS, targets) == pytest.approx((found[0] + found[2]) / 2)
    assert TASK.headline_of(LOGITS, torch.zeros(20, 3)) == mean_of_known(np.full(3, np.nan)) == 0.0


def test_likelihoods_of_all_sets_of_labels_sum_to_one() -> None:
    total = 0.0
    for labels in product((0.0, 1.0), repeat=3):
        total += float(TASK.log_likelihood(LOGITS[:1], torch.tensor([labels]), ALL[:1]).exp())
    assert total == pytest.approx(1)


def test_likelihood_has_the_gradient_of_bernoullis_and_leaves_out_what_could_not_be_read() -> None:
    readable = torch.arange(20) % 3 != 0
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(TASK.log_likelihood(logits, TARGETS, readable), logits)
    torch.testing.assert_close(gradient, (TARGETS.double() - LOGITS.sigmoid()) * readable[:, None])
    assert torch.autograd.gradcheck(
        lambda x: TASK.log_likelihood(x, TARGETS.double(), readable, 0.1), LOGITS.clone().requires_grad_()
    )


def test_loss_is_the_likelihood_per_clip_and_class_with_smoothing_towards_one_half() -> None:
    for smoothing in (0.0, 0.2):
        wanted = TARGETS.double() * (1 - smoothing) + smoothing / 2
        log_p, log_q = torch.nn.functional.logsigmoid(LOGITS), torch.nn.functional.logsigmoid(-LOGITS)
        by_hand = (wanted * log_p + (1 - wanted) * log_q).sum()
        torch.testing.assert_close(TASK.log_likelihood(LOGITS, TARGETS, ALL, smoothing), by_hand)
        torch.testing.assert_close(TASK.loss(LOGITS, TARGETS.double(), smoothing), -by_hand / 60)


def test_distillation_is_least_at_the_teacher() -> None:
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(TASK.distillation_loss(logits, TASK.scores(LOGITS)), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_figures_of_probabilities() -> None:
    found = TASK.figures(LOGITS.sigmoid().numpy(), TARGETS.numpy())
    assert found["loss"] == pytest.approx(float(TASK.loss(LOGITS, TARGETS.double())))
    best = LOGITS.argmax(1)
    assert found["hit1"] == pytest.approx(float(TARGETS[torch.arange(20), best].mean()))
    assert found["map"] == pytest.approx(TASK.headline_of(LOGITS, TARGETS))


def test_likeness_is_the_share_of_common_labels() -> None:
    targets = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
    expected = [[1, 0.5, 0, 0, 0], [0.5, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    assert TASK.likeness(targets).tolist() == expected
