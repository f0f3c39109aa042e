"""What a search's `result.json` says of a judged candidate."""

import json
import math

from vidnas.arch.spec import ClipSpec
from vidnas.engine.supernet.candidates import Judgement, candidates_from
from vidnas.engine.tasks.registry import task_of
from vidnas.pipeline.search import candidate_record
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.distribution import Distribution
from vidnas.search.space.published.scaled import tiny_space


def test_scores_that_are_no_numbers_leave_json_that_others_can_read() -> None:
    space = tiny_space(ClipSpec(frames=2, size=24), num_classes=3)
    table = CostTable.of(space)
    choice, macs = table.cheapest()
    budgets = [Budget(table, 2 * macs)]
    (derived,) = candidates_from([choice], Distribution(space.sizes), budgets)
    sound, diverged = (
        candidate_record(Judgement(derived, score, 0.5), budgets, task_of(space.head)) for score in (-1.25, math.nan)
    )
    assert sound == {
        "choice": list(choice),
        "cost": {"macs": macs},
        "log_prob": derived.log_prob,
        "rank": None,
        "holdout_log_likelihood": -1.25,
        "holdout_top1": 0.5,
    }
    assert diverged == {**sound, "holdout_log_likelihood": None}
    json.dumps(diverged, allow_nan=False)
