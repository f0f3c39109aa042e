"""How the choices of a space are written: lists, single values, ranges; and which lists are refused."""

from collections.abc import Hashable, Sequence
from fractions import Fraction
from typing import Any

from vidnas.base.mistakes import FieldError
from vidnas.search.space.windows import exact

_RANGE = ("from", "to", "step")
# More choices of one thing than can be told apart; a slip in a range makes millions.
_MOST = 100


def as_list(value: Any) -> Any:
    """A plain value stands for a list of one, so that any spec can be written as a space."""
    return value if isinstance(value, list | tuple) else (value,)


def as_numbers(value: Any) -> Any:
    """As `as_list`; `{from: 12, to: 28, step: 4}` stands for 12, 16, 20, 24, 28.

    Raises:
        ValueError: a range that lacks a field, does not rise, or whose step does not divide it.
    """
    if not isinstance(value, dict):
        return as_list(value)
    if set(value) != set(_RANGE) or not all(_is_number(value[field]) for field in _RANGE):
        raise ValueError("a range is three numbers, as in {from: 12, to: 28, step: 4}")
    first, last, step = (exact(value[field]) for field in _RANGE)
    if step <= 0 or last < first:
        raise ValueError("a range rises in steps above 0, as in {from: 12, to: 28, step: 4}")
    steps = (last - first) / step
    if steps.denominator != 1:
        end = first + max(1, round(steps)) * step
        start, by = value["from"], value["step"]
        raise FieldError(("to",), f"not reached from {start:g} in steps of {by:g}; end at {float(end):g}")
    _check_number(int(steps) + 1)
    return tuple(_plain(first + i * step) for i in range(int(steps) + 1))


def check_distinct(choices: Sequence[Hashable]) -> None:
    """Refuse an empty list, too long a one, and repetitions.

    Raises:
        ValueError: any of these.
    """
    if not choices:
        raise ValueError("is empty; give at least one choice")
    _check_number(len(choices))
    for i, choice in enumerate(choices):
        if choice in choices[:i]:
            raise FieldError((i,), f"{choice} is a choice already; name each once")


def _check_number(number: int) -> None:
    if number > _MOST:
        raise ValueError(f"has {number} choices, more than {_MOST}; take larger steps")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e9


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)
