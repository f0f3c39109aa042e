"""Planted main effects come back, and what the cost explains does not count."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vidnas.search.distribution import Distribution, as_indices
from vidnas.search.space.space import Choice
from vidnas.search.warm_start import main_effects, warm_logits

SIZES = (6, 2, 4, 3, 7)
CHOICES = Distribution(SIZES).sample(4 * sum(SIZES), 3, 0)


def planted(seed: int) -> Tensor:
    """Effects that are 0 on average over each variable's options."""
    effects = torch.zeros(len(SIZES), max(SIZES), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for row, size in zip(effects, SIZES, strict=True):
        row[:size] = torch.randn(size, generator=generator, dtype=torch.float64)
        row[:size] -= row[:size].mean()
    return effects


def total(effects: Tensor, choices: list[Choice]) -> Tensor:
    return effects.gather(1, as_indices(choices, len(SIZES)).T).sum(0)


@pytest.mark.parametrize("seed", range(3))
def test_planted_effects_are_recovered(seed: int) -> None:
    effects = planted(seed)
    found = main_effects(CHOICES, 5 + total(effects, CHOICES), SIZES)
    # Without noise least squares is exact up to rounding.
    torch.testing.assert_close(found, effects, rtol=1e-9, atol=1e-9)
    noise = 0.5 * torch.randn(len(CHOICES), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noisy = main_effects(CHOICES, 5 + total(effects, CHOICES) + noise, SIZES)
    # An option is seen len(CHOICES) / size times at least 12; 0.5 / sqrt(12) is 0.14, and 0.5 more than three of these.
    assert (noisy - effects).abs().max() < 0.5


def test_an_option_that_was_never_drawn_stays_in_the_middle() -> None:
    effects = planted(0)
    seen = [choice for choice in CHOICES if choice[0] != 4]
    found = main_effects(seen, total(effects, seen), SIZES)
    assert math.isclose(float(found[0].sum()), 0, abs_tol=1e-9)
    others = [0, 1, 2, 3, 5]
    differences = found[0, others] - effects[0, others]
    torch.testing.assert_close(differences, differences[:1].expand(5), rtol=1e-9, atol=1e-9)
    assert found[0, others].min() < found[0, 4] < found[0, others].max()


def test_logits_are_the_effects_in_deviations_of_the_scores() -> None:
    effects = planted(1)
    scores = 100 * total(effects, CHOICES) - 7
    flat = [1e6] * len(CHOICES)
    logits = warm_logits(CHOICES, scores.tolist(), flat, SIZES, 0.5)
    torch.testing.assert_close(logits, 0.5 * 100 * effects / scores.std(), rtol=1e-9, atol=1e-9)
    assert not warm_logits(CHOICES, scores.tolist(), flat, SIZES, 0.0).any()
    distribution = Distribution(SIZES)
    distribution.logits.copy_(logits)
    assert distribution.most_probable() == tuple(effects[v, :n].argmax().item() for v, n in enumerate(SIZES))


def test_what_merely_follows_the_cost_gives_no_preference() -> None:
    costs = np.exp(total(planted(2), CHOICES).numpy())
    sized = (3 * np.log(costs) + 1).tolist()
    assert not warm_logits(CHOICES, sized, costs.tolist(), SIZES, 1.0).any()


def test_scores_that_are_not_finite_do_not_count() -> None:
    effects = planted(3)
    scores = total(effects, CHOICES).tolist()
    costs = torch.rand(len(CHOICES), generator=torch.Generator().manual_seed(0)).add(1).tolist()
    clean = warm_logits(CHOICES[3:], scores[3:], costs[3:], SIZES, 1.0)
    broken = [math.nan, math.inf, -math.inf, *scores[3:]]
    torch.testing.assert_close(warm_logits(CHOICES, broken, costs, SIZES, 1.0), clean)
    assert not warm_logits(CHOICES[:3], broken[:3], costs[:3], SIZES, 1.0).any()
    assert not warm_logits(CHOICES, [2.0] * len(CHOICES), costs, SIZES, 1.0).any()
