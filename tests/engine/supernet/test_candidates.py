"""Candidates fit the budget, some use it, and the holdout's order decides."""

import torch

from vidnas.arch.spec import ClipSpec
from vidnas.data.dataset import Batch
from vidnas.engine.supernet.candidates import judge, probable_candidates
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.distribution import Distribution
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.supernet import Supernet

SPACE = tiny_space(ClipSpec(frames=2, size=24), num_classes=3)
TABLE = CostTable.of(SPACE)


def distribution(seed: int) -> Distribution:
    result = Distribution(SPACE.sizes)
    result.logits.normal_(generator=torch.Generator().manual_seed(seed))
    return result


def test_candidates_fit_are_different_and_half_of_them_use_the_budget() -> None:
    least, most = TABLE.cheapest()[1], TABLE.dearest()[1]
    for share in (0.2, 0.4):
        target = least + share * (most - least)
        found = probable_candidates(distribution(1), [Budget(TABLE, target)], 8)
        assert len({candidate.choice for candidate in found}) == 8
        assert all(candidate.cost == TABLE.cost(candidate.choice) <= target for candidate in found)
        assert sum(candidate.cost >= 0.9 * target for candidate in found) >= 4
        log_probs = [candidate.log_prob for candidate in found]
        assert log_probs == sorted(log_probs, reverse=True)


def test_a_distribution_far_above_the_budget_still_gives_one_that_fits() -> None:
    sure = Distribution(SPACE.sizes)
    for row, index in enumerate(TABLE.dearest()[0]):
        sure.logits[row, index] = 20.0
    target = 1.01 * TABLE.cheapest()[1]
    (only,) = probable_candidates(sure, [Budget(TABLE, target)], 8)
    assert only.cost <= target


def test_judging_orders_by_the_holdout_and_skips_unreadable_videos() -> None:
    torch.manual_seed(0)
    supernet = Supernet(SPACE)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    clips = [torch.randn(6, 3, 2, 24, 24) for _ in range(3)]
    labels, readable = torch.tensor([0, 1, 2, 0, 1, 0]), torch.arange(6) < 5
    batches = [Batch(c, labels, readable, torch.arange(6)) for c in clips]
    candidates = probable_candidates(distribution(2), [Budget(TABLE, TABLE.dearest()[1])], 4)
    judged = judge(supernet, candidates, clips[:2], batches, torch.device("cpu"))
    scores = [result.log_likelihood for result in judged]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4
    # What the unreadable clip shows must not matter.
    changed = [Batch(torch.cat([c[:5], 100 * c[5:]]), labels, readable, torch.arange(6)) for c in clips]
    again = judge(supernet, candidates, clips[:2], changed, torch.device("cpu"))
    assert [result.log_likelihood for result in again] == scores
