"""Networks brought to a number of milliseconds by their width, from a few widths that are timed.

What a device takes follows from multiply-adds only roughly, so each structure goes its own way: the line through the
widths that were timed says which one is next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vidnas.arch.cost import network_cost
from vidnas.arch.scale import TOLERANCE, narrowest, use_of, widest_within
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError

# Shares of the milliseconds: what is aimed at, what is near enough to stop, and what a network has to use at last. Two
# timings of one network differ by some percent.
_AIM, _NEAR, LEAST_MS = 0.97, 0.95, 0.9
# Widths of a structure that are timed at most, and how far one is from the next.
_MOST_TIMED = 10
_FURTHEST = 16.0
# A guess between two widths stays off their ends by so much of the way.
_MARGIN = 0.1
_SHARES = (0.5, 0.25, 0.75)

TimeNetworks = Callable[[Sequence[ArchSpec]], Sequence[float]]


class Timed(NamedTuple):
    """A width of a structure, and what it took."""

    macs: float
    ms: float
    spec: ArchSpec


@dataclass
class _Way:
    """To the width of one structure.

    Attributes:
        structure: at any width.
        target_ms: what is wanted.
        limits: other budgets, by metric of `network_cost`; may be empty.
        guess: multiply-adds of the next width.
        ended: nothing is left to be timed.
    """

    structure: ArchSpec
    target_ms: float
    limits: Mapping[str, float]
    guess: float
    ended: bool = False

    def __post_init__(self) -> None:
        self.timed: list[Timed] = []

    def next_width(self) -> ArchSpec | None:
        """What to time next; None where the way has ended."""
        if self.ended:
            return None
        known = {one.spec.content_hash for one in self.timed}
        # Widths come in whole channels, so what is guessed may be known; something near it may not.
        near = (self._of(guess) for guess in (self.guess, *self._between()))
        spec = next((one for one in near if one.content_hash not in known), None)
        self.ended = spec is None or (bool(self.limits) and use_of(spec, self.limits) > 1)
        return None if self.ended else spec

    def _of(self, macs: float) -> ArchSpec:
        limits = {**self.limits, "macs": min(macs, self.limits.get("macs", macs))}
        try:
            return widest_within(self.structure, limits)
        except VidnasError:
            # There is nothing of so few multiply-adds; what has the fewest may do.
            return narrowest(self.structure, limits)

    def _between(self) -> list[float]:
        """Multiply-adds between widths that were fast enough and others."""
        fast = [one.macs for one in self.timed if one.ms <= self.target_ms]
        slow = [one.macs for one in self.timed if one.ms > self.target_ms]
        return [max(fast) + share * (min(slow) - max(fast)) for share in _SHARES] if fast and slow else []

    def take(self, spec: ArchSpec, ms: float) -> None:
        """What a width took."""
        self.timed.append(Timed(float(network_cost(spec).macs), ms, spec))
        self.ended = len(self.timed) == _MOST_TIMED or self._near_enough(self.timed[-1])
        self.guess = self._next_guess()

    @property
    def found(self) -> ArchSpec | None:
        """The width that keeps all budgets and uses most of one."""
        fitting = [one for one in self.timed if one.ms <= self.target_ms]
        fitting = [one for one in fitting if one.ms >= LEAST_MS * self.target_ms or self._uses_another(one.spec)]
        return max(fitting, key=lambda one: (one.ms, one.macs)).spec if fitting else None

    def _near_enough(self, one: Timed) -> bool:
        within = one.ms <= self.target_ms
        return within and (one.ms >= _NEAR * self.target_ms or self._uses_another(one.spec))

    def _uses_another(self, spec: ArchSpec) -> bool:
        """Whether another budget is used up, so that no more milliseconds can be."""
        return bool(self.limits) and use_of(spec, self.limits) >= 1 - TOLERANCE

    def _next_guess(self) -> float:
        aim = _AIM * self.target_ms
        rising = sorted(self.timed, key=lambda one: one.macs)
        under = next((one for one in reversed(rising) if one.ms <= self.target_ms), None)
        over = next((one for one in rising if one.ms > self.target_ms), None)
        if under is not None and over is not None:
            # Noise may have exchanged widths that are nearly equal; something between them still is the best guess.
            share = (aim - under.ms) / (over.ms - under.ms)
            return under.macs + min(max(share, _MARGIN), 1 - _MARGIN) * (over.macs - under.macs)
        # All are on one side: on from the last of them.
        last, *others = rising if under is None else reversed(rising)
        guess = last.macs * aim / last.ms
        if others and (others[0].ms - last.ms) * (others[0].macs - last.macs) > 0:
            slope = (others[0].ms - last.ms) / (others[0].macs - last.macs)
            guess = last.macs + (aim - last.ms) / slope
        return min(max(guess, last.macs / _FURTHEST), last.macs * _FURTHEST)


def brought_to_ms(
    structures: Sequence[ArchSpec],
    target_ms: float,
    limits: Mapping[str, float],
    start_macs: float,
    time_networks: TimeNetworks,
) -> tuple[list[ArchSpec | None], list[list[Timed]]]:
    """Each structure at the width that takes `target_ms` or up to 10% less, unless it uses up another budget before.

    All take their next width at once, so that what is timed takes turns.

    Args:
        structures: at any width.
        target_ms: milliseconds of one clip.
        limits: other budgets, by metric of `network_cost`; may be empty.
        start_macs: multiply-adds of the widths that are timed first.
        time_networks: milliseconds of networks.

    Returns:
        Per structure the network, None where no width was found; and all that was timed of it.
    """
    ways = [_Way(structure, target_ms, limits, start_macs) for structure in structures]
    while trying := [(way, spec) for way in ways if (spec := way.next_width()) is not None]:
        for (way, spec), ms in zip(trying, time_networks([spec for _, spec in trying]), strict=True):
            way.take(spec, ms)
    return [way.found for way in ways], [way.timed for way in ways]
