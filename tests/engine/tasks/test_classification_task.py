"""The task of one class per video."""

import torch

from vidnas.engine.tasks.classification import ClassificationTask

TASK = ClassificationTask()
LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([0, 3, 1, 1, 2, 0])


def test_likelihood_is_that_of_the_classes_of_what_could_be_read() -> None:
    readable = torch.tensor([True, False, True, True, True, False])
    logits = LOGITS.clone().requires_grad_()
    found = TASK.log_likelihood(logits, TARGETS, readable)
    expected = logits.log_softmax(1)[torch.arange(6), TARGETS][readable].sum()
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, logits)
    one_hot = torch.nn.functional.one_hot(TARGETS, 4).double()
    torch.testing.assert_close(gradient, (one_hot - LOGITS.softmax(1)) * readable[:, None])


def test_loss_is_minus_the_mean_likelihood() -> None:
    all_read = torch.ones(6, dtype=torch.bool)
    for smoothing in (0.0, 0.2):
        likelihood = TASK.log_likelihood(LOGITS, TARGETS, all_read, smoothing)
        torch.testing.assert_close(TASK.loss(LOGITS, TARGETS, smoothing), -likelihood / 6)


def test_headline_is_the_share_of_hits() -> None:
    assert TASK.headline_of(LOGITS, TARGETS) == int(TASK.hits(LOGITS, TARGETS)) / 6
    assert TASK.headline_of(torch.nn.functional.one_hot(TARGETS).double(), TARGETS) == 1
