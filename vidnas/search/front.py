"""Pareto fronts: what nothing else beats in both cost and score."""

from collections.abc import Sequence


def front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Places of the points that score higher than every cheaper or equally cheap one, cheapest first."""
    best = float("-inf")
    places = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        if scores[i] > best:
            best = scores[i]
            places.append(i)
    return places
