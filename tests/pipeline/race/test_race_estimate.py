"""What fits into the hours of a race, and what a training step of it takes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import tiny_config, tiny_spec

from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.pipeline.race.estimate import mean_step_seconds, trials_within
from vidnas.pipeline.race.plan import least_trials


@given(
    st.floats(1e-3, 1e5),
    st.integers(1, 12),
    st.integers(0, 10),
    st.sampled_from([0.5, 1.0]),
    st.floats(0.01, 0.99),
)
def test_hours_that_are_called_enough_are(trial_sec, clips, reserved, share, part):
    least = least_trials(clips) + reserved
    hours = part * (least - 1) * trial_sec / 3600 / share
    with pytest.raises(VidnasError) as refused:
        trials_within(hours, trial_sec, 40, clips, reserved, share)
    told = re.search(r"needed: give (\S+) hours(.*)", str(refused.value))
    assert told is not None
    enough = float(told[1])
    assert 0 < trials_within(enough, trial_sec, 40, clips, reserved, share) <= 40
    assert enough <= 1.25 * least * trial_sec / 3600 / share
    # The next command may find a step to take a little longer.
    assert trials_within(enough, 1.05 * trial_sec, 40, clips, reserved, share)
    assert ("--clip" in told[2]) == (clips > 1)
    assert "fewer --train.steps" in told[2]


def huge(name: str) -> ArchSpec:
    """A network whose clips no memory holds."""
    spec = tiny_spec()
    clip = spec.clip.model_copy(update={"frames": 100_000, "size": 16_000})
    return spec.model_copy(update={"name": name, "clip": clip})


def test_clips_that_memory_is_not_enough_for_are_left_out():
    config = tiny_config(batch_size=2, device="cpu")
    assert mean_step_seconds([huge("a"), tiny_spec(), huge("b")], config, 1) > 0
    with pytest.raises(VidnasError, match=r"memory runs out in a training step of X3D at 100000x16000x16000; use a"):
        mean_step_seconds([huge("a")], config, 1)
