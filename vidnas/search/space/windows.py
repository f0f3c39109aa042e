"""Which channels of a super tensor a candidate uses.

A window depends on the list of candidates and the index only, never on the block: equal lists and equal index mean
equal channel identities, so that residual additions stay consistent. Lists are increasing and evenly spaced
(`spacing`); windows are sorted tuples of channel indices, made once and cached.

`naive` takes a prefix. `fair` (AutoX3D sec. 4.2, supplement sec. 3) balances how many candidates use each part: in
N parts candidate i <= N // 2 is {1..i}, a larger one {N-i+1..N}, so i and N - i are complements; odd N are covered
equally, (N + 1) / 2 candidates each, even N leave a gap of 1. `cyclic` lays the candidates end to end round a circle,
largest first: a gap of at most 1 for any N and any sizes.

Deviation: the paper shows N equal parts only. Where the smallest candidate exceeds the step (12 to 28 by 4), `fair`
keeps smallest - step channels on in every candidate and parts the others.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import chain, pairwise
from math import gcd, lcm
from typing import Literal, get_args

Window = tuple[int, ...]
WindowMode = Literal["naive", "fair", "cyclic"]
WINDOW_MODES: tuple[WindowMode, ...] = get_args(WindowMode)


def exact(value: float) -> Fraction:
    """The decimal number that was written: 0.1 is 1/10."""
    return Fraction(repr(value))


def spacing(choices: Sequence[float]) -> Fraction:
    """The step of an evenly spaced list; for a single candidate the candidate itself.

    Raises:
        ValueError: the list is empty, does not rise, has uneven gaps, or starts below its step.
    """
    values = [exact(choice) for choice in choices]
    if not values:
        raise ValueError("is empty; give at least one choice")
    if len(values) == 1:
        return values[0]
    step = values[1] - values[0]
    for i, (a, b) in enumerate(pairwise(values), start=1):
        if step <= 0 or b - a != step:
            after = f"{choices[i]:g} follows {choices[i - 1]:g}"
            wanted = f", where {float(a + step):g} would" if step > 0 else ""
            raise ValueError(f"must rise in equal steps, as in 12, 16, 20; {after}{wanted}")
    if values[0] < step:
        raise ValueError(f"starts at {choices[0]}, below its step {float(step):g}; start at the step or above")
    return step


def unit(choices: Sequence[float]) -> Fraction:
    """The largest number that divides every candidate: windows are made of blocks of this size."""
    values = [exact(choice) for choice in choices]
    return Fraction(gcd(*(v.numerator for v in values)), lcm(*(v.denominator for v in values)))


@cache
def channel_window(choices: tuple[int, ...], index: int, mode: WindowMode) -> tuple[int, ...]:
    """Channels of a super tensor of max(choices) channels that candidate `index` uses; choices[index] of them."""
    width = int(unit(choices))
    return tuple(u * width + r for u in _unit_window(choices, index, mode) for r in range(width))


@cache
def hidden_window(
    expansions: tuple[float, ...], e_index: int, channels: tuple[int, ...], c_index: int, mode: WindowMode
) -> tuple[int, ...]:
    """Expanded channels that expansion `e_index` of channels `c_index` uses; exactly their product of them.

    An expanded channel has an address (expansion part, channel part); the window is the product of the window of the
    expansion and the window of the channels, whichever block they occur in. The super tensor has
    `super_hidden(expansions, channels)` channels, expansion parts outermost. Where neither is searched their product
    need not be whole: it is cut, as in the spec.
    """
    if len(expansions) == len(channels) == 1:
        return tuple(range(super_hidden(expansions, channels)))
    cell = _cell(expansions, channels)
    row = int(channels[-1] / unit(channels))
    return tuple(
        (e * row + c) * cell + r
        for e in _unit_window(expansions, e_index, mode)
        for c in _unit_window(channels, c_index, mode)
        for r in range(cell)
    )


def super_hidden(expansions: Sequence[float], channels: Sequence[int]) -> int:
    """Expanded channels of the super tensor that holds every candidate."""
    return int(expansions[-1] * channels[-1])


def coverage(windows: Sequence[Sequence[int]], size: int) -> tuple[int, ...]:
    """How many of the windows use each of `size` channels."""
    counts = [0] * size
    for channel in chain.from_iterable(windows):
        counts[channel] += 1
    return tuple(counts)


def channel_coverage(choices: tuple[int, ...], mode: WindowMode) -> tuple[int, ...]:
    """How many candidates use each channel of the super tensor."""
    return coverage([channel_window(choices, i, mode) for i in range(len(choices))], choices[-1])


def _cell(expansions: Sequence[float], channels: Sequence[int]) -> int:
    """Expanded channels of one unit of expansion on one unit of channels."""
    cell = unit(expansions) * unit(channels)
    if cell.denominator != 1:
        raise ValueError(f"{float(unit(expansions)):g} x {unit(channels)} channels is not whole")
    return int(cell)


@cache
def _unit_window(choices: tuple[float, ...], index: int, mode: WindowMode) -> tuple[int, ...]:
    """The window in units of `unit(choices)`."""
    width = unit(choices)
    sizes = [int(exact(choice) / width) for choice in choices]
    if mode == "naive":
        return tuple(range(sizes[index]))
    if mode == "cyclic":
        start = sum(sizes[index + 1 :])
        return tuple(sorted((start + u) % sizes[-1] for u in range(sizes[index])))
    part = int(spacing(choices) / width)
    core = sizes[0] - part
    number = len(choices)
    first = 0 if index + 1 <= number // 2 else number - index - 1
    parts = range(core + first * part, core + (first + index + 1) * part)
    return (*range(core), *parts)
