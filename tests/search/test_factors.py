"""Variable elimination against the list of all choices, on factors that form chains, ladders, stars and others."""

from collections import Counter
from itertools import islice, product

import numpy as np
import pytest
from numpy.typing import NDArray

from vidnas.search.factor_fronts import WIDTH, best_under, best_under_all, few_best_under_all, pareto_front
from vidnas.search.factors import Factor, FactorSum, Options
from vidnas.search.sampling import draws_within

SHAPES = ("chain", "ladder", "star", "random")
SEEDS = range(6)


def scopes_of(shape: str, rng: np.random.Generator) -> list[tuple[int, ...]]:
    if shape == "chain":
        return [(i, i + 1) for i in range(5)]
    if shape == "ladder":
        # Two chains, even and odd; each member of the even one depends on both before it as well.
        along = [(i, i + 2) for i in range(6)]
        return [*along, *((i, i + 1, i + 2) for i in range(0, 6, 2))]
    if shape == "star":
        return [(0, i) for i in range(1, 6)]
    return [tuple(sorted(rng.choice(6, size=rng.integers(1, 4), replace=False).tolist())) for _ in range(5)]


def sums(shape: str, seed: int, number: int, *, whole: bool = False) -> list[FactorSum]:
    """Several sums of the same shape; in the random one some variables are in no factor."""
    rng = np.random.default_rng((seed, SHAPES.index(shape)))
    scopes = scopes_of(shape, rng)
    sizes = rng.integers(1, 4, size=8 if shape == "ladder" else 6).tolist()

    def factor(scope: tuple[int, ...]) -> Factor:
        lengths = [sizes[v] for v in scope]
        return Factor(scope, rng.integers(-9, 30, lengths) if whole else rng.normal(size=lengths))

    return [FactorSum.of(sizes, map(factor, scopes), int(rng.integers(9))) for _ in range(number)]


def everything(total: FactorSum) -> list[Options]:
    return list(product(*map(range, total.sizes)))


def plainly(total: FactorSum, choices: list[Options]) -> NDArray[np.float64]:
    return np.array(
        [total.constant + sum(f.values[tuple(c[v] for v in f.variables)] for f in total.factors) for c in choices]
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_sums_and_their_range(shape: str, seed: int) -> None:
    a, b = sums(shape, seed, 2, whole=True)
    choices = everything(a)
    found = a.values(choices)
    assert found.tolist() == plainly(a, choices).tolist()
    for (choice, value), end in ((a.least(), found.min()), (a.greatest(), found.max())):
        assert value == end == a.values([choice])[0]
    mixed = (2 * a + (-1) * b).plus(7)
    assert mixed.values(choices).tolist() == (2 * found - b.values(choices) + 7).tolist()


def test_small_factors_are_merged_into_larger_ones() -> None:
    rng = np.random.default_rng(0)
    factors = [Factor(scope, rng.normal(size=[2 + v for v in scope])) for scope in [(1,), (0, 2), (), (2,), (0, 1, 2)]]
    merged = FactorSum.of((2, 3, 4), factors, 1)
    assert [factor.variables for factor in merged.factors] == [(0, 1, 2)]
    kept = FactorSum((2, 3, 4), tuple(factors[i] for i in (0, 1, 3, 4)), 1 + factors[2].values.item())
    choices = everything(merged)
    np.testing.assert_allclose(merged.values(choices), kept.values(choices), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_front_and_the_best_under_a_limit_are_exact(shape: str, seed: int) -> None:
    costs, scores = sums(shape, seed, 2)
    choices = everything(costs)
    cost, score = costs.values(choices), scores.values(choices)
    expected: list[tuple[float, float]] = []
    for i in np.lexsort((-score, cost)):
        if not expected or score[i] > expected[-1][1]:
            expected.append((cost[i], score[i]))
    front = pareto_front(costs, scores)
    assert len(front.costs) <= WIDTH
    # Sums in another order.
    np.testing.assert_allclose(np.stack([front.costs, front.scores], 1), expected, rtol=0, atol=1e-12)
    members = [front.choice(place) for place in range(len(expected))]
    np.testing.assert_allclose(np.stack([costs.values(members), scores.values(members)], 1), expected, atol=1e-12)
    for quantile in (0.0, 0.3, 1.0):
        limit = float(np.quantile(cost, quantile))
        best = best_under(costs, scores, limit)
        assert costs.values([best])[0] <= limit + 1e-12
        assert scores.values([best])[0] == pytest.approx(score[cost <= limit + 1e-12].max(), abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_two_limits_are_both_kept_at_nearly_the_best_score(shape: str) -> None:
    shares = []
    for seed in SEEDS:
        *costs, scores = sums(shape, seed, 3)
        costs = [cost.plus(1 - cost.least()[1]) for cost in costs]
        choices = everything(scores)
        values, score = np.stack([cost.values(choices) for cost in costs]), scores.values(choices)
        # A third of the choices keeps the first limit, and half of these the second.
        first = float(np.quantile(values[0], 0.33))
        limits = [first, float(np.median(values[1][values[0] <= first]))]
        fits = (values <= np.array(limits)[:, None]).all(0)
        best = best_under_all(costs, scores, limits)
        assert best is not None
        assert fits[choices.index(best)]
        spread = score.max() - score.min()
        shares.append((score[fits].max() - scores.values([best])[0]) / max(spread, 1e-9))
    # Exact is what one limit is; here most are.
    assert min(shares) >= -1e-12
    assert np.median(shares) <= 1e-12
    assert max(shares) < 0.3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("position", [0.0, 0.2])
def test_draws_are_uniform_among_what_fits(shape: str, position: float) -> None:
    (costs,) = sums(shape, 3, 1)
    choices = everything(costs)
    cost = costs.values(choices)
    target = float(np.quantile(cost, position))
    fits = {choice for choice, value in zip(choices, cost, strict=True) if value <= target}
    drawn = Counter(islice(draws_within(costs, target, seed=1), 20 * len(fits)))
    assert set(drawn) <= fits
    # Chi-squared of k degrees exceeds k + 2 sqrt(10 k) + 20 with a probability below exp(-10).
    chi_squared = sum((drawn[choice] - 20) ** 2 / 20 for choice in fits)
    freedom = len(fits) - 1
    assert chi_squared <= freedom + 2 * (10 * freedom) ** 0.5 + 20


def test_wide_fronts_are_thinned_and_keep_the_limit() -> None:
    """40 variables of normal costs and scores have more than WIDTH partial choices that are worth keeping."""
    rng = np.random.default_rng(0)
    sizes = (6,) * 40
    costs, scores = (FactorSum.of(sizes, [Factor((v,), rng.normal(size=6)) for v in range(40)]) for _ in range(2))
    front = pareto_front(costs, scores, limit=0.0)
    assert 1 < len(front.costs) <= WIDTH
    assert (np.diff(front.costs) > 0).all()
    assert (np.diff(front.scores) > 0).all()
    assert front.costs[-1] <= 0
    # Relaxed, the best of each variable under a price of the cost bounds what any choice within the limit has.
    bound = min(
        sum((s.values - price * c.values).max() for c, s in zip(costs.factors, scores.factors, strict=True))
        for price in np.linspace(0, 5, 500)
    )
    assert 0.999 * bound < front.scores[-1] <= bound


@pytest.mark.parametrize("shape", SHAPES)
def test_a_few_under_two_limits(shape: str) -> None:
    """Different ones that keep both, the best of which is what is found alone or better."""
    for seed in SEEDS:
        *costs, scores = sums(shape, seed, 3)
        costs = [cost.plus(1 - cost.least()[1]) for cost in costs]
        choices = everything(scores)
        limits = [float(np.quantile(cost.values(choices), 0.6)) for cost in costs]
        few = few_best_under_all(costs, scores, limits, 4)
        assert 1 <= len(few) == len(set(few)) <= 4
        ratios = [cost.values(few).max() / limit for cost, limit in zip(costs, limits, strict=True)]
        assert max(ratios) <= 1
        reached = scores.values(few).tolist()
        assert reached == sorted(reached, reverse=True)
        alone = best_under_all(costs, scores, limits)
        assert alone is not None
        assert reached[0] >= scores.values([alone])[0]
