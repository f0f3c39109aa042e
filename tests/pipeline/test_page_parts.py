"""What pages are made of, from files and results."""

import json
from pathlib import Path

from vidnas.pipeline.page_parts import equal_in, read_curves
from vidnas.report.charts import search_charts
from vidnas.report.data import Racer
from vidnas.report.search_data import BudgetSummary


def test_curves_hold_all_that_some_lines_have(tmp_path: Path) -> None:
    """Steps on alpha come with every second line, and the first of them with an odd one."""
    lines = [{"epoch": step / 10, "loss": 2.0} for step in range(1750)]
    for step in range(583, 1750, 2):
        cost = {"mean_cost": {"macs": 2e7}, "derived_cost": {"macs": 1e7}, "beta": {"macs": 1.0}}
        lines[step] |= {"entropy": 3.0, "entropy_share": 0.5, **cost}  # type: ignore[arg-type]
    path = tmp_path / "curves.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    curves = read_curves(path)
    assert sum(point.entropy is not None for point in curves.points) == 584
    titles = [chart.title for chart in search_charts(curves, [BudgetSummary("macs", 2e7, 1e6, 5e7)])]
    assert len(titles) == 4


def test_what_a_race_says_of_its_budgets_is_what_its_networks_take() -> None:
    def racer(**amounts: float) -> Racer:
        return Racer("one", "random", None, "16x56x56 uniform", (0.5,), amounts=amounts)  # type: ignore[arg-type]

    one = [racer(macs=20e6), racer(macs=17e6)]
    assert equal_in({"macs": 20e6}, one) == "Every network keeps 20.00 MMACs; the one that uses least leaves 15.0%."
    two = [racer(macs=10e6, params=1e6), racer(macs=19e6, params=0.5e6)]
    told = equal_in({"macs": 20e6, "params": 1e6}, two)
    assert told.endswith("the one that uses least leaves 5.0% of each of them.")
    assert equal_in({"params": 1e6}, two).endswith("leaves 50.0%; their multiply-adds differ.")
