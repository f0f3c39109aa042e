"""Ctrl-C, SIGTERM and SIGHUP: they end a command wherever it is, but not in the middle of what must not be cut.

While `CommandSignals` is active the first one raises `Stopped` in the main thread, at whatever line that is. Inside of
it `StopSignals` holds them back: a loop asks it at the end of each step whether to stop, and what came meanwhile
without being asked for is given on at its end.
"""

import os
import signal
import stat
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, Self

from vidnas.base.errors import VidnasError

if TYPE_CHECKING:
    from subprocess import Popen

# SIGHUP says that the terminal is gone.
CAUGHT = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
# Until an exception that was swallowed is raised again: long enough for whoever swallowed it to be left behind.
_AGAIN_SEC = 0.05
# See `ends_with_command`.
_launchers: "list[Launcher]" = []


class Interrupted(VidnasError):
    """A run was asked to stop and has saved its state; the command exits with `exit_code`."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[str, int]]:
        """From a worker process to its main process, which an exception of two arguments does not survive by itself."""
        return type(self), (str(self), self.signum)


class Stopped(KeyboardInterrupt):
    """A signal ends the command here and now.

    Not an `Exception`, which many a library takes for a failure to try again after. A `KeyboardInterrupt`, since
    Python's own compiler drops anything else that is raised while it works out a constant of a module.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Launcher(Protocol):
    """Has started processes that do the same as this one, or will."""

    procs: "list[Popen[bytes]]"


def ends_with_command(launcher: Launcher) -> None:
    """Have its processes ended when the command is stopped, before they notice and complain."""
    _launchers.append(launcher)


class CommandSignals:
    """While it is active, the first of these signals raises `Stopped`; a Ctrl-C after that ends the process at once.

    A signal that was ignored from the start (a background job of a script) stays so. Outside the main thread, where
    Python allows no handlers, it does nothing.

    Args:
        to_the_end: nothing is put back, since the process ends with the command: until then further signals change
            nothing, and what breaks because of the stop breaks in silence.

    Attributes:
        received: the signal, once there was one.
        over: the command has ended; signals change nothing any more.
    """

    def __init__(self, *, to_the_end: bool = False) -> None:
        self.to_the_end = to_the_end
        self.received: int | None = None
        self.over = False
        self._swallowed = False
        self._previous: dict[signal.Signals, Any] = {}
        self._hooks = sys.unraisablehook, threading.excepthook

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = _take(self._stop)
            self._hooks = sys.unraisablehook, threading.excepthook
            sys.unraisablehook = self._in_a_finaliser
            threading.excepthook = self._in_a_thread
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        if self.received is not None:
            for process in [process for launcher in _launchers for process in launcher.procs]:
                process.kill()
                process.wait()
                process.returncode = 0  # Lightning would kill this process for any other
        if self._previous and not self.to_the_end:
            sys.unraisablehook, threading.excepthook = self._hooks
            _give_back(self._previous)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if self.over:
            return
        _leave_terminal()
        if self.received is None or self._swallowed:
            self.received, self._swallowed = self.received or signum, False
            raise Stopped(self.received)
        if signum == signal.SIGINT:
            os.write(2, b"vidnas: error: interrupted twice; stopped at once\n")
            os._exit(128 + signum)

    def _in_a_finaliser(self, unraisable: Any) -> None:
        """Python drops what is raised in finalisers and in some callbacks."""
        if self.received is None:
            self._hooks[0](unraisable)
        elif not self.over and issubclass(unraisable.exc_type, Stopped):
            self._swallowed = True
            main = threading.main_thread().ident
            assert main is not None
            again = threading.Timer(_AGAIN_SEC, signal.pthread_kill, (main, self.received))
            again.daemon = True
            again.start()

    def _in_a_thread(self, failure: Any) -> None:
        """Threads may break when the main one is stopped."""
        if self.received is None:
            self._hooks[1](failure)


class StopSignals:
    """While it is active, the first of these signals only sets `received`; a second Ctrl-C stops at once.

    Used as a context manager it gives on at its end what it has received, unless an exception leads out of it: to
    whoever handled signals before.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = _take(self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _give_back(self._previous)
        if kind is None and self.received is not None:
            signal.raise_signal(self.received)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        _leave_terminal()
        before = self._previous.get(signal.Signals(signum))
        if signum == signal.SIGINT and self.received is not None and callable(before):
            before(signum, frame)
        self.received = self.received or signum


def _leave_terminal() -> None:
    """Let what is said to a terminal that is gone be lost, rather than break what is left to do."""
    for number in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, number)
                os.close(nothing)


def _take(handler: Any) -> dict[signal.Signals, Any]:
    """Set the handler of all signals that are not ignored; returns the handlers before."""
    heard = [signum for signum in CAUGHT if signal.getsignal(signum) is not signal.SIG_IGN]
    return {signum: signal.signal(signum, handler) for signum in heard}


def _give_back(previous: dict[signal.Signals, Any]) -> None:
    for signum, handler in previous.items():
        # None stands for one that is not Python's, which cannot be set from here.
        signal.signal(signum, signal.SIG_DFL if handler is None else handler)
