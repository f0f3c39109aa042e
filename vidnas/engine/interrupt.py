"""Ctrl-C and SIGTERM as a flag that is read at the end of a step, so that no step is cut in half."""

import signal
import threading
from types import FrameType
from typing import Any, Self

from vidnas.errors import VidnasError

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interrupted(VidnasError):
    """A run was asked to stop and has saved its state; the command exits with `exit_code`."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
        self.exit_code = 128 + signum


class StopSignals:
    """While it is active, the first Ctrl-C or SIGTERM only sets `received`; a second Ctrl-C stops at once.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {signum: signal.signal(signum, self._note) for signum in _CAUGHT}

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self.received is not None:
            raise KeyboardInterrupt
        self.received = signum
