"""Losses on the way against results, on trials whose orders are known."""

import pytest

from vidnas.pipeline.race.archive import TrialEntry
from vidnas.pipeline.race.early import describe_early, early_ranks, loss_at


def entry(number: int, headline: float | None, losses: tuple[float, ...], fold: int = 0) -> TrialEntry:
    curve = tuple((25 * (i + 1), loss) for i, loss in enumerate(losses))
    return TrialEntry(
        network=f"n{number}", name=f"n{number}", source="test", clip="4x24 uniform", macs=1, params=1, fold=fold,
        seed=fold, steps=100, headline=headline, log_likelihood=-1.0, curve=curve, sec=1.0,
    )  # fmt: skip


def test_the_early_order_is_wrong_and_the_late_one_right():
    results = (0.5, 0.6, 0.7, 0.8)
    early = (0.4, 0.3, 0.2, 0.1)  # the best networks have the highest loss early
    entries = [entry(i, results[i], (early[3 - i], 0.25, early[i])) for i in range(4)]
    quarter, late = early_ranks(entries)  # at half all are equal: no order
    assert (quarter.share, quarter.tau, quarter.trials) == (0.25, pytest.approx(-1), 4)
    assert (late.share, late.tau) == (0.75, pytest.approx(1))
    assert describe_early([quarter, late]).endswith("result: -1.00 at 25%, +1.00 at 75% of the steps")


def test_rounds_are_not_mixed_and_small_ones_say_nothing():
    """The second fold is harder for all: mixed with the first, its losses would seem to foretell its results."""
    first = [entry(i, 0.9 - 0.1 * i, (0.1 * i,)) for i in range(4)]
    harder = [entry(i, 0.3, (0.9,), fold=1) for i in range(3)]
    failed = [entry(9, None, (5.0,))]
    found = early_ranks([*first, *harder, *failed])
    assert all(one.tau == pytest.approx(1) for one in found)
    assert {one.trials for one in found} == {4}
    assert early_ranks(harder) == []
    assert describe_early([]) == ""


def test_losses_that_are_noted_seldom():
    one = entry(0, 0.5, (0.9, 0.5))
    assert [loss_at(one, share) for share in (0.1, 0.25, 0.49, 1.0)] == [0.9, 0.9, 0.9, 0.5]
