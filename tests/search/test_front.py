"""Fronts against the definition."""

import math

import numpy as np
import pytest

from vidnas.search.front import front, layers


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


def test_layers_are_front_after_front_and_the_last_is_spread():
    rng = np.random.default_rng(0)
    costs, scores = rng.normal(size=(2, 40)).tolist()
    first = front(costs, scores)
    rest = [i for i in range(40) if i not in first]
    second = [rest[i] for i in front([costs[i] for i in rest], [scores[i] for i in rest])]
    assert len(second) > 3
    assert layers(costs, scores, len(first) + len(second)) == first + second
    both_ends = layers(costs, scores, len(first) + 2)[-2:]
    assert both_ends == [second[0], second[-1]]
    assert sorted(layers(costs, scores, 100)) == list(range(40))


def test_what_has_no_score_is_left_out():
    assert layers([1.0, 2.0, 3.0], [math.nan, 0.5, -math.inf], 3) == [1]
