"""Kendall's tau against counting by hand, and its null distribution against all orders."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest

from vidnas.search.rank_correlation import RankCorrelation, kendall, partial_kendall


def by_counting(x: list[int], y: list[int]) -> float:
    agree = disagree = only_x = only_y = 0
    for i, j in combinations(range(len(x)), 2):
        if x[i] == x[j] and y[i] == y[j]:
            continue
        if x[i] == x[j]:
            only_x += 1
        elif y[i] == y[j]:
            only_y += 1
        elif (x[i] < x[j]) == (y[i] < y[j]):
            agree += 1
        else:
            disagree += 1
    untied = agree + disagree
    return (agree - disagree) / math.sqrt((untied + only_x) * (untied + only_y))


def test_tau_is_what_counting_pairs_gives():
    rng = np.random.default_rng(0)
    for n in (2, 3, 7, 20):
        for options in (2, 4, 1000):
            x, y = rng.integers(options, size=(2, n)).tolist()
            if len(set(x)) > 1 and len(set(y)) > 1:
                assert kendall(x, y).tau == pytest.approx(by_counting(x, y), abs=1e-12)


def test_same_and_opposite_orders_are_the_ends():
    values = [3.0, -1.0, 7.5, 7.4, 0.0]
    assert kendall(values, [math.exp(v) for v in values]).tau == 1.0
    assert kendall(values, [-v for v in values]).tau == -1.0
    assert math.isnan(kendall(values, [1.0] * 5).tau)
    assert str(kendall(values, [1.0] * 5)) == "undefined, one side is all ties (n = 5)"


def test_null_standard_error_is_the_deviation_over_all_orders():
    for n in (3, 5, 7):
        taus = [kendall(range(n), order).tau for order in permutations(range(n))]
        assert np.mean(taus) == pytest.approx(0, abs=1e-12)
        assert RankCorrelation(0.0, n).null_standard_error == pytest.approx(np.std(taus), rel=1e-12)


def test_p_value_is_close_to_the_share_of_orders_at_least_as_far():
    n = 7
    taus = np.array([kendall(range(n), order).tau for order in permutations(range(n))])
    for tau in (1 / 21, 7 / 21, 13 / 21):
        beyond, at = np.abs(taus) > tau + 1e-9, np.abs(np.abs(taus) - tau) < 1e-9
        # A smooth curve passes through the middle of a step: half of the orders at tau itself count.
        assert RankCorrelation(tau, n).p_value == pytest.approx(beyond.mean() + at.mean() / 2, abs=0.02)
    assert RankCorrelation(0.0, n).p_value == 1.0


def test_what_both_owe_to_a_third_order_is_taken_out():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=400)
    x, y = shared + rng.normal(size=400), shared + rng.normal(size=400)
    # For normal values tau is 2/pi asin(correlation): 1/3 and twice 1/2 here, which makes 1/9 of what is left.
    # 0.1 is three null standard errors.
    assert kendall(x, y).tau == pytest.approx(1 / 3, abs=0.1)
    assert partial_kendall(x, y, shared) == pytest.approx(1 / 9, abs=0.1)
    independent = rng.normal(size=400)
    assert partial_kendall(x, y, independent) == pytest.approx(kendall(x, y).tau, abs=0.01)
    assert math.isnan(partial_kendall(shared, y, shared))


def test_single_values_are_refused():
    with pytest.raises(ValueError, match="two or more"):
        kendall([1.0], [2.0])
    with pytest.raises(ValueError, match="3 and 2"):
        kendall([1.0, 2.0, 3.0], [2.0, 1.0])
