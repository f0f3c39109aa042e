"""How a run finds its network, by what there is time for."""

from dataclasses import replace

import pytest

from vidnas.base.errors import VidnasError
from vidnas.pipeline.method import MethodTimes, choose_method, keep_method, kept_method

# Trainings of 100 s, a supernet of as long as 30 of them, six trainings at the end.
TIMES = MethodTimes(given_sec=4600, trial_sec=100, least=12, wanted=40, reserved=6, supernet_sec=3000)


@pytest.mark.parametrize(
    ("given_sec", "method", "why"),
    [
        (600, "supernet", "0.167 hours leave time for 0 trainings beside the last ones, and a race needs 12 or more"),
        (1799, "supernet", "time for 11 trainings"),
        (1800, "race", "time for 12 trainings, but for no supernet"),
        (7599, "race", "time for 40 trainings, but for no supernet of some 9,000 steps"),
        (7600, "both", "all 40 trainings of a race and before it for a supernet of some 9,000 steps"),
    ],
)
def test_auto_takes_what_there_is_time_for(given_sec, method, why):
    chosen = choose_method("auto", 1, lambda: replace(TIMES, given_sec=given_sec))
    assert chosen.method == method
    assert why in chosen.reason


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
