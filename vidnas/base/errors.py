"""The exceptions that a user is meant to see."""

import re

# How torch says that a process of one of its data loaders is gone, with no class of its own.
LOADER_PROCESS_ENDED = re.compile(r"DataLoader worker \(pid\S* [\d, ]+\) (?:is )?([^.]+)")


class VidnasError(Exception):
    """Bad input: one line that says what is wrong, where, and how to mend it.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class Diverged(VidnasError):
    """A loss, or the scores of a network, are not finite any more: this network fails, others of the run go on."""


class OutOfMemory(VidnasError):
    """Memory ran out, as that which processes share or that for processes: there may be more at another time."""


class EndedElsewhere(VidnasError):
    """Another process of the same run has failed and says why; this one ends without a word, with its exit code."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("another process of this run has failed")
        self.exit_code = exit_code
