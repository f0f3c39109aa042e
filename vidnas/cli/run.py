"""`vidnas run`: find a network, train and test it, compare with X3D, report."""

import math
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from vidnas.base.limits import Positive
from vidnas.base.log import is_first_process, log
from vidnas.cli.executor_options import PER_CORE, add_executor_options, one_per_core
from vidnas.cli.help import asks_for_first
from vidnas.cli.parsing import UsageError, errors_on_rank_zero
from vidnas.cli.search_options import FIRST, at_its_clip, read_request, search_parser
from vidnas.pipeline.method import RANKS_FROM_STEPS

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.engine.train.config import TrainConfig
    from vidnas.engine.trials.executors import Executor
    from vidnas.pipeline.method import Method, MethodTimes
    from vidnas.pipeline.prepare import SearchRequest
    from vidnas.pipeline.run import RunOutcome, RunSettings


def run(argv: list[str]) -> int:
    """Do the whole job; returns the exit code."""
    options, request = read_request(run_parser(whole=not asks_for_first(argv)), argv, "search")

    from vidnas.engine.run.processes import launched
    from vidnas.engine.train.loaders import check_shares
    from vidnas.pipeline.method import check_method, choose_method, kept_method
    from vidnas.pipeline.out import check_unraced
    from vidnas.pipeline.page import write_page

    if options.train.devices > 1:
        raise UsageError(
            "vidnas run --train.devices: a whole job takes several processes from torchrun: "
            f"torchrun --nproc-per-node {options.train.devices} -m vidnas run ..."
        )
    check_shares(options.train)  # not only when the search is done
    processes = math.prod(launched())
    times = (lambda: _times(options, request)) if request.max_hours is not None else None
    begun = kept_method(request.out) if request.resume and options.method == "auto" else None
    with errors_on_rank_zero():
        if options.progressive and options.method not in ("supernet", "both"):
            raise UsageError(
                f"--progressive: its steps are searched on supernets, and --method {options.method} may do without; "
                "add --method supernet or --method both"
            )
        if not request.dry_run:
            check_method(options.method, request.out, resume=request.resume)
        if processes > 1 and ((options.parallel or 1) > 1 or options.executor != "processes"):
            raise UsageError("--parallel, --executor: the processes of torchrun train all networks together")
        method, why = choose_method(begun or options.method, processes, times)
        if method == "supernet":
            check_unraced(request.out)
    if begun is not None:
        why = "as at the start of the run"
    if options.method == "auto" and method == "both":
        request = replace(request, search=request.search.with_length(RANKS_FROM_STEPS))
    log.info(f"method {method}: {why}")
    outcome = _by_supernet(options, request) if method == "supernet" else _by_race(options, request, method)
    if outcome is not None and is_first_process():
        report = request.out / "report.html"
        write_page(report, outcome, source=options.data, command=["vidnas", "run", *argv])
        print(f"report: {report}")
    return 0


def _times(options: Any, request: "SearchRequest") -> "MethodTimes":
    """What there is time for."""
    from vidnas.pipeline.prepare_race import measure_methods

    with one_per_core(options) as executor:
        return measure_methods(request, options.train, options.race, executor, 2 * options.final_seeds)


def _by_supernet(options: Any, request: "SearchRequest") -> "RunOutcome | None":
    """Search on a supernet, and the rest; None after a dry run."""
    from vidnas.engine.run.processes import launched
    from vidnas.engine.trials.executors import IN_THIS_PROCESS
    from vidnas.pipeline.method import keep_method
    from vidnas.pipeline.prepare import job_settings, prepare_search, remember
    from vidnas.pipeline.run import run_search

    # Several processes train all networks together.
    together = nullcontext(IN_THIS_PROCESS) if math.prod(launched()) > 1 else one_per_core(options)
    with together as executor, prepare_search(request) as inputs:
        settled = job_settings(request, inputs, options.train, 2 * options.final_seeds)
        if settled is None:
            return None
        assert settled.training is not None
        if is_first_process():
            keep_method("supernet", request.out)
        remember(request, inputs, settled.training, options.views)
        settings = _settings(options, request, settled.training, executor)
        return run_search(request, inputs, settled.search, settings)


def _by_race(options: Any, request: "SearchRequest", method: "Method") -> "RunOutcome | None":
    """Race, with a search at the clip that won if the method is `both`; None after a dry run."""
    from vidnas.pipeline.method import keep_method
    from vidnas.pipeline.prepare import job_settings, prepare_search, remember
    from vidnas.pipeline.prepare_race import prepare_race
    from vidnas.pipeline.run import choose_clip, run_race, run_search_and_race

    training, reserved, both = options.train, 2 * options.final_seeds, method == "both"
    with one_per_core(options) as executor:
        settings = _settings(options, request, training, executor)
        with prepare_race(request, training, options.race, executor, reserved, with_supernet=both) as prepared:
            if prepared is None:
                return None
            keep_method(method, request.out)
            if method == "race":
                return run_race(prepared.lists, prepared.race, settings)
            choose_clip(prepared.race, settings)
        request = at_its_clip(request, prepared)
        with prepare_search(request) as inputs:
            settled = job_settings(request, inputs)
            assert settled is not None
            remember(request, inputs, training, options.views)
            return run_search_and_race(request, inputs, settled.search, prepared.race, settings)


def _settings(options: Any, request: "SearchRequest", training: "TrainConfig", executor: "Executor") -> "RunSettings":
    from vidnas.data.augment import Views
    from vidnas.pipeline.run import RunPaths, RunSettings

    return RunSettings(
        training,
        request.data,
        Views.parse(options.views),
        RunPaths(request.out),
        options.final_seeds,
        executor,
        request.resume,
    )


def run_parser(*, whole: bool = True) -> "ConfigParser":
    """The options of a whole job; without the settings of recipes where `whole` is off."""
    description = "Search, train, test, compare with X3D at equal cost, and write a report."
    parser = search_parser("run", description, whole=whole, first=(*FIRST, "method", "final_seeds"))
    parser.add_argument(
        "--method",
        type=Literal["auto", "race", "supernet", "both"],
        default="auto",
        help="how networks are judged: by trainings of their own, on a supernet, or both; auto says what it takes",
    )
    parser.add_argument(
        "--final_seeds",
        type=Positive,
        default=1,
        metavar="N",
        help="trainings of the network found and of X3D at the end, in pairs; architectures are compared from 3 on",
    )
    add_executor_options(parser, by_default=PER_CORE)
    parser.add_argument(
        "--views", type=str, default="1x1", metavar="CLIPSxCROPS", help="of the test at the end, as 10x3"
    )
    if whole:
        from vidnas.engine.train.config import TrainConfig
        from vidnas.pipeline.race.config import RaceConfig

        parser.add_class_arguments(RaceConfig, "race")
        parser.add_class_arguments(TrainConfig, "train")
    return parser
