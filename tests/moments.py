"""SIGKILL at an exact point of a program, without a change to it: by the interpreter's own profiling hook."""

import os
import signal
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(frozen=True)
class Moment:
    """The `count`-th time that a function is called or returns.

    Attributes:
        event: `call` or `return` of a Python function, `c_call` just before one in C.
        name: qualified name, for one in C with its module.
        count: from 1.
    """

    event: str
    name: str
    count: int


def die_at(moment: Moment) -> None:
    """Have this process killed at the moment."""
    seen = 0

    def watch(frame: FrameType, event: str, function: Any) -> None:
        nonlocal seen
        if event != moment.event:
            return
        name = f"{function.__module__}.{function.__name__}" if event == "c_call" else frame.f_code.co_qualname
        if name == moment.name:
            seen += 1
            if seen == moment.count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)
