"""The searches to compare with, on planted additive problems."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice, product

import numpy as np
import pytest
from latency_examples import small_space
from numpy.typing import NDArray

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.search.baselines import (
    Evaluation,
    EvolutionSettings,
    choices_within,
    evolution,
    neighbours_within,
    random_search,
    reinforce,
)
from vidnas.search.budget import Budget, between, usage
from vidnas.search.costs import CostTable
from vidnas.search.derive import derive
from vidnas.search.distribution import Distribution
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import scaled_space
from vidnas.search.space.space import Choice

CLIP = ClipSpec(frames=8, size=48)
SIZES = (3, 4, 2, 5, 3, 4, 3, 3)


class Sum:
    """A cost that is a sum over variables of the index times a random price."""

    metric = "prices"
    sizes = SIZES

    def __init__(self, seed: int) -> None:
        self.prices = np.random.default_rng(seed).uniform(0.5, 1.5, len(SIZES))

    def costs(self, choices: Sequence[Choice]) -> NDArray[np.float64]:
        return 1 + np.asarray(choices) @ self.prices


class Planted:
    """Quality is a sum over variables; the scores that a search sees have noise."""

    def __init__(self, seed: int, noise: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        self.values = [np.cumsum(rng.exponential(1.0, size)) for size in SIZES]
        self.noise, self.seed, self.asked = noise, seed, 0

    def of(self, choice: Choice) -> float:
        return float(sum(values[i] for values, i in zip(self.values, choice, strict=True)))

    def __call__(self, choices: Sequence[Choice]) -> list[float]:
        self.asked += 1
        rng = np.random.default_rng((self.seed, self.asked))
        return [self.of(choice) + rng.normal(0, self.noise) for choice in choices]


def middle(seed: int) -> list[Budget]:
    """What about half of all choices keep."""
    costs = Sum(seed)
    return [Budget(costs, float(np.median(costs.costs(list(product(*map(range, SIZES)))))))]


def picked(problem: Planted, evaluated: Sequence[Evaluation]) -> float:
    return problem.of(max(evaluated, key=lambda one: one.score).choice)


@pytest.mark.parametrize("search", [random_search, evolution])
def test_budgets_are_kept_and_the_seed_says_it_all(search: Callable[..., list[Evaluation]]) -> None:
    budgets = [*middle(0), *middle(1)]
    evaluated = search(Planted(0), budgets, 200, 3)
    assert len(evaluated) == 200
    assert usage(budgets, [one.choice for one in evaluated]).max() <= 1
    assert search(Planted(0), budgets, 200, 3) == evaluated
    assert search(Planted(0), budgets, 200, 4) != evaluated
    assert search(Planted(0), budgets, 20, 3) == evaluated[:20]


def test_reinforce_spends_its_queries_and_the_seed_says_it_all() -> None:
    found = reinforce(Planted(0), middle(0), 150, 3)
    again = reinforce(Planted(0), middle(0), 150, 3)
    assert len(found.evaluated) == 150
    assert found.evaluated == again.evaluated
    assert found.distribution.logits.equal(again.distribution.logits)


def test_evolution_and_reinforce_beat_random_search() -> None:
    found: dict[str, list[float]] = {"random": [], "evolution": [], "reinforce": []}
    for seed in range(6):
        budgets = middle(seed)
        found["random"].append(picked(Planted(seed), random_search(Planted(seed), budgets, 400, seed)))
        found["evolution"].append(picked(Planted(seed), evolution(Planted(seed), budgets, 400, seed)))
        policy = reinforce(Planted(seed), budgets, 400, seed).distribution
        derived = derive(policy, budgets).choice
        assert usage(budgets, [derived])[0] <= 1
        found["reinforce"].append(Planted(seed).of(derived))
    # Measured on these six: random search is 1.2 below the best that the budget allows, REINFORCE .6, evolution .04.
    assert np.mean(found["evolution"]) > np.mean(found["random"]) + 0.2
    assert np.mean(found["reinforce"]) > np.mean(found["random"]) + 0.2


def test_reinforce_does_not_see_the_scale_of_the_scores() -> None:
    small = reinforce(Planted(0, noise=0), middle(0), 120, 0).evaluated
    large = reinforce(lambda choices: [1000 * s - 7 for s in Planted(0, noise=0)(choices)], middle(0), 120, 0).evaluated
    assert [one.choice for one in small] == [one.choice for one in large]


def test_the_oldest_die() -> None:
    """With everybody in the tournament, a parent is the best of the last ones, even where a better one has died."""
    settings = EvolutionSettings(population=5, tournament=5)
    budgets = [Budget(Sum(0), 1e9)]
    evaluated = evolution(Planted(1, noise=20.0), budgets, 150, 0, settings)
    lost = 0
    for i in range(5, 150):
        parent = max(evaluated[i - 5 : i], key=lambda one: one.score)
        assert sum(a != b for a, b in zip(parent.choice, evaluated[i].choice, strict=True)) == 1
        lost += parent.score < max(one.score for one in evaluated[:i])
    assert lost > 100


def test_draws_are_uniform_within_the_budget() -> None:
    costs = Sum(0)
    everything = list(product(*map(range, SIZES)))
    few = float(np.sort(costs.costs(everything))[39])
    draws = choices_within([Budget(costs, few)], 5)
    counts: dict[Choice, int] = {}
    for _ in range(2000):
        choice = next(draws)
        counts[choice] = counts.get(choice, 0) + 1
    assert len(counts) == 40
    # Each count is 50 +- 7; five deviations over 40 of them are one false alarm in 40,000.
    assert max(abs(number - 50) for number in counts.values()) < 36


def test_a_budget_that_nothing_random_keeps() -> None:
    table = CostTable.of(autox3d_space())
    budgets = [Budget(table, 1.02 * table.cheapest()[1])]
    drawn = list(zip(choices_within(budgets, 0), range(6), strict=False))
    assert usage(budgets, [choice for choice, _ in drawn]).max() <= 1
    assert len({choice for choice, _ in drawn}) == 6
    with pytest.raises(VidnasError, match="raise the target"):
        next(choices_within([Budget(table, 0.9 * table.cheapest()[1])], 0))


def test_neighbours() -> None:
    budgets = middle(2)
    choice = next(choices_within(budgets, 0))
    expected = [
        other
        for other in product(*map(range, SIZES))
        if sum(a != b for a, b in zip(choice, other, strict=True)) == 1 and usage(budgets, [other])[0] <= 1
    ]
    assert sorted(neighbours_within(budgets, choice)) == expected
    lonely = [Budget(Sum(0), 1.01)]
    assert neighbours_within(lonely, (0,) * len(SIZES)) == []
    assert [one.choice for one in evolution(Planted(0), lonely, 60, 0)] == [(0,) * len(SIZES)] * 60


@pytest.mark.parametrize("every", [2, 1])
def test_diverged_architectures_stop_nothing(every: int) -> None:
    def scorer(choices: Sequence[Choice]) -> list[float]:
        return [float("nan") if sum(choice) % every == 0 else -1.0 - sum(choice) for choice in choices]

    for evaluated in (random_search(scorer, middle(0), 80, 0), evolution(scorer, middle(0), 80, 0)):
        assert {one.score for one in evaluated if sum(one.choice) % every == 0} == {-np.inf}
    policy: Distribution = reinforce(scorer, middle(0), 80, 0).distribution
    assert policy.logits.isfinite().all()


def test_evolution_may_begin_with_given_choices():
    budgets, planted = middle(0), Planted(0, noise=0.0)
    given = [one.choice for one in random_search(planted, budgets, 3, seed=9)]
    plain = evolution(planted, budgets, 12, seed=1, settings=EvolutionSettings(population=5, tournament=2))
    begun = evolution(planted, budgets, 12, seed=1, settings=EvolutionSettings(population=5, tournament=2), start=given)
    assert [one.choice for one in begun[:3]] == given
    assert [one.choice for one in begun[3:5]] == [one.choice for one in plain[:2]]


def test_draws_use_one_of_two_budgets_up() -> None:
    """Uniform among those that do: counted on a space that can be listed, and on one where nearly none does."""
    space = small_space()
    macs, params = CostTable.of(space), CostTable.of(space, "params")
    choices = list(product(*map(range, space.sizes)))
    budgets = [Budget(table, float(np.quantile(table.costs(choices), 0.6))) for table in (macs, params)]
    used = usage(budgets, choices)
    fitting = {choice for choice, use in zip(choices, used, strict=True) if 0.9 <= use <= 1}
    assert 5 <= len(fitting) < len(choices) / 3
    drawn = Counter(islice(choices_within(budgets, 0, 0.9), 100 * len(fitting)))
    assert set(drawn) == fitting
    assert 50 < min(drawn.values()) <= max(drawn.values()) < 200
    # One budget: the same draws as with what is left of it as second one.
    low, high = 0.9 * budgets[0].target, budgets[0].target
    one = islice(choices_within(budgets[:1], 3, 0.9), 50)
    assert list(one) == list(islice(choices_within(between(macs, low, high), 3), 50))

    # Where nearly no draw does.
    tables = [CostTable.of(scaled_space(CLIP, depth_factor=0.4), metric) for metric in ("macs", "params")]
    tight = [Budget(tables[0], 1.05 * tables[0].cheapest()[1]), Budget(tables[1], 3 * tables[1].cheapest()[1])]
    for choice in islice(choices_within(tight, 0, 0.98), 3):
        assert 0.98 <= usage(tight, [choice])[0] <= 1
    with pytest.raises(
        VidnasError, match="no network was found that uses 99% of its macs; lower that, or search a larger"
    ):
        next(choices_within([Budget(macs, 2 * macs.dearest()[1])], 0, 0.99))
