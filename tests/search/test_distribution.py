"""Sampling, probabilities and entropy of the distribution over architectures."""

import math
from itertools import product

import pytest
import torch

from vidnas.search.distribution import Distribution

SIZES = (2, 3, 4)


def spread(seed: int = 0, sizes: tuple[int, ...] = SIZES) -> Distribution:
    distribution = Distribution(sizes)
    distribution.logits.copy_(torch.randn(distribution.logits.shape, generator=torch.Generator().manual_seed(seed)))
    return distribution


def everything(sizes: tuple[int, ...] = SIZES) -> list[tuple[int, ...]]:
    return list(product(*(range(size) for size in sizes)))


def test_probabilities_of_all_architectures_sum_to_one() -> None:
    distribution = spread()
    log_p = distribution.log_prob(everything())
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-14)
    rows = distribution.probabilities()
    for choice, value in zip(everything(), log_p.tolist(), strict=True):
        assert math.exp(value) == pytest.approx(math.prod(float(rows[v, i]) for v, i in enumerate(choice)), rel=1e-13)


def test_unused_columns_have_no_probability_whatever_they_hold() -> None:
    distribution = spread()
    before = distribution.log_prob(everything())
    distribution.logits[0, 2:] = 50.0
    assert torch.equal(distribution.log_prob(everything()), before)
    assert (distribution.probabilities()[0, 2:] == 0).all()
    assert distribution.most_probable()[0] < 2


def test_entropy_in_nats() -> None:
    distribution = spread()
    log_p = distribution.log_prob(everything())
    assert distribution.entropy() == pytest.approx(float(-(log_p.exp() * log_p).sum()), abs=1e-13)
    assert Distribution(SIZES).entropy() == pytest.approx(math.log(24))
    assert distribution.initial_entropy == pytest.approx(math.log(24))
    distribution.logits[:, 0] += 1e4
    assert distribution.entropy() == pytest.approx(0, abs=1e-12)


def test_most_probable() -> None:
    distribution = spread()
    best = max(everything(), key=lambda choice: float(distribution.log_prob([choice])))
    assert distribution.most_probable() == best


def test_samples_follow_the_probabilities() -> None:
    distribution = spread(1)
    number = 40_000
    counts: dict[tuple[int, ...], int] = dict.fromkeys(everything(), 0)
    for choice in distribution.sample(number, seed=3, step=7):
        counts[choice] += 1
    expected = (distribution.log_prob(everything()).exp() * number).tolist()
    squared = sum((count - mean) ** 2 / mean for count, mean in zip(counts.values(), expected, strict=True))
    # 99.9th percentile of chi squared with 23 degrees of freedom.
    assert squared < 49.7


def test_samples_are_a_function_of_seed_and_step() -> None:
    distribution = spread(0, (7,) * 40)
    again = distribution.sample(5, seed=1, step=2)
    torch.rand(100)
    assert distribution.sample(5, seed=1, step=2) == again
    others = [distribution.sample(5, *key) for key in ((1, 3), (2, 2), (2, 1), (0, 3))]
    assert all(other != again for other in others)


def test_uniform_draws_at_the_upper_edge_stay_inside() -> None:
    """Float probabilities may add up to just below 1."""
    distribution = Distribution((3,) * 1000)
    distribution.logits[:, 2] = -700.0
    assert {index for choice in distribution.sample(200, 0, 0) for index in choice} == {0, 1}


def test_state_round_trip_keeps_the_tensor() -> None:
    distribution, other = spread(0), Distribution(SIZES)
    tensor = other.logits
    other.load_state_dict(distribution.state_dict())
    assert other.logits is tensor
    assert torch.equal(other.logits, distribution.logits)
    distribution.logits += 1
    assert not torch.equal(other.logits, distribution.logits)


def test_a_space_without_variables() -> None:
    distribution = Distribution(())
    assert distribution.sample(3, 0, 0) == [(), (), ()]
    assert distribution.entropy() == 0
    assert distribution.most_probable() == ()
