"""Fronts against the definition."""

import numpy as np
import pytest

from vidnas.pipeline.pareto import front


def beaten(i: int, among: list[int], costs: list[float], scores: list[float]) -> bool:
    """Another one is as good in both and better in one; of equals the first counts."""
    return any(
        costs[j] <= costs[i] and scores[j] >= scores[i] and (costs[j] < costs[i] or scores[j] > scores[i] or j < i)
        for j in among
        if j != i
    )


@pytest.mark.parametrize("options", [3, 8, 1000])
def test_a_front_is_what_nothing_beats(options):
    rng = np.random.default_rng(options)
    for _ in range(30):
        costs, scores = rng.integers(options, size=(2, 12)).astype(float).tolist()
        places = front(costs, scores)
        everyone = list(range(12))
        assert set(places) == {i for i in everyone if not beaten(i, everyone, costs, scores)}
        assert [costs[i] for i in places] == sorted(costs[i] for i in places)
