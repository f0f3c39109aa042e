"""Folded networks compute the same and have no norm left."""

import pytest
import torch
from torch import nn
from zoo import every_network

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, ClipSpec, NonLocalSpec
from vidnas.deploy.fold import fold_norms
from vidnas.nn.build import VideoNetwork, build

CLIP = ClipSpec(frames=8, size=32)


def non_local() -> ArchSpec:
    """AutoX3D-S with a non-local unit in place of GloRe."""
    spec = get_spec("autox3d_s")
    groups = list(spec.streams[0].groups)
    groups[3] = groups[3].model_copy(update={"attention": NonLocalSpec(inner=24)})
    stream = spec.streams[0].model_copy(update={"groups": tuple(groups)})
    return spec.model_copy(update={"name": "autox3d_s_non_local", "streams": (stream,)})


def randomised(spec: ArchSpec) -> VideoNetwork:
    torch.manual_seed(0)
    network = build(spec.with_clip(CLIP).with_classes(5))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


@pytest.mark.parametrize("name", [*every_network(), "non_local"])
def test_folding_removes_every_norm_and_changes_nothing(name: str) -> None:
    spec = non_local() if name == "non_local" else get_spec(name)
    network = randomised(spec).double()
    clips = torch.randn(2, 3, CLIP.frames, CLIP.size, CLIP.size, dtype=torch.float64)
    before = {key: value.clone() for key, value in network.state_dict().items()}

    folded = fold_norms(network)

    assert network.training
    assert not folded.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    with torch.no_grad():
        wanted, got = network.eval()(clips), folded(clips)
    # Forgetting the norms' eps costs at least 1e-5; in float32 another order of sums up to 6e-6.
    assert (got - wanted).abs().max() <= 1e-12 * wanted.abs().max()


def test_folded_weights_stay_in_channels_last() -> None:
    weight = fold_norms(randomised(get_spec("x3d_xs"))).get_parameter("streams.0.groups.0.block1.expand.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
