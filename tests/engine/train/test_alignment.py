"""The proxy of the warm start."""

import math

import pytest
import torch
from torch import Tensor

from vidnas.engine.supernet import warm_start
from vidnas.engine.tasks.classification import ClassificationTask

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(4, (30,), generator=GENERATOR)
FEATURES = torch.randn(30, 7, generator=GENERATOR, dtype=torch.float64)


def alignment(features: Tensor, labels: Tensor) -> float:
    return warm_start.alignment(features, ClassificationTask().likeness(labels))


def test_alignment_is_the_cosine_of_centred_kernels() -> None:
    centre = torch.eye(30).double() - 1 / 30
    kernels = [FEATURES @ FEATURES.T, (LABELS[:, None] == LABELS).double()]
    centred = [(centre @ kernel @ centre).flatten() for kernel in kernels]
    expected = torch.nn.functional.cosine_similarity(centred[0], centred[1], dim=0)
    assert alignment(FEATURES, LABELS) == pytest.approx(float(expected))


def test_scale_place_number_and_names_do_not_count() -> None:
    value = alignment(FEATURES, LABELS)
    assert alignment(100 * FEATURES + 3, LABELS) == pytest.approx(value)
    assert alignment(torch.cat([FEATURES, FEATURES], 1), LABELS) == pytest.approx(value)
    assert alignment(FEATURES, (LABELS + 1) % 4) == pytest.approx(value)


def test_features_that_are_the_classes_align_fully_and_constant_ones_not_at_all() -> None:
    assert alignment(torch.nn.functional.one_hot(LABELS).float(), LABELS) == pytest.approx(1)
    assert abs(alignment(FEATURES, LABELS)) < 0.3
    assert math.isnan(alignment(torch.ones(30, 7), LABELS))
    assert math.isnan(alignment(FEATURES, torch.zeros(30)))
