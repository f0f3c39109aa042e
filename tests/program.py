"""The command line in a process of its own, in milliseconds: a fork of a server that has all imports."""

import os
import signal
import sys
import time
from pathlib import Path

import fork_server
import torch

from vidnas.cli.main import main


class Program:
    """`vidnas ...` at work.

    Args:
        argv: its words.
        output: file that takes what it prints.
        threads: torch's choice on the machine.
        group: in a process group of its own, as a shell starts it.
    """

    def __init__(self, argv: list[str], output: Path, threads: int = 1, *, group: bool = False) -> None:
        self.output = output
        output.unlink(missing_ok=True)
        self.process = fork_server.context().Process(target=_run, args=(argv, output, threads, group))
        self.process.start()

    def wait(self) -> int | None:
        """Its exit code; one that does not end in time is killed."""
        return fork_server.exit_code(self.process)

    def stop_after(self, seconds: float, signum: int) -> int | None:
        """Its exit code after a signal, or before where it has ended by then; the time counts from its first line."""
        while self.process.is_alive() and not self.output.exists():  # a busy machine is slow to fork
            time.sleep(0.001)
        self.process.join(seconds)
        if self.process.is_alive():
            assert self.process.pid is not None
            os.kill(self.process.pid, signum)
        return self.wait()

    def said(self) -> str:
        """All that it has printed so far."""
        return self.output.read_text(encoding="utf-8") if self.output.exists() else ""


def _run(argv: list[str], output: Path, threads: int, group: bool) -> None:
    if group:
        os.setpgid(0, 0)
    # Whatever the one who needed the server first had done with them.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    torch.set_num_threads(threads)
    sys.argv = ["vidnas", *argv]
    sys.exit(main())
