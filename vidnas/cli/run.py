"""`vidnas run`: search, train, test, compare with X3D, report."""

from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.base.log import is_first_process
from vidnas.cli.help import asks_for_first
from vidnas.cli.parsing import UsageError
from vidnas.cli.search_options import FIRST, Prepared, prepared, remember, search_parser, settle_or_resume

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser


def run(argv: list[str]) -> int:
    """Do the whole job; returns the exit code."""
    with prepared(run_parser(whole=not asks_for_first(argv)), argv, search="search") as ready:
        return _run(ready, argv)


def _run(ready: Prepared, argv: list[str]) -> int:
    from vidnas.data.augment import Views
    from vidnas.pipeline.page import write_page
    from vidnas.pipeline.run import RunPaths, run_videos

    if ready.options.train.devices > 1:
        raise UsageError(
            "vidnas run --train.devices: a whole job takes several processes from torchrun: "
            f"torchrun --nproc-per-node {ready.options.train.devices} -m vidnas run ..."
        )
    views = Views.parse(ready.options.views)
    paths = RunPaths(Path(ready.options.out))
    settled = settle_or_resume(ready, ready.options.train)
    if settled is None:
        return 0
    assert settled.training is not None
    remember(ready, settled.training, views=ready.options.views, search=paths.search.name)
    outcome = run_videos(
        ready.lists,
        ready.plan,
        ready.data_config,
        ready.data,
        settled.search,
        settled.training,
        views,
        paths,
        resume=ready.options.resume,
    )
    if is_first_process():
        write_page(
            paths.report,
            outcome,
            source=ready.options.data,
            command=["vidnas", "run", *argv],
            search=settled.search,
            training=settled.training,
        )
        print(f"report: {paths.report}")
    return 0


def run_parser(*, whole: bool = True) -> "ConfigParser":
    """The options of a whole job; without the settings of recipes where `whole` is off."""
    description = "Search, train, test, compare with X3D at equal cost, and write a report."
    parser = search_parser("run", description, whole=whole, first=(*FIRST, "views"))
    parser.add_argument(
        "--views", type=str, default="1x1", metavar="CLIPSxCROPS", help="of the test at the end, as 10x3"
    )
    if whole:
        from vidnas.engine.config import TrainConfig

        parser.add_class_arguments(TrainConfig, "train")
    return parser
