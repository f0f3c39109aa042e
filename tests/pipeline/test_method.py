"""How a run finds its network, by what there is time for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidnas.base.errors import VidnasError
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.estimate import SearchEstimate, fit_length
from vidnas.pipeline.method import HALF, RANKS_FROM_STEPS, MethodTimes, choose_method, keep_method, kept_method
from vidnas.pipeline.race.estimate import trials_within
from vidnas.pipeline.race.plan import least_trials

# Trainings of 100 s, a supernet of as long as 30 of them, six trainings at the end.
TIMES = MethodTimes(
    given_sec=4600, trial_sec=100, least=12, wanted=40, reserved=6, supernet_steps=9000, supernet_sec=3000
)
TEN_HOURS = {"given_sec": 36000, "trial_sec": 600}


@pytest.mark.parametrize(
    ("changes", "method", "why"),
    [
        (
            {"given_sec": 600},
            "supernet",
            "0.167 hours leave time for 0 trainings beside the last ones, and a race needs 12 or more",
        ),
        ({"given_sec": 1799}, "supernet", "time for 11 trainings"),
        ({"given_sec": 1800}, "race", "time for 12 trainings, but not, in one half, for all 40 and, in the other"),
        # The race and the last trainings need 4600 s, which are half of 9200 s.
        ({"given_sec": 9199}, "race", "time for 40 trainings, but not, in one half, for all 40"),
        ({"given_sec": 9200}, "both", "one half of 2.56 hours is enough for all 40 trainings of a race"),
        ({"given_sec": 9200, "supernet_sec": 4601}, "race", "in the other, for a supernet of 9,000 steps"),
        ({"given_sec": 9200, "supernet_steps": 2000}, "race", "of 2,000 steps is too short to judge networks"),
        ({"given_sec": 9200, "supernet_steps": 0}, "race", "the list is too short to be divided for a supernet"),
        ({"given_sec": 9200, "supernet_steps": 12000}, "both", "the other for a supernet of 12,000 steps"),
        ({**TEN_HOURS, "reserved": 2, "supernet_sec": 7200}, "race", "10 hours leave time for 40 trainings"),
    ],
)
def test_auto_takes_what_there_is_time_for(changes, method, why):
    chosen = choose_method("auto", 1, lambda: replace(TIMES, **changes))
    assert chosen.method == method
    assert why in chosen.reason


@given(st.floats(1e3, 1e6), st.floats(1, 1e4), st.integers(1, 8), st.integers(0, 10), st.floats(1e-3, 1))
def test_both_come_to_what_auto_promises(given_sec, trial_sec, clips, reserved, weights_step_sec):
    """All trainings that are wanted, and the supernet at its whole length, each within its part of the hours."""
    times = MethodTimes(
        given_sec=given_sec,
        trial_sec=trial_sec,
        least=least_trials(clips),
        wanted=40,
        reserved=reserved,
        supernet_steps=RANKS_FROM_STEPS,
        supernet_sec=RANKS_FROM_STEPS * weights_step_sec,
    )
    if choose_method("auto", 1, lambda: times).method != "both":
        return
    hours = given_sec / 3600
    assert trials_within(hours, trial_sec, 40, clips, reserved, HALF) == 40
    search = SearchConfig().with_length(RANKS_FROM_STEPS)
    estimate = SearchEstimate(weights_step_sec, 0.0, 0.0, 0.0)
    assert fit_length(search, estimate, 5, (1 - HALF) * hours * 3600 * (1 + 1e-9)) == search
    assert search.schedule(5).total == RANKS_FROM_STEPS


def test_only_a_length_by_default_becomes_another():
    for config in (SearchConfig(epochs=3), SearchConfig(steps=7)):
        assert config.with_length(RANKS_FROM_STEPS) == config
    assert SearchConfig().with_length(5) == SearchConfig(steps=5)


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_a_supernet_that_takes_too_long_keeps_what_fits_of_its_length(unit):
    """Of 100 steps, or epochs of two steps, of a second each and as many on alpha after the first third."""
    estimate, per = SearchEstimate(1.0, 1.0, 0.0, 0.0), {"epochs": 2, "steps": 1}[unit]
    config = SearchConfig(**{unit: 100})

    def fitting(seconds: float) -> int:
        return getattr(fit_length(config, estimate, 2, seconds), unit)

    assert fitting(1e6) == 100
    assert fitting(0) == 1
    for seconds in (20, 77.5, 100):
        length = fitting(seconds)
        taken = [estimate.total_sec(SearchConfig(**{unit: n}).schedule(2)) for n in (length, length + 1)]
        assert taken[0] <= seconds < taken[1]
        assert 0.5 * seconds < per * length < 0.7 * seconds


def test_nothing_is_measured_where_nothing_is_to_be_chosen():
    def never() -> MethodTimes:
        raise AssertionError("measured")

    assert choose_method("race", 1, never).method == "race"
    assert choose_method("auto", 2, never).method == "supernet"
    assert choose_method("auto", 1).method == "race"
    with pytest.raises(VidnasError, match="--method both: a race runs its trainings beside each other by itself"):
        choose_method("both", 2)


def test_what_a_run_began_with_is_kept(tmp_path):
    assert kept_method(tmp_path) is None
    keep_method("both", tmp_path)
    assert kept_method(tmp_path) == "both"
