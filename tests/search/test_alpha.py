"""The search on alpha on tables with a known optimum."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from planted.tabular import CLIPS, Planted, run, solve

from vidnas.search.alpha import AlphaSearch, AlphaSettings, alpha_lr_by_rule
from vidnas.search.archive import entries
from vidnas.search.budget import Budget, usage
from vidnas.search.costs import CostTable
from vidnas.search.derive import derive
from vidnas.search.objective import CostPressure, UsePressure
from vidnas.search.parsec import TemperatureMode
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Choice


@pytest.fixture(scope="module")
def table() -> CostTable:
    return CostTable.of(autox3d_space())


@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (0, AlphaSettings()),
        pytest.param(1, AlphaSettings(), marks=pytest.mark.long),
        (2, AlphaSettings(samples=None)),
        (3, AlphaSettings(temperature="paper")),
    ],
    ids=["auto", "auto again", "adaptive K", "paper"],
)
def test_planted_optimum_under_a_budget(table: CostTable, seed: int, settings: AlphaSettings) -> None:
    found = solve(table, seed, 2000, settings)
    assert found.regret < 0.05
    assert abs(found.cost_share - 1) < 0.02
    assert found.entropy_share < 0.1


def test_permuted_scores_find_nothing_although_entropy_falls(table: CostTable) -> None:
    """The control: on noise, entropy falls too, so entropy alone proves nothing."""
    found = solve(table, 0, 1000, permute=True)
    assert found.regret > 0.5
    assert found.entropy_share < 0.9


@pytest.mark.parametrize("beta", [0.1, 10.0])
def test_dual_ascent_finds_the_target_from_any_start(table: CostTable, beta: float) -> None:
    problem = Planted(table, 1)
    search = AlphaSearch([Budget(table, problem.target)], AlphaSettings(pressure=CostPressure("dual", beta)), 0)
    run(search, problem, 1200)
    assert abs(np.mean(table.costs(search.distribution.sample(500, 1, 0))) / problem.target - 1) < 0.02


def test_the_pressure_starts_at_the_spread_of_the_first_scores(table: CostTable) -> None:
    problem = Planted(table, 1)
    budgets = [Budget(table, problem.target)]
    search = AlphaSearch(budgets, AlphaSettings(), 0)
    spread = np.std(problem.score(search.sample(0)), ddof=1) / CLIPS
    first, second = (search.step(step, problem.score, CLIPS) for step in range(2))
    assert first.betas[0] == pytest.approx(spread)
    rise = math.exp(0.2 * (first.mean_costs[0] / problem.target - 1))
    assert second.betas[0] == pytest.approx(first.betas[0] * rise)
    given = AlphaSearch(budgets, AlphaSettings(pressure=CostPressure("dual", 3.0)), 0)
    assert given.step(0, problem.score, CLIPS).betas == (3.0,)


@pytest.mark.parametrize(("steps", "lr"), [(100, 0.05), (900, 0.05), (1800, 0.025), (18_000, 0.0025)])
def test_lr_by_rule(steps: int, lr: float) -> None:
    assert alpha_lr_by_rule(steps) == pytest.approx(lr)


def test_two_budgets_are_both_kept(table: CostTable) -> None:
    """Params at 70% of what the macs budget alone leads to, so that both bind."""
    problem = Planted(table, 1)
    params = CostTable.of(table.space, "params")
    alone = AlphaSearch([Budget(table, problem.target)], AlphaSettings(), 0)
    run(alone, problem, 1200)
    limit = 0.7 * float(np.mean(params.costs(alone.distribution.sample(500, 1, 0))))
    budgets = [Budget(table, problem.target), Budget(params, limit)]
    search = AlphaSearch(budgets, AlphaSettings(), 0)
    record = run(search, problem, 1200)
    assert len(record.betas) == len(record.mean_costs) == 2
    reached = [np.mean(b.costs.costs(search.distribution.sample(500, 1, 0))) / b.target for b in budgets]
    assert max(reached) == pytest.approx(1, abs=0.03)
    derived = derive(search.distribution, budgets)
    assert usage(budgets, [derived.choice])[0] <= 1
    assert problem.regret(derived.choice) < 0.5


@pytest.mark.parametrize(("use", "low", "high"), [(0.97, 0.93, 1.03), (0.0, 0.0, 0.8)])
def test_a_search_uses_its_budget_although_the_cheap_learn_first(
    table: CostTable, use: float, low: float, high: float
) -> None:
    """A target above the middle of the space, and scores that fall with the cost, as in supernets at the start."""
    target = 1.4 * float(np.mean(table.costs(AlphaSearch([Budget(table, 1.0)], AlphaSettings(), 0).sample(0))))
    search = AlphaSearch([Budget(table, target)], AlphaSettings(use=use), 0)
    noise = np.random.default_rng(0)

    def score(choices: Sequence[Choice]) -> list[float]:
        scores = -CLIPS * (0.3 * table.costs(choices) / target + 0.1 * noise.standard_normal(len(choices)))
        return scores.tolist()

    for step in range(900):
        search.step(step, score, CLIPS)
    share = float(np.mean(table.costs(search.distribution.sample(500, 1, 0)))) / target
    assert low < share < high


def test_the_share_is_of_the_budget_that_is_used_most() -> None:
    pressure = UsePressure(0.5, beta=2.0)
    costs = [torch.tensor([1.0, 4.0, 6.0]), torch.tensor([30.0, 10.0, 10.0])]
    unused = pressure.unused(costs, [10.0, 100.0])
    assert unused.tolist() == pytest.approx([0.4, 0.2, -0.2])
    assert pressure.penalty(unused, 3).tolist() == pytest.approx([2.4, 1.2, 0.0])
    assert pressure.after(0.4, 0.1).beta > 2.0 > pressure.after(-0.2, 0.1).beta


def test_without_pressure_the_cost_is_ignored(table: CostTable) -> None:
    problem = Planted(table, 1)
    search = AlphaSearch([Budget(table, problem.target)], AlphaSettings(pressure=CostPressure("fixed", 1e-6)), 0)
    run(search, problem, 600)
    assert np.mean(table.costs(search.distribution.sample(200, 1, 0))) > 1.2 * problem.target


@pytest.mark.parametrize("mode", ["auto", "paper", "mean", "accuracy"])
def test_every_temperature_improves_on_chance(mode: TemperatureMode) -> None:
    """On 12 variables without a binding budget; accuracies are scored as their logarithm."""
    table = CostTable.of(tiny_space())
    problem = Planted(table, 0)
    search = AlphaSearch([Budget(table, table.dearest()[1])], AlphaSettings(temperature=mode), 0)
    for step in range(300):
        score = problem.score if mode != "accuracy" else lambda choices: [0.3 * problem.of(c) for c in choices]
        search.step(step, score, CLIPS)
    rows = search.distribution.probabilities()
    expected = sum(
        float(rows[v, i]) * values[i] for v, values in enumerate(problem.quality) for i in range(len(values))
    )
    assert expected > 0.5 * problem.mean


def test_a_step_reports_what_it_did() -> None:
    table = CostTable.of(tiny_space())
    search = AlphaSearch([Budget(table, 5e6)], AlphaSettings(samples=40), 0)
    # Peaked, so that some architectures are drawn more than once.
    search.distribution.logits[:, 0] = 4.0
    asked: list[Choice] = []

    def scorer(choices: Sequence[Choice]) -> list[float]:
        asked.extend(choices)
        return [-float(sum(choice)) for choice in choices]

    samples = search.sample(7)
    record = search.step(7, scorer, CLIPS)
    assert list(record.choices) == asked
    assert len(set(asked)) == len(asked) < 40
    assert sum(record.counts) == 40
    assert [samples.count(choice) for choice in asked] == list(record.counts)
    assert sum(record.weights) == pytest.approx(1)
    assert record.mean_costs[0] == pytest.approx(float(np.mean(table.costs(samples))))
    lines = entries(record, CLIPS)
    assert [line.choice for line in lines] == asked
    assert lines[0].cost == table.cost(asked[0])
    assert all(line.step == 7 and line.clips == CLIPS for line in lines)


def test_a_resumed_search_goes_on_exactly(table: CostTable) -> None:
    problem = Planted(table, 0)
    settings = AlphaSettings(samples=None, use=0.97)
    whole = AlphaSearch([Budget(table, problem.target)], settings, 5)
    records = [whole.step(step, problem.score, CLIPS) for step in range(30)]
    half = AlphaSearch([Budget(table, problem.target)], settings, 5)
    for step in range(13):
        half.step(step, problem.score, CLIPS)
    resumed = AlphaSearch([Budget(table, problem.target)], settings, 5)
    resumed.load_state_dict(half.state_dict())
    torch.rand(10)
    assert [resumed.step(step, problem.score, CLIPS) for step in range(13, 30)] == records[13:]
    assert torch.equal(resumed.distribution.logits, whole.distribution.logits)


def test_a_diverged_architecture_does_not_stop_the_search() -> None:
    table = CostTable.of(tiny_space())
    search = AlphaSearch([Budget(table, 5e6)], AlphaSettings(), 0)
    search.step(0, lambda choices: [float("nan"), *[-1.0] * (len(choices) - 1)], CLIPS)
    search.step(1, lambda choices: [float("-inf")] * len(choices), CLIPS)
    assert search.distribution.logits.isfinite().all()
