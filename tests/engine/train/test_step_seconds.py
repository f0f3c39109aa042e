"""What a step takes is measured on steps of a training with its settings."""

import pytest
import torch
from tiny_training import tiny_config, tiny_spec

from vidnas.arch.spec import ArchSpec, MultiLabelSpec
from vidnas.base.errors import VidnasError
from vidnas.engine.train.estimate import step_seconds
from vidnas.nn.build import VideoNetwork


@pytest.fixture
def seen(monkeypatch):
    """What networks are given in every forward pass: clips, whether activations are kept, in which precision."""
    passes = []
    forward = VideoNetwork.forward

    def watch(self, clips):
        passes.append((len(clips), self.activation_checkpointing, torch.is_autocast_enabled("cpu")))
        return forward(self, clips)

    monkeypatch.setattr(VideoNetwork, "forward", watch)
    return passes


@pytest.mark.parametrize(
    ("changes", "size", "checkpointing", "mixed"),
    [({}, 12, False, False), ({"accumulate": 3, "activation_checkpointing": True, "precision": "bf16"}, 4, True, True)],
)
def test_a_step_is_what_a_training_does(seen, changes, size, checkpointing, mixed):
    config = tiny_config(batch_size=12, device="cpu", ema=0.9, mixup=0.2, grad_clip=1.0, **changes)
    before = torch.get_num_threads()
    assert step_seconds(tiny_spec(), config, before + 1) > 0
    assert torch.get_num_threads() == before
    assert set(seen) == {(size, checkpointing, mixed)}
    assert len(seen) % config.accumulate == 0


def test_networks_of_several_labels_are_timed_too():
    spec = tiny_spec()
    head = MultiLabelSpec(num_classes=5, hidden=16, dropout=0.1)
    assert step_seconds(ArchSpec.from_data({**spec.model_dump(), "head": head.model_dump()}, "test"), tiny_config()) > 0


def test_a_rate_that_diverges_does_not_end_the_measurement():
    assert step_seconds(tiny_spec(), tiny_config(optimizer="sgd", lr=1e30, warmup_epochs=0)) > 0


def test_a_precision_that_is_not_to_be_had_is_one_line():
    with pytest.raises(VidnasError, match="fp16 needs a GPU"):
        step_seconds(tiny_spec(), tiny_config(device="cpu", precision="fp16"))
