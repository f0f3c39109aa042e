"""Every kind of cost holds a search at its target, alone and with another: parameters, activations, milliseconds."""

from collections.abc import Sequence

import numpy as np
import pytest
from latency_examples import planted_table

from vidnas.search.alpha import AlphaSearch, AlphaSettings, AlphaStep
from vidnas.search.budget import Budget, usage
from vidnas.search.costs import CostTable
from vidnas.search.derive import derive
from vidnas.search.latency_costs import latency_costs
from vidnas.search.objective import CostPressure
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Choice

SPACE = tiny_space()
TABLES = {
    "params": CostTable.of(SPACE, "params"),
    "activations": CostTable.of(SPACE, "activations"),
    "ms": latency_costs(SPACE, planted_table(SPACE, every=5)),
}
CLIPS = 64


def budget(metric: str) -> Budget:
    """A third of the way from the cheapest to the dearest."""
    table = TABLES[metric]
    least, most = table.cheapest()[1], table.dearest()[1]
    return Budget(table, least + (most - least) / 3)


def more_is_better(choices: Sequence[Choice]) -> list[float]:
    """Scores that rise with every option towards the largest, so that nothing but a budget stops a search."""
    largest = np.array(SPACE.largest())
    return [CLIPS * 0.05 * float((np.array(choice) / largest).sum()) for choice in choices]


def searched(budgets: Sequence[Budget], pressure: CostPressure | None = None) -> tuple[AlphaSearch, AlphaStep]:
    search = AlphaSearch(budgets, AlphaSettings(lr=0.05, pressure=pressure), 0)
    for step in range(500):
        record = search.step(step, more_is_better, CLIPS)
    return search, record


def mean_usage(search: AlphaSearch) -> list[float]:
    """Mean cost / target of what the distribution draws, per budget."""
    samples = search.distribution.sample(500, 1, 0)
    return [float(np.mean(b.costs.costs(samples))) / b.target for b in search.budgets]


@pytest.fixture(scope="module")
def free() -> dict[str, float]:
    """Mean cost / target where no cost presses."""
    search, _ = searched([budget(metric) for metric in TABLES], CostPressure("fixed", 1e-6))
    return dict(zip(TABLES, mean_usage(search), strict=True))


@pytest.mark.parametrize("metrics", [("params",), ("activations",), ("ms",), ("ms", "activations")], ids="+".join)
def test_the_mean_cost_ends_at_the_target_and_what_is_derived_within_it(
    free: dict[str, float], metrics: tuple[str, ...]
) -> None:
    assert min(free[metric] for metric in metrics) > 1.3
    budgets = [budget(metric) for metric in metrics]
    search, record = searched(budgets)
    assert len(record.betas) == len(record.mean_costs) == len(metrics)
    # Of two, the tighter one binds. Options are few, so that the mean swings round the target by some percent.
    assert max(mean_usage(search)) == pytest.approx(1, abs=0.05)
    assert usage(budgets, [derive(search.distribution, budgets).choice])[0] <= 1
