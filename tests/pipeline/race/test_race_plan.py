"""How trials are spent: never more than there are, all folds used, clips first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidnas.base.errors import VidnasError
from vidnas.pipeline.race.plan import CLIPS_KEPT, least_trials, plan_race
from vidnas.search.race import trials_of

COUNTS = st.tuples(st.integers(0, 300), st.integers(1, 16), st.integers(2, 5))


@given(COUNTS)
def test_trials_are_used_up_and_not_exceeded(counts):
    more, clips, folds = counts
    trials = least_trials(clips) + more
    plan = plan_race(trials, clips, folds)
    assert least_trials(clips) <= plan.trials <= trials
    # What is left is less than another network and another changed one would take in all rounds.
    assert trials - plan.trials < 4 + 2 * plan.rounds
    assert 2 <= plan.rounds <= max(2, folds)
    assert plan.networks >= 3
    assert plan.newcomers >= 1
    assert (plan.clips, plan.clip_rounds > 0) == (clips, True) if clips > 1 else plan.clip_rounds == 0


@given(COUNTS)
def test_more_trials_are_no_smaller_race(counts):
    more, clips, folds = counts
    trials = least_trials(clips) + more
    before, after = plan_race(trials, clips, folds), plan_race(trials + 10, clips, folds)
    assert after.trials >= before.trials
    assert after.clip_rounds >= before.clip_rounds


def test_clips_take_two_fifths_at_most_where_many_trials_are_asked_for():
    """Six clips, three near the best, and three of nine in the second round: 12; of 29 trials 8."""
    for trials, near, on_clips in ((40, 3, 12), (30, 3, 12), (29, 0, 8), (20, 0, 8)):
        plan = plan_race(trials, 6, 4)
        assert (plan.clips, plan.near, plan.clip_rounds) == (6, near, 2)
        assert trials_of(plan.clips, plan.near, plan.clip_rounds, CLIPS_KEPT) == on_clips <= 0.4 * trials


def test_too_few_trials():
    for clips in (1, 6):
        least = least_trials(clips)
        assert plan_race(least, clips, 4).trials == least
        with pytest.raises(VidnasError, match=f"a race of {least - 1} trials is none: give {least} or more"):
            plan_race(least - 1, clips, 4)
