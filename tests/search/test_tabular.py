"""Tables written here, of the form of NAS-Bench-Macro, and searches on them."""

import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidnas.base.errors import VidnasError
from vidnas.search.alpha import AlphaSearch, AlphaSettings, alpha_lr_by_rule
from vidnas.search.baselines import random_search
from vidnas.search.budget import Budget
from vidnas.search.derive import derive
from vidnas.search.tabular import ColumnCosts, Table, TabularProblem, TabularScorer, read_table

SIZES = (3, 2, 4)


def rows(sizes: tuple[int, ...], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Accuracies in percent, three runs each, that a sum over variables makes; in the order of no count."""
    rng = np.random.default_rng(seed)
    gains = [rng.normal(0, 3, size) for size in sizes]
    table = {}
    for choice in rng.permutation(list(product(*map(range, sizes)))).tolist():
        accuracy = 75 + sum(gain[i] for gain, i in zip(gains, choice, strict=True))
        table["".join(map(str, choice))] = {
            "test_acc": (accuracy + rng.normal(0, 0.2, 3)).tolist(),
            "params": 1000 + 10 * sum(choice) + int(rng.integers(9)),
            "note": "made here",
        }
    return table


def written(path: Path, data: object) -> Path:
    file = path / "table.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def choice_of(key: str) -> tuple[int, ...]:
    return tuple(map(int, key))


def test_columns_are_those_of_the_file(tmp_path: Path) -> None:
    data = rows(SIZES)
    table = read_table(written(tmp_path, data))
    assert table.sizes == SIZES
    params, accuracies = table.costs("params"), table.accuracies("test_acc")
    assert (params.metric, params.sizes) == ("params", SIZES)
    keys = list(data)
    assert params.costs([choice_of(key) for key in keys]).tolist() == [data[key]["params"] for key in keys]
    for key in keys:
        assert accuracies[choice_of(key)] == pytest.approx(np.mean(data[key]["test_acc"]) / 100)


def test_accuracies_of_at_most_one_are_fractions(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, {"0": {"top1": 0.25}, "1": {"top1": 1}}))
    assert table.accuracies("top1").tolist() == [0.25, 1.0]


def broken(key: str, row: Any) -> dict[str, Any]:
    return {**rows(SIZES), key: row}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{'000': 1}", "not JSON"),
        ([1, 2], "not a table"),
        ({}, "not a table"),
        (broken("00", {}), "key '00' has 2 digits, the first one has 3"),
        (broken("0a0", {}), "key '0a0' is not a string of digits"),
        (broken("0²0", {}), "key '0²0' is not a string of digits"),
        (broken("021", {}), "has 25 of the 36 architectures that its digits make, 020 for one is missing"),
        ({key: row for key, row in rows(SIZES).items() if key != "113"}, "has 23 of the 24 .* 113 for one"),
        (broken("000", [91.0]), "key 000: not an object of columns"),
    ],
    ids=["JSON", "list", "empty", "short key", "letter", "odd digit", "out of range", "missing", "no columns"],
)
def test_what_is_no_table(tmp_path: Path, data: object, message: str) -> None:
    file = written(tmp_path, data)
    with pytest.raises(VidnasError, match=message) as error:
        read_table(file)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VidnasError, match="cannot read the table"):
        read_table(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"params": 3}, "key 012: has no column 'test_acc', only params"),
        ({"test_acc": "high"}, "key 012: test_acc is high; give a finite number"),
        ({"test_acc": []}, r"test_acc is \[\]"),
        ({"test_acc": [91.0, None]}, r"test_acc is \[91.0, None\]"),
        ({"test_acc": True}, "test_acc is True"),
        ({"test_acc": float("nan")}, "test_acc is nan"),
        ({"test_acc": 101.0}, "test_acc goes from .* to 101"),
        ({"test_acc": -1.0}, "test_acc goes from -1"),
    ],
)
def test_what_is_no_accuracy(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    table = read_table(written(tmp_path, broken("012", row)))
    with pytest.raises(VidnasError, match=message):
        table.accuracies("test_acc")


def hits(scores: list[float], images: int) -> np.ndarray:
    return np.exp(np.array(scores) / images) * (images + 1) - 0.5


def test_scores_are_those_of_binomial_hits() -> None:
    images, calls = 100, 4000
    accuracies = np.array([0.05, 0.5, 0.93])
    scorer = TabularScorer(accuracies, images, 0)
    found = np.array([hits(scorer([(0,), (1,), (2,), (2,)]), images) for _ in range(calls)])
    assert (scorer.calls, scorer.queries) == (calls, 4 * calls)
    np.testing.assert_allclose(found, found.round(), atol=1e-9)
    p = accuracies[[0, 1, 2, 2]]
    variance = images * p * (1 - p)
    # Five standard errors: of a mean over 4000 calls, of a variance (near-normal counts), of a correlation.
    assert (abs(found.mean(0) - images * p) < 5 * np.sqrt(variance / calls)).all()
    assert (abs(found.var(0) / variance - 1) < 5 * np.sqrt(2.2 / calls)).all()
    between = np.corrcoef(found.T) - np.eye(4)
    assert abs(between).max() < 5 / np.sqrt(calls)
    assert abs(np.corrcoef(found[1:, 1], found[:-1, 1])[0, 1]) < 5 / np.sqrt(calls)


def test_scores_are_a_function_of_seed_and_call() -> None:
    accuracies = np.full((2, 2), 0.5)
    choices = [(0, 1), (1, 1), (0, 0)]
    first, again, other = (TabularScorer(accuracies, 1000, seed) for seed in (3, 3, 4))
    calls = [first(choices) for _ in range(3)]
    assert [again(choices) for _ in range(3)] == calls
    assert other(choices) not in calls
    assert calls[0] != calls[1]


def test_scores_know_nothing_of_the_draws_under_the_same_seed() -> None:
    """Where both came from one stream, the second digit and the first score would go together."""
    accuracies = np.full((3, 3), 0.5)
    budget = Budget(ColumnCosts("none", np.ones((3, 3))), 1)
    found = [
        (*one.choice, one.score)
        for seed in range(500)
        for one in random_search(TabularScorer(accuracies, 20, seed), [budget], 1, seed)
    ]
    # Five standard errors of a correlation over 500 pairs.
    assert abs(np.corrcoef(np.array(found).T)[2, :2]).max() < 5 / np.sqrt(len(found))


def test_nobody_and_everybody_right_are_finite() -> None:
    scores = TabularScorer(np.array([0.0, 1.0]), 64, 0)([(0,), (1,)])
    assert np.isfinite(scores).all()
    assert scores[0] < scores[1] < 0


def test_an_oracle_has_no_regret_and_nobody_less(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, rows(SIZES)))
    accuracies, costs = table.accuracies("test_acc"), table.costs("params")
    everything = list(product(*map(range, SIZES)))
    for target in (1012.0, 1030.0, 9999.0):
        problem = TabularProblem(accuracies, (Budget(costs, target),))
        allowed = [choice for choice in everything if costs.values[choice] <= target]
        oracle = max(allowed, key=lambda choice: accuracies[choice])
        assert problem.regret(oracle) == 0
        assert min(problem.regret(choice) for choice in allowed) == 0
        worst = min(allowed, key=lambda choice: accuracies[choice])
        assert problem.regret(worst) == pytest.approx(accuracies[oracle] - accuracies[worst])
    with pytest.raises(VidnasError, match="params <= 999; raise the target"):
        _ = TabularProblem(accuracies, (Budget(costs, 999),)).best


def large(tmp_path: Path) -> Table:
    return read_table(written(tmp_path, rows((3,) * 8, seed=1)))


def test_a_search_of_3000_queries(tmp_path: Path) -> None:
    """It takes seconds, keeps its budget, and beats the best of as many noisy look-ups."""
    table = large(tmp_path)
    costs = table.costs("params")
    budget = Budget(costs, float(np.median(costs.values)))
    problem = TabularProblem(table.accuracies("test_acc"), (budget,))
    scorer = TabularScorer(problem.accuracies, 384, 0)
    start = time.process_time()
    search = AlphaSearch([budget], AlphaSettings(samples=None, lr=alpha_lr_by_rule(3000 // 4)), 0)
    step = 0
    while scorer.queries < 3000:
        search.step(step, scorer, 384)
        step += 1
    derived = derive(search.distribution, [budget])
    # About 1 s on a free core.
    assert time.process_time() - start < 10
    assert derived.cost <= budget.target
    found = random_search(TabularScorer(problem.accuracies, 384, 0), [budget], 3000, 0)
    assert problem.regret(derived.choice) < problem.regret(max(found, key=lambda one: one.score).choice)
    # Half a percent point, where one standard deviation between architectures is about six.
    assert problem.regret(derived.choice) < 0.005
