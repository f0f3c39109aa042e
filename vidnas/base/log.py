"""The lines that the package tells its user: one logger, silent in all processes of a run but the first.

`log.info` tells what goes on, on stdout; `log.warning` gives notes, on stderr. The command line prints both
(`printed`). Other programs print them too until they set up logging of their own, which then gets them;
`logging.getLogger("vidnas").setLevel(logging.WARNING)` leaves the notes alone.
"""

import functools
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# As torchrun, Lightning's own launcher and SLURM number the processes that they start; the first one that is set holds.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")

log = logging.getLogger("vidnas")


class _Console(logging.Handler):
    """Prints; an output that takes nothing more is an error, as it is for `print`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record, unless the program's own handlers get it."""
        if log.propagate and logging.getLogger().handlers:
            return
        print(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout, flush=True)


log.setLevel(logging.INFO)
log.addHandler(_Console())
log.addFilter(lambda _: is_first_process())


def is_first_process() -> bool:
    """Whether this process writes files and talks to the user: the first one of a run, or the only one."""
    return int(next((os.environ[name] for name in _RANKS if name in os.environ), 0)) == 0


@functools.cache
def note_once(line: str) -> None:
    """Give the user a note, unless this process has given it before."""
    log.warning("note: %s", line)


@contextmanager
def printed() -> Iterator[None]:
    """Print lines whatever handlers libraries set up: for programs whose output they are."""
    before, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.propagate = before


@contextmanager
def notes_only() -> Iterator[None]:
    """Do something that is no news by itself: notes are given, lines of information are not."""
    before = log.level
    log.setLevel(max(before, logging.WARNING))
    try:
        yield
    finally:
        log.setLevel(before)
