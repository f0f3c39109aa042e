"""Norm statistics estimated anew."""

import pytest
import torch
from tiny_training import tiny_spec
from torch.nn.modules.batchnorm import _BatchNorm

from vidnas.base.errors import VidnasError
from vidnas.engine.train.recalibrate import recalibrate_norms
from vidnas.nn.build import build


def test_statistics_are_the_average_over_batches():
    torch.manual_seed(0)
    network = build(tiny_spec())
    for norm in (m for m in network.modules() if isinstance(m, _BatchNorm)):
        norm.running_mean.fill_(100.0)
        norm.running_var.fill_(7.0)
    batches = [torch.randn(4, 3, 8, 32, 32) * scale + scale for scale in (1, 2, 3)]
    assert recalibrate_norms(network, iter(batches)) == 3
    stem = network.streams[0].stem
    with torch.no_grad():
        seen = [stem.temporal(stem.spatial(batch)) for batch in batches]
    means = torch.stack([x.mean((0, 2, 3, 4)) for x in seen]).mean(0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in seen]).mean(0)
    # fp32 sums over 8192 positions in another order
    torch.testing.assert_close(stem.norm.running_mean, means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stem.norm.running_var, variances, rtol=1e-4, atol=1e-5)


def test_nothing_else_changes():
    torch.manual_seed(0)
    network = build(tiny_spec(dropout=0.9)).train()
    network.head.eval()
    modes = [module.training for module in network.modules()]
    momenta = [m.momentum for m in network.modules() if isinstance(m, _BatchNorm)]
    before = {name: value.clone() for name, value in network.named_parameters()}
    batch = torch.randn(4, 3, 8, 32, 32)
    recalibrate_norms(network, [batch])
    first = {name: value.clone() for name, value in network.named_buffers()}
    recalibrate_norms(network, [batch])
    assert [module.training for module in network.modules()] == modes
    assert [m.momentum for m in network.modules() if isinstance(m, _BatchNorm)] == momenta
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    # From a reset, and without dropout: the second time gives the same.
    assert all(torch.equal(value, first[name]) for name, value in network.named_buffers())


def test_no_batch_is_an_error():
    with pytest.raises(VidnasError, match="at least one batch"):
        recalibrate_norms(build(tiny_spec()), [])
