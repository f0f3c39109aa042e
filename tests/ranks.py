"""Processes of one run as torchrun would start them, but in milliseconds: forks of a server that has all imports."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import fork_server
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.distributed import TCPStore

from vidnas.base.errors import EndedElsewhere, VidnasError
from vidnas.cli.main import main


class Ranks:
    """`count` processes that run `work(*args)`, each with the environment that torchrun would give it.

    Args:
        count: of processes.
        folder: takes what each of them prints.
        work: a function at the top level of its module.
        args: picklable.
    """

    def __init__(self, count: int, folder: Path, work: Callable[..., object], *args: Any) -> None:
        # As torchrun does, the parent keeps the store that they meet at; the system chooses a free port.
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        folder.mkdir(exist_ok=True)
        self.outputs = [folder / f"rank{rank}.txt" for rank in range(count)]
        self.processes: list[BaseProcess] = []
        for rank, output in enumerate(self.outputs):
            environment = _environment(rank, count, self.store.port)
            process = fork_server.context().Process(target=_run, args=(environment, output, work, args))
            process.start()
            self.processes.append(process)

    def wait(self) -> list[int | None]:
        """Exit codes; a process that does not end in time is killed and has the code -9."""
        return [fork_server.exit_code(process) for process in self.processes]

    def said(self, rank: int) -> list[str]:
        """Lines of stdout and stderr, without those of torch."""
        lines = self.outputs[rank].read_text().splitlines()
        return [line for line in lines if line and not line.startswith(("[W", "[Gloo]", "search:"))]


def command(argv: list[str]) -> int:
    """Work: the command line."""
    return main(argv)


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    texts = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return {**os.environ, **{name: str(value) for name, value in numbers.items()}, **texts}


def _run(environment: dict[str, str], output: Path, work: Callable[..., object], args: tuple[Any, ...]) -> None:
    # The fork server is deaf if the first to need it was a loader with workers (`vidnas.data.datamodule`).
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.update(environment)
    rank_zero_only.rank = int(environment["RANK"])  # which Lightning reads when it is imported
    torch.set_num_threads(1)
    try:
        code = work(*args)
    except EndedElsewhere as error:
        code = error.exit_code
    except VidnasError as error:
        print(f"vidnas: error: {error}")
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.exit(code if isinstance(code, int) else 0)
