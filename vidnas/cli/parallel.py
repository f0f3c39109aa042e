"""Options of trainings that run side by side."""

from typing import TYPE_CHECKING

from vidnas.base.limits import Positive

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.engine.trials.executors import Executor


def add_parallel_option(parser: "ConfigParser") -> None:
    """`--parallel N`."""
    parser.add_argument(
        "--parallel",
        metavar="N",
        type=Positive | None,
        default=None,
        help="trainings side by side, each with its share of threads; default one per core",
    )


def make_executor(parallel: int | None, threads: int | None) -> "Executor":
    """What runs the trainings.

    Args:
        parallel: trainings side by side; None is one per core.
        threads: of each; None shares the cores.
    """
    from vidnas.data.processes import cores
    from vidnas.engine.trials.executors import WorkerProcesses

    parallel = parallel or cores()
    return WorkerProcesses(parallel, threads or max(1, cores() // parallel))
