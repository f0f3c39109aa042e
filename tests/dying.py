"""Functions that end a run at their so-manieth call, in this process, where nothing catches it."""

from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """Nothing catches it: what is on the disk is all that is left."""


def at_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Dies instead of doing it for the so-manieth time."""
    calls = iter(range(1, number))

    def dying(*args: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise Killed
        return function(*args, **options)

    return dying
