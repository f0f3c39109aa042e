"""`vidnas run`: search, train, test, compare with X3D, report."""

from typing import TYPE_CHECKING

from vidnas.base.log import is_first_process
from vidnas.cli.help import asks_for_first
from vidnas.cli.parsing import UsageError
from vidnas.cli.search_options import FIRST, read_request, search_parser

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser


def run(argv: list[str]) -> int:
    """Do the whole job; returns the exit code."""
    options, request = read_request(run_parser(whole=not asks_for_first(argv)), argv, "search")

    from vidnas.data.augment import Views
    from vidnas.pipeline.page import write_page
    from vidnas.pipeline.prepare import job_settings, prepare_search, remember
    from vidnas.pipeline.run import RunPaths, run_videos

    if options.train.devices > 1:
        raise UsageError(
            "vidnas run --train.devices: a whole job takes several processes from torchrun: "
            f"torchrun --nproc-per-node {options.train.devices} -m vidnas run ..."
        )
    views, paths = Views.parse(options.views), RunPaths(request.out)
    with prepare_search(request) as inputs:
        settings = job_settings(request, inputs, options.train)
        if settings is None:
            return 0
        assert settings.training is not None
        remember(request, inputs, settings.training, options.views)
        outcome = run_videos(
            inputs.lists,
            inputs.plan,
            request.data,
            inputs.data,
            settings.search,
            settings.training,
            views,
            paths,
            resume=request.resume,
        )
        if is_first_process():
            write_page(
                paths.report,
                outcome,
                source=options.data,
                command=["vidnas", "run", *argv],
                search=settings.search,
                training=settings.training,
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
        from vidnas.engine.train.config import TrainConfig

        parser.add_class_arguments(TrainConfig, "train")
    return parser
