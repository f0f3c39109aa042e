"""McNemar's exact test and Wilson's interval against closed values."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidnas.report.statistics import mcnemar_exact, wilson_interval


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (0, 0, 1),
        (1, 0, 1),  # 2 * 1/2
        (5, 0, Fraction(2, 32)),
        (0, 6, Fraction(2, 64)),
        (1, 9, Fraction(2 * (1 + 10), 1024)),
        (2, 8, Fraction(2 * (1 + 10 + 45), 1024)),
        (5, 5, 1),  # the middle term would be counted twice
        (3, 4, 1),
        (4, 12, Fraction(2 * (1 + 16 + 120 + 560 + 1820), 65536)),
    ],
)
def test_mcnemar_is_the_binomial_tail(b, c, p):
    assert mcnemar_exact(b, c) == float(p)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_counting_all_splits(b, c):
    n = b + c
    as_uneven = sum(math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= abs(b - c))
    # Every split at least as uneven, on both sides: exact integers, one rounding.
    assert mcnemar_exact(b, c) == pytest.approx(as_uneven / 2**n, rel=1e-15)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


def test_mcnemar_of_many_videos():
    assert mcnemar_exact(3000, 3000) == 1
    assert 0 < mcnemar_exact(2900, 3300) < 1e-5  # far beyond what a float's 2**-n could hold
    assert mcnemar_exact(0, 1100) == 0.0 == 2 / 2**1100
    with pytest.raises(ValueError):
        mcnemar_exact(-1, 3)


def test_wilson_interval():
    # Both ends solve |share - p| = z sqrt(p (1 - p) / n).
    for correct, total in ((0, 10), (3, 10), (10, 10), (334, 432)):
        share = correct / total
        for end in wilson_interval(correct, total):
            if 0 < end < 1:
                z = abs(share - end) / math.sqrt(end * (1 - end) / total)
                assert z == pytest.approx(1.959964, rel=1e-9)
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == 1
    with pytest.raises(ValueError):
        wilson_interval(1, 0)
