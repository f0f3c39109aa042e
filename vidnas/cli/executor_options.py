"""The options that say who runs trainings side by side, of every verb that has several."""

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from vidnas.base.limits import Positive
from vidnas.cli.parsing import Parser, UsageError, positive

if TYPE_CHECKING:
    from vidnas.engine.trials.executors import Executor


# How many trainings `one_per_core` runs side by side, in words.
PER_CORE = "one per core, on a GPU one"


def add_executor_options(parser: argparse.ArgumentParser, *, by_default: str) -> None:
    """Add `--parallel`, `--executor` and `--ray-address`.

    Args:
        parser: of the verb.
        by_default: how many trainings there are side by side in processes, in words.
    """
    # Parsers of recipes name options as their keys are, and read a number more than once.
    plain = isinstance(parser, Parser)
    number: Any = positive if plain else Positive | None
    parser.add_argument(
        "--parallel",
        metavar="N",
        type=number,
        default=None,
        help=f"trainings side by side, each with its share of threads; default {by_default}, with ray as many as "
        "there is room for",
    )
    parser.add_argument(
        "--executor",
        choices=("processes", "ray"),
        default="processes",
        help="what runs them: processes of this machine, or ray, on this machine or a cluster; needs vidnas[ray]",
    )
    parser.add_argument(
        "--ray-address" if plain else "--ray_address",
        metavar="ADDRESS",
        default=None,
        help="of a running Ray cluster, as 10.0.0.1:6379; default that of Ray's environment variable, else one is "
        "started here",
    )


def one_per_core(options: Any) -> "AbstractContextManager[Executor]":
    """What the options ask for, by default as `PER_CORE` says; settings of the trainings are at `options.train`.

    One at a time has a process of its own as well, which the system may end, as where memory runs out, without ending
    the command.
    """
    import torch

    from vidnas.data.processes import cores
    from vidnas.engine.trials.executors import QUIETLY

    training = options.train
    # A small GPU has no room for as many as there are cores.
    on_gpu = training.device.startswith("cuda") or (training.device == "auto" and torch.cuda.is_available())
    alone = QUIETLY if training.devices > 1 else None  # it starts processes itself
    parallel = 1 if on_gpu else cores()
    return chosen_executor(options, parallel=parallel, threads=training.threads, device=training.device, alone=alone)


@contextmanager
def chosen_executor(
    options: Any, *, parallel: int, threads: int | None, device: str, alone: "Executor | None" = None
) -> "Iterator[Executor]":
    """What the options ask for.

    Args:
        options: with those of `add_executor_options`.
        parallel: trainings side by side in processes, where the options do not say.
        threads: CPU threads of each; None is an equal share.
        device: of the trainings.
        alone: what runs one training at a time in place of a process.

    Raises:
        UsageError: an address of what is not used.
        VidnasError: as `vidnas.engine.trials.ray_executor.ray_workers`.
    """
    if options.executor == "ray":
        from vidnas.engine.trials.ray_executor import ray_workers

        with ray_workers(options.parallel, threads, device=device, address=options.ray_address) as workers:
            yield workers
        return
    if options.ray_address:
        raise UsageError(
            f"--ray-address {options.ray_address}: is for --executor ray; add it, or leave the address out"
        )

    from vidnas.data.processes import cores
    from vidnas.engine.trials.executors import WorkerProcesses

    number = options.parallel or parallel
    if number == 1 and alone is not None:
        yield alone
    else:
        yield WorkerProcesses(number, threads or max(1, cores() // number))
