"""Derivation against brute force."""

import math
import random
from collections.abc import Sequence
from itertools import islice, product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vidnas.base.errors import VidnasError
from vidnas.search.budget import Budget, usage
from vidnas.search.costs import CostTable
from vidnas.search.derive import derive, most_probable_choices, most_probable_under
from vidnas.search.distribution import Distribution
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Choice, Space


def spread(sizes: tuple[int, ...], seed: int, scale: float = 1.0) -> Distribution:
    distribution = Distribution(sizes)
    noise = torch.randn(distribution.logits.shape, generator=torch.Generator().manual_seed(seed))
    distribution.logits.copy_(scale * noise)
    return distribution


def three_groups() -> Space:
    """9,720 architectures whose groups are tied by the channels between them."""
    stream = tiny_space().streams[0]
    groups = []
    for group in stream.groups[:3]:
        groups.append(
            group.model_copy(
                update={"kernel": group.kernel[::4], "expansion": (1.5, 3.0, 4.5), "attention": ("none", "glore")}
            )
        )
    space = tiny_space().model_copy(update={"streams": (stream.model_copy(update={"groups": tuple(groups)}),)})
    return Space.model_validate(space.model_dump())


def everything(space: Space) -> list[Choice]:
    return list(product(*(range(size) for size in space.sizes)))


@pytest.mark.parametrize("sizes", [(2, 3, 4), (5, 1, 3), (6, 7, 5, 2, 3)])
def test_choices_come_in_order_each_once(sizes: tuple[int, ...]) -> None:
    distribution = spread(sizes, 0)
    listed = list(most_probable_choices(distribution))
    assert sorted(choice for choice, _ in listed) == list(product(*(range(size) for size in sizes)))
    values = [value for _, value in listed]
    assert values == sorted(values, reverse=True)
    torch.testing.assert_close(
        torch.tensor(values, dtype=torch.float64),
        distribution.log_prob([choice for choice, _ in listed]),
        rtol=0,
        atol=1e-12,
    )


def test_equal_probabilities_are_no_trap() -> None:
    listed = [choice for choice, _ in most_probable_choices(Distribution((3, 3, 3)))]
    assert len(set(listed)) == len(listed) == 27
    assert listed == [choice for choice, _ in most_probable_choices(Distribution((3, 3, 3)))]


def test_the_first_thousand_of_the_published_space() -> None:
    distribution = spread(autox3d_space().sizes, 1)
    listed = list(islice(most_probable_choices(distribution), 1000))
    assert listed[0][0] == distribution.most_probable()
    assert len({choice for choice, _ in listed}) == 1000
    # Any one change of the first choice that loses little must be among them.
    rows = distribution.log_probabilities()
    for v, size in enumerate(distribution.sizes):
        for i in range(size):
            choice = (*listed[0][0][:v], i, *listed[0][0][v + 1 :])
            if listed[0][1] + float(rows[v, i] - rows[v, listed[0][0][v]]) > listed[-1][1] + 1e-9:
                assert choice in {listed_choice for listed_choice, _ in listed}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("position", [0.001, 0.1, 0.4, 0.8])
def test_derive_is_the_most_probable_that_fits(seed: int, position: float) -> None:
    space = three_groups()
    table = CostTable.of(space)
    distribution = spread(space.sizes, seed, scale=2.0)
    least, greatest = table.cheapest()[1], table.dearest()[1]
    target = least + position * (greatest - least)
    choices = everything(space)
    log_p = distribution.log_prob(choices)
    fits = torch.from_numpy(table.costs(choices) <= target * 1.01)
    best = choices[int(log_p.masked_fill(~fits, -math.inf).argmax())]
    by_list = derive(distribution, [Budget(table, target)], slack=0.01, among=len(choices))
    by_program = derive(distribution, [Budget(table, target)], slack=0.01, among=1)
    assert by_list.choice == best
    assert by_program.choice == best
    assert by_list.rank == 1 + int((log_p > log_p[choices.index(best)]).sum())
    assert by_program.rank == (1 if by_list.rank == 1 else None)
    assert by_list.cost == table.cost(best) <= target * 1.01
    assert by_list.log_prob == pytest.approx(by_program.log_prob, abs=1e-12)


def test_program_on_the_published_space_beats_sampling() -> None:
    """Brute force is out of reach: compare with 20,000 samples, with every single change, and with the bound."""
    space = autox3d_space()
    table = CostTable.of(space)
    distribution = spread(space.sizes, 3)
    target = 0.8 * table.cost(distribution.most_probable())
    choice = most_probable_under(distribution, table, target)
    found = float(distribution.log_prob([choice]))
    assert table.cost(choice) <= target
    samples = distribution.sample(20_000, 0, 0)
    fitting = [sample for sample, fit in zip(samples, table.costs(samples) <= target, strict=True) if fit]
    assert found > float(distribution.log_prob(fitting).max())
    assert found <= float(distribution.log_prob([distribution.most_probable()]))
    # No single change that fits is more probable.
    rows = distribution.log_probabilities()
    rng = random.Random(0)
    for v in rng.sample(range(len(space.sizes)), 20):
        for i in range(space.sizes[v]):
            if rows[v, i] > rows[v, choice[v]]:
                assert table.cost((*choice[:v], i, *choice[v + 1 :])) > target


def test_a_budget_below_the_space_is_refused_with_both_numbers() -> None:
    table = CostTable.of(tiny_space())
    least = table.cheapest()[1]
    with pytest.raises(VidnasError, match=r"tiny_space has macs <= 1e\+06, the smallest has"):
        derive(Distribution(table.space.sizes), [Budget(table, 1e6)], among=10)
    assert derive(Distribution(table.space.sizes), [Budget(table, least)], among=10).choice == table.cheapest()[0]


def test_several_limits_without_the_list_of_the_most_probable() -> None:
    """A uniform distribution on a large space: no listed choice keeps both, reweighted elimination finds one."""
    space = autox3d_space()
    tables = [CostTable.of(space), CostTable.of(space, "params"), CostTable.of(space, "activations")]
    rng = np.random.default_rng(0)
    distribution = Distribution(space.sizes)
    distribution.logits.copy_(torch.from_numpy(rng.normal(size=distribution.logits.shape)))
    inside = [table.costs(distribution.sample(200, 0, 0)) for table in tables]
    budgets = [Budget(table, 0.5 * float(costs.mean())) for table, costs in zip(tables, inside, strict=True)]
    derived = derive(distribution, budgets, among=1)
    assert usage(budgets, [derived.choice])[0] <= 1
    # Better than what one obtains by going down to the cheapest of everything.
    assert derived.log_prob > float(distribution.log_prob([space.smallest()]))
    with pytest.raises(VidnasError, match="params <= 1000"):
        derive(distribution, [budgets[0], Budget(tables[1], 1000)], among=1)


def test_costs_that_are_no_sums_over_groups_are_tried_to_the_last() -> None:
    class Columns:
        metric = "macs"
        sizes = (3, 4)

        def costs(self, choices: Sequence[Choice]) -> NDArray[np.float64]:
            return np.array([1.0 if choice == (2, 1) else 9.0 for choice in choices])

    assert derive(Distribution((3, 4)), [Budget(Columns(), 2.0)], among=1).choice == (2, 1)
    with pytest.raises(VidnasError, match=r"macs <= 0.5.*raise the target"):
        derive(Distribution((3, 4)), [Budget(Columns(), 0.5)])
