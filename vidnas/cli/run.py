"""`vidnas run`: search, train, test, compare with X3D, report."""

from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.cli.search_options import describe, prepare, search_parser

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser


def run(argv: list[str]) -> int:
    """Do the whole job; returns the exit code."""
    from vidnas.data.augment import Views
    from vidnas.pipeline.page import write_page
    from vidnas.pipeline.run import RunPaths, fit_run, run_seconds, run_videos

    ready = prepare(run_parser(), argv)
    views = Views.parse(ready.options.views)
    search, training, steps = ready.search, ready.options.train, ready.data.steps_per_epoch
    if ready.options.max_hours:
        seconds = 3600 * ready.options.max_hours
        search, training = fit_run(ready.estimate, search, training, ready.plan, steps, seconds)
    seconds = run_seconds(ready.estimate, search, training, ready.plan, steps)
    print(describe(seconds, ready.estimate, search.schedule(steps).alpha_steps))
    if ready.options.dry_run:
        return 0
    paths = RunPaths(Path(ready.options.out))
    outcome = run_videos(
        ready.lists,
        ready.plan,
        ready.data_config,
        ready.data,
        search,
        training,
        views,
        paths,
        resume=ready.options.resume,
    )
    write_page(
        paths.report,
        outcome,
        source=ready.options.data,
        command=["vidnas", "run", *argv],
        search=search,
        training=training,
    )
    print(f"report: {paths.report}")
    return 0


def run_parser() -> "ConfigParser":
    """The options of a whole job."""
    from vidnas.engine.config import TrainConfig

    parser = search_parser("run", "Search, train, test, compare with X3D at equal cost, and write a report.")
    parser.add_class_arguments(TrainConfig, "train")
    parser.add_argument("--views", type=str, default="1x1", help="Clips x crops of the test, as 10x3.")
    return parser
