"""Random architectures: uniform among those that fit, whatever share of the space that is."""

from collections import Counter
from itertools import islice, product

import numpy as np
import pytest
from random_spaces import random_space

from vidnas.base.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.sampling import draws_within, sample_choices
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.space import Choice, Space

# Of 32, 64 and 24 architectures, with both ways of expansion and groups of stride 1.
SEEDS = (57, 36, 70)


def fitting(space: Space, costs: CostTable, target: float) -> set[Choice]:
    every = list(product(*(range(size) for size in space.sizes)))
    return {choice for choice, cost in zip(every, costs.costs(every), strict=True) if cost <= target}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("quantile", [0.05, 0.5])
def test_draws_are_uniform_among_the_choices_that_fit(seed: int, quantile: float) -> None:
    space = random_space(seed)
    costs = CostTable.of(space)
    every = list(product(*(range(size) for size in space.sizes)))
    target = float(np.quantile(costs.costs(every), quantile))
    fits = fitting(space, costs, target)
    number = 20 * len(fits)
    drawn = Counter(islice(draws_within(costs.terms, target, seed=1), number))
    assert set(drawn) <= fits
    # Chi-squared of k degrees exceeds k + 2 sqrt(10 k) + 20 with a probability below exp(-10).
    chi_squared = sum((drawn[choice] - 20) ** 2 / 20 for choice in fits)
    freedom = len(fits) - 1
    assert chi_squared <= freedom + 2 * (10 * freedom) ** 0.5 + 20


def test_a_budget_that_few_of_1e30_keep() -> None:
    """Within 2% above the cheapest: blind draws would never find one."""
    costs = CostTable.of(autox3d_space())
    target = 1.02 * costs.cheapest()[1]
    choices = sample_choices(costs, 10, seed=0, target_macs=target)
    assert len(set(choices)) == 10
    assert (costs.costs(choices) <= target).all()


def test_samples_are_a_function_of_the_seed_and_their_number() -> None:
    costs = CostTable.of(autox3d_space())
    for target in (None, 2e9):
        choices = sample_choices(costs, 4, seed=5, target_macs=target)
        assert sample_choices(costs, 2, seed=5, target_macs=target) == choices[:2]
        assert not set(sample_choices(costs, 4, seed=6, target_macs=target)) & set(choices)


def test_a_space_is_sampled_to_its_last_architecture() -> None:
    space = random_space(SEEDS[0])
    costs = CostTable.of(space)
    assert len(set(sample_choices(costs, space.size, seed=0))) == space.size
    target = float(costs.dearest()[1]) - 1
    fits = fitting(space, costs, target)
    assert set(sample_choices(costs, len(fits), seed=0, target_macs=target)) == fits
    with pytest.raises(VidnasError, match=rf"{len(fits) + 1} architectures are asked for, {len(fits)} were found"):
        sample_choices(costs, len(fits) + 1, seed=0, target_macs=target)
    with pytest.raises(VidnasError, match="ask for fewer"):
        sample_choices(costs, space.size + 1, seed=0)
    with pytest.raises(VidnasError, match=r"the cheapest .* raise the target"):
        sample_choices(costs, 1, seed=0, target_macs=1.0)
