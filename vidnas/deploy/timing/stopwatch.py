"""How long calls take: in turns, each from data that was just written, as the layers of a network find it."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

from vidnas.arch.latency import Device
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.sub_layers import SubLayer

# Runs once and returns the milliseconds that it took.
Call = Callable[[], float]
# Rounds of calls in turns: as many as fit into the time, within these bounds.
LEAST_ROUNDS, MOST_ROUNDS = 15, 60
_TURNS_SEC = 3.0
# Calls of a whole network in a turn: the first finds caches that other networks have filled and does not count.
NETWORK_CALLS = 3


class Stopwatch(Protocol):
    """A device that sub-layers and networks are timed on, one clip at a time."""

    @property
    def device(self) -> Device:
        """Its name."""
        ...

    def sub_layers(self, shapes: Sequence[SubLayer], frames: int, together: int) -> list[float]:
        """Milliseconds of each; `together` of them take turns, so that caches are about as full as in a network."""
        ...

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        """Milliseconds of each network for a clip of its own, in turns of a few calls each."""
        ...

    def network_call(self, spec: ArchSpec, clip: ClipSpec, batch_size: int = 1) -> Call:
        """A network with random weights that is ready to run on a batch of clips.

        Raises:
            VidnasError: the clip is too small for it.
        """
        ...


def in_turns(
    calls: Sequence[Call], rounds: int | None = None, warm_up: int = 2, in_a_row: int = 1
) -> list[list[float]]:
    """Milliseconds of every call in every round; each round has an order of its own.

    Args:
        calls: what is timed.
        rounds: default `LEAST_ROUNDS` to `MOST_ROUNDS`, as time allows.
        warm_up: rounds before them that do not count.
        in_a_row: calls in a turn; if there are several, all but the first count.
    """
    times: list[list[float]] = [[] for _ in calls]
    start = time.perf_counter()
    for number in range(warm_up + (rounds or MOST_ROUNDS)):
        done = number - warm_up
        if rounds is None and done >= LEAST_ROUNDS and time.perf_counter() - start > _TURNS_SEC:
            break
        for i in random.Random(number).sample(range(len(calls)), len(calls)):
            ms = [calls[i]() for _ in range(in_a_row)]
            if done >= 0:
                times[i] += ms[1:] or ms
    return times


def parts(number: int, least: int) -> list[slice]:
    """`number` things in parts of nearly equal size, none of fewer than `least` unless there are no more."""
    count = max(1, number // least)
    bounds = [number * i // count for i in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


def undisturbed(times: Sequence[float]) -> float:
    """The tenth percentile: on an idle machine hardly less than the median, on a busy one nearer to the truth."""
    return statistics.quantiles(times, n=10, method="inclusive")[0] if len(times) > 1 else times[0]
