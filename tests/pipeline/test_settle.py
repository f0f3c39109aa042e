"""How the length of a job follows from its hours."""

import pytest
import torch
from tiny_training import tiny_config, tiny_data

from vidnas.engine.supernet.config import SearchConfig
from vidnas.pipeline.plan import SpaceChoice
from vidnas.pipeline.prepare import SearchRequest, prepare_search
from vidnas.pipeline.settle import settle


@pytest.fixture(autouse=True)
def threads():
    """Restores those of this process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_more_trainings_that_follow_are_shorter(synthetic_data, tmp_path):
    request = SearchRequest(
        out=tmp_path,
        data=tiny_data(synthetic_data),
        targets={"macs": 1e6},
        space=SpaceChoice("tiny", clip="4x24", sampling="uniform"),
        search=SearchConfig(steps=1, batch_size=8, threads=1),
        dry_run=True,
    )
    training = tiny_config(steps=100_000, batch_size=8)
    lengths = {}
    with prepare_search(request) as inputs:
        for number in (2, 200):
            settled = settle(inputs.plan, inputs.data, inputs.config, training, number, max_hours=0.01)
            assert settled.training is not None
            assert settled.training.steps is not None
            lengths[number] = settled.training.steps
            told = f"{settled.training.steps:,} of 100,000 steps for each last training, as --max-hours allows"
            assert told in settled.line
        assert "of" not in settle(inputs.plan, inputs.data, inputs.config, training, 2, max_hours=None).line
    # A hundred times as many in the same time, which is measured twice.
    assert lengths[2] / lengths[200] > 10
