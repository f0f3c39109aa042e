"""Processes of the tests are forks of a server that has all imports, so each starts in milliseconds."""

import multiprocessing
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

# What commands import when they are asked for too.
IMPORTS = (
    "pytest",
    "jsonargparse",
    "tensorboard.summary",
    "torch.utils.tensorboard",
    "vidnas.cli.main",
    "vidnas.cli.race",
    "vidnas.cli.run",
    "vidnas.cli.search",
    "vidnas.data.check",
    "vidnas.engine.trials.executors",
    "vidnas.pipeline.run",
)
TIMEOUT_SEC = 120


def context() -> ForkServerContext:
    """What starts processes from it."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(IMPORTS))
    return found


def start() -> None:
    """Start it now. There is one per process, and who starts it first gives the imports: vidnas asks for few."""
    context()
    forkserver.ensure_running()


def ended(work: Callable[..., object], *args: Any) -> int | None:
    """The exit code of a process that does this work; one that does not end in time is killed."""
    process = context().Process(target=work, args=args)
    process.start()
    return exit_code(process)


def exit_code(process: BaseProcess) -> int | None:
    """Of a process, once it has ended; one that does not in time is killed."""
    process.join(TIMEOUT_SEC)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode
