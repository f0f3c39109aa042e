"""What fits into the hours of a race, and what a training step of it takes."""

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import tiny_config, tiny_data, tiny_spec

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.train.estimate import least_bytes
from vidnas.engine.trials.executors import QUIETLY
from vidnas.nn.build import build
from vidnas.pipeline.plan import SpaceChoice
from vidnas.pipeline.prepare import SearchRequest
from vidnas.pipeline.prepare_race import measure_methods
from vidnas.pipeline.race.config import RaceConfig
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


def test_a_length_in_epochs_is_that_of_the_whole_list(synthetic_data, tmp_path):
    """A hundred epochs of the list's 60 videos, one a step, take sixty times as long as a hundred steps."""
    request = SearchRequest(
        out=tmp_path,
        data=tiny_data(synthetic_data),
        targets={"macs": 2.5e6},
        space=SpaceChoice(clip="4x24", sampling="uniform"),
        search=SearchConfig(),
        max_hours=1.0,
    )
    lengths = ({"epochs": 100, "steps": None}, {"steps": 100})
    in_epochs, in_steps = (
        measure_methods(request, tiny_config(batch_size=1, **length), RaceConfig(8), QUIETLY, 2).trial_sec
        for length in lengths
    )
    assert 20 < in_epochs / in_steps < 180


def test_what_a_training_step_keeps_at_least_is_less_than_what_it_takes(monkeypatch):
    """Tensors of a forward pass, counted as autograd keeps them."""
    spec, config = tiny_spec(), tiny_config(batch_size=6, accumulate=2)
    network, kept = build(spec).train(), {}
    clip = spec.clip
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        network(torch.randn(3, 3, clip.frames, clip.size, clip.size))
    taken = sum(t.numel() * t.element_size() for t in kept.values()) + 4 * network_cost(spec).params
    assert 0.4 * taken < least_bytes(spec, config) < taken
    assert least_bytes(spec, replace(config, accumulate=1)) > 1.5 * least_bytes(spec, config)
    assert least_bytes(spec, replace(config, activation_checkpointing=True)) == 8 * network_cost(spec).params
    monkeypatch.setattr("vidnas.pipeline.race.estimate.physical_memory", lambda: least_bytes(spec, config) - 1)
    with pytest.raises(VidnasError, match="memory runs out in a training step of X3D at"):
        mean_step_seconds([spec], config, 1)


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
