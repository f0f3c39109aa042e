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


def layers(costs: Sequence[float], scores: Sequence[float], number: int) -> list[int]:
    """Places of `number` points: the front, then the front of what is left, and so on; the last one is spread evenly.

    Points whose score is not a number are left out.
    """
    left = [i for i in range(len(costs)) if scores[i] == scores[i]]
    taken: list[int] = []
    while left and len(taken) < number:
        places = front([costs[i] for i in left], [scores[i] for i in left])
        if not places:  # minus infinity beats nothing
            break
        members = [left[p] for p in places]
        room = number - len(taken)
        if len(members) > room:
            members = [members[round(k * (len(members) - 1) / max(room - 1, 1))] for k in range(room)]
        taken += members
        left = [i for i in left if i not in set(members)]
    return taken
