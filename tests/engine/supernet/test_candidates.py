"""Candidates fit the budget, some use it, and the holdout's order decides."""

import math
from itertools import product

import pytest
import torch

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import Diverged
from vidnas.data.dataset import Batch
from vidnas.engine.supernet.candidates import candidates_from, judge, probable_candidates
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.distribution import Distribution
from vidnas.search.space.progressive import step_space
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.supernet import Supernet

SPACE = tiny_space(ClipSpec(frames=2, size=24), num_classes=3)
TABLE = CostTable.of(SPACE)


def distribution(seed: int) -> Distribution:
    result = Distribution(SPACE.sizes)
    result.logits.normal_(generator=torch.Generator().manual_seed(seed))
    return result


def test_candidates_fit_are_different_and_use_the_budget() -> None:
    least, most = TABLE.cheapest()[1], TABLE.dearest()[1]
    for share, use in product((0.2, 0.4), (0.0, 0.97)):
        target = least + share * (most - least)
        found = probable_candidates(distribution(1), [Budget(TABLE, target)], 8, use)
        assert len({candidate.choice for candidate in found}) == 8
        assert all(use * target <= TABLE.cost(candidate.choice) <= target for candidate in found)
        log_probs = [candidate.log_prob for candidate in found]
        assert log_probs == sorted(log_probs, reverse=True)


def test_a_distribution_that_is_sure_of_the_cheapest_still_gives_one_that_uses_the_budget() -> None:
    """As after short trainings of shared weights, which favour what is small."""
    sure = Distribution(SPACE.sizes)
    for row, index in enumerate(TABLE.cheapest()[0]):
        sure.logits[row, index] = 20.0
    target = 0.8 * TABLE.dearest()[1]
    for candidate in probable_candidates(sure, [Budget(TABLE, target)], 8, 0.97):
        assert 0.97 * target <= candidate.cost <= target
    # Where another budget allows no such thing, what keeps both.
    params = CostTable.of(SPACE, "params")
    both = [Budget(TABLE, TABLE.dearest()[1]), Budget(params, 1.05 * params.cheapest()[1])]
    for candidate in probable_candidates(sure, both, 8, 0.97):
        assert params.cost(candidate.choice) <= both[1].target


def test_a_distribution_that_knows_nothing_still_gives_one_that_uses_the_budget() -> None:
    """Where the 20,000 most probable are no more probable than the rest."""
    space, _ = auto_space(4e6, num_classes=5, clip=ClipSpec(frames=8, size=40), streams=2)
    part = step_space(space, 0)
    table = CostTable.of(part)
    for target in (1.8e6, 2.24e6, 2.7e6, 3.3e6):
        for candidate in probable_candidates(Distribution(part.sizes), [Budget(table, target)], 4, 0.97):
            assert 0.97 * target <= candidate.cost <= target


def test_a_distribution_far_above_the_budget_still_gives_one_that_fits() -> None:
    sure = Distribution(SPACE.sizes)
    for row, index in enumerate(TABLE.dearest()[0]):
        sure.logits[row, index] = 20.0
    target = 1.01 * TABLE.cheapest()[1]
    (only,) = probable_candidates(sure, [Budget(TABLE, target)], 8)
    assert only.cost <= target


def test_a_budget_that_nothing_uses_takes_the_most_probable() -> None:
    """As in a step of a progressive search behind steps that left much of it."""
    own = distribution(1)
    found = probable_candidates(own, [Budget(TABLE, 1.5 * TABLE.dearest()[1])], 8, 0.97)
    assert len(found) == 8
    assert found[0].choice == own.most_probable()


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


def test_a_candidate_with_scores_that_are_no_numbers_comes_last() -> None:
    torch.manual_seed(0)
    supernet, clips = Supernet(SPACE), torch.randn(6, 3, 2, 24, 24)
    batches = [Batch(clips, torch.tensor([0, 1, 2, 0, 1, 0]), torch.ones(6, dtype=torch.bool), torch.arange(6))]
    budgets = [Budget(TABLE, TABLE.dearest()[1])]
    sound, broken = candidates_from([TABLE.cheapest()[0], TABLE.dearest()[0]], distribution(2), budgets)
    with torch.no_grad():
        # The largest kernels, which the cheapest network does not have.
        for name, parameter in supernet.named_parameters():
            if ".t5_s5." in name:
                parameter.fill_(torch.nan)
    judged = judge(supernet, [broken, sound], [clips], batches, torch.device("cpu"))
    assert [one.derived for one in judged] == [sound, broken]
    assert math.isnan(judged[1].log_likelihood)
    with pytest.raises(Diverged, match="not one of 1 candidates has finite scores on the holdout"):
        judge(supernet, [broken], [clips], batches, torch.device("cpu"))
