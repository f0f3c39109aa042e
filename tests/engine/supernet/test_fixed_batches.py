"""Scores on fixed batches are the supernet's log-likelihoods, computed once."""

import pytest
import torch
import torch.nn.functional as F

from vidnas.arch.spec import ClipSpec
from vidnas.data.dataset import Batch
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.fixed_batches import FixedBatches
from vidnas.engine.supernet.search import SupernetSearch
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space.published.scaled import tiny_space


def test_scores_are_sums_over_all_batches_and_computed_once():
    space = tiny_space(ClipSpec(frames=2, size=24), num_classes=3)
    config = SearchConfig(steps=3, batch_size=4)
    fabric = make_fabric(torch.device("cpu"), config.precision)
    search = SupernetSearch(space, [Budget(CostTable.of(space), 1e6)], config.schedule(3), config, fabric)
    search.supernet.train()
    clips = [torch.randn(4, 3, 2, 24, 24, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    labels = [torch.tensor([0, 1, 2, 0]), torch.tensor([1, 0, 2, 2])]
    readable = [torch.ones(4).bool(), torch.tensor([True, False, True, True])]
    batches = [Batch(*row, torch.arange(4)).only_readable() for row in zip(clips, labels, readable, strict=True)]
    unreadable = Batch(clips[0], labels[0], torch.zeros(4).bool(), torch.arange(4)).only_readable()
    scorer = FixedBatches(search, [*batches, unreadable])
    assert scorer.clips == 7
    choices = search.alpha.distribution.sample(3, 0, 0)
    found = scorer([choices[0], choices[1], choices[0]])
    assert found[0] == found[2] != found[1]
    assert list(scorer.known) == choices[:2]
    # Dropout is off, and the clip that could not be read has no part in the others' norm statistics.
    search.supernet.eval()
    kept = [(clips[0], labels[0]), (clips[1][[0, 2, 3]], labels[1][[0, 2, 3]])]
    with torch.no_grad():
        direct = sum(-F.cross_entropy(search.supernet(c, choices[1]), y, reduction="sum") for c, y in kept)
    # The same sums in fp32 on tensors of another memory format.
    assert found[1] == pytest.approx(float(direct), rel=1e-5)
    with torch.no_grad():
        for parameter in search.supernet.parameters():
            parameter.zero_()
    assert scorer(choices[:2]) == found[:2], "known scores are not computed again"
