"""Random architectures of a space, also of those few that keep a tight budget."""

from collections.abc import Iterator
from itertools import count

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.cost import format_macs
from vidnas.base.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.space import Choice
from vidnas.search.stream_space import GroupChoice

# A budget is counted in so many parts; more make fewer draws in vain, at more memory and time before the first.
_PARTS = 1000
# So many draws in a row may bring nothing new before those that were found count as all.
_PATIENCE = 2000


def sample_choices(macs: CostTable, number: int, seed: int, target_macs: float | None = None) -> list[Choice]:
    """Different choices, drawn uniformly from all or from those that cost at most `target_macs`.

    Raises:
        VidnasError: there are fewer.
    """
    space = macs.space
    if number > space.size:
        raise VidnasError(f"space {space.name} has {space.size} architectures, {number} are asked for; ask for fewer")
    least = macs.cheapest()[1]
    if target_macs is not None and target_macs < least:
        raise VidnasError(
            f"no architecture of the space {space.name} costs {format_macs(target_macs)} @ {space.clip}, the cheapest "
            f"{format_macs(least)}; raise the target"
        )
    draws = _uniform(space.sizes, seed) if target_macs is None else draws_within(macs, target_macs, seed)
    found: dict[Choice, None] = {}
    in_vain = 0
    while len(found) < number:
        before = len(found)
        found[next(draws)] = None
        in_vain = 0 if len(found) > before else in_vain + 1
        if in_vain == _PATIENCE:
            raise VidnasError(
                f"space {space.name}: {number} architectures are asked for, {len(found)} were found; ask for fewer"
                + ("" if target_macs is None else " or raise the target")
            )
    return list(found)


def draws_within(costs: CostTable, target: float, seed: int) -> Iterator[Choice]:
    """Endless independent draws, uniform among the choices that cost at most `target`, of which there must be one.

    Costs rounded down to a part of the budget let a few too dear ones pass; how many choices of later groups fit what
    is left is then counted, and options are drawn in proportion. What is too dear after all is drawn again.
    """
    parts = [np.floor(term * (_PARTS / target)).astype(np.int64) for term in costs.terms]
    ways = _ways(parts)
    for attempt in count():
        rng = np.random.default_rng((seed, attempt))
        left, before = _PARTS, 0
        groups: list[GroupChoice] = []
        for g, part in enumerate(parts):
            rest = left - part[before]
            channels = np.arange(rest.shape[2])[:, None]
            weights = np.where(rest >= 0, ways[g + 1][channels, np.maximum(rest, 0)], 0.0)
            cumulated = weights.ravel().cumsum()
            index = int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))
            own = GroupChoice(*(int(i) for i in np.unravel_index(index, weights.shape)))
            left, before = int(rest[own]), own.channels
            groups.append(own)
        choice = costs.space.choice_of([groups])
        if costs.cost(choice) <= target:
            yield choice


def _ways(parts: list[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
    """Per group, and behind the last: how many choices from there on fit, (channels before, parts left + 1)."""
    ways = [np.ones((parts[-1].shape[3], _PARTS + 1))]
    for part in reversed(parts):
        own = np.zeros((part.shape[0], _PARTS + 1))
        for before in range(part.shape[0]):
            for channels in range(part.shape[3]):
                needed = part[before, :, :, channels].ravel()
                number = np.bincount(needed[needed <= _PARTS], minlength=1)
                own[before] += np.convolve(number, ways[-1][channels])[: _PARTS + 1]
        ways.append(own)
    return ways[::-1]


def _uniform(sizes: tuple[int, ...], seed: int) -> Iterator[Choice]:
    for attempt in count():
        yield tuple(np.random.default_rng((seed, attempt)).integers(sizes).tolist()) if sizes else ()
