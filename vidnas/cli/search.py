"""`vidnas search`: find a network for a data set and a budget on a supernet, and race what it proposes."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidnas.base.log import is_first_process, log
from vidnas.cli.executor_options import PER_CORE, add_executor_options, one_per_core
from vidnas.cli.help import asks_for_first
from vidnas.cli.next_command import train_command
from vidnas.cli.parsing import errors_on_rank_zero
from vidnas.cli.search_options import FIRST, at_its_clip, read_request, search_parser
from vidnas.pipeline.race.config import RaceConfig

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.pipeline.page import SearchOutcome
    from vidnas.pipeline.prepare import SearchRequest


def run(argv: list[str]) -> int:
    """Search; returns the exit code."""
    options, request = read_request(_parser(whole=not asks_for_first(argv)), argv, ".")

    from vidnas.pipeline.out import check_unraced
    from vidnas.pipeline.page import write_search_page

    raced = _is_raced(options)
    if not raced:
        with errors_on_rank_zero():
            check_unraced(request.out)
    outcome = _with_trials(options, request) if raced else _on_supernet(options, request)
    if outcome is not None and is_first_process():
        report = request.out / "report.html"
        write_search_page(report, outcome, source=options.data, command=["vidnas", "search", *argv])
        log.info(f"report: {report}")
        found = "race/winner.json" if outcome.race else "searched.json"
        log.info(f"next: {train_command(options, request.out / found, request.out / 'trained')}")
    return 0


def _is_raced(options: Any) -> bool:
    """Whether a race follows; says why where one could have been expected."""
    from vidnas.engine.run.processes import launched
    from vidnas.pipeline.method import choose_method

    if options.no_trials:
        return False
    with errors_on_rank_zero():
        method, why = choose_method("auto", math.prod(launched()))
    if method == "supernet":
        log.info(f"note: no trials of what is found: {why}")
    return method != "supernet"


def _on_supernet(options: Any, request: "SearchRequest") -> "SearchOutcome | None":
    """Search; None after a dry run."""
    from vidnas.pipeline.page import SearchOutcome
    from vidnas.pipeline.prepare import job_settings, prepare_search, remember
    from vidnas.pipeline.supernet import search_on_supernet

    with prepare_search(request) as inputs:
        settings = job_settings(request, inputs)
        if settings is None:
            return None
        remember(request, inputs, options.train, "1x1")
        return SearchOutcome(inputs.lists, search_on_supernet(request, inputs, settings.search))


def _with_trials(options: Any, request: "SearchRequest") -> "SearchOutcome | None":
    """Race for the clip, search at it, race with what the search proposes; None after a dry run."""
    from vidnas.engine.run.folder import RunFolder
    from vidnas.pipeline.prepare_race import prepare_race

    with one_per_core(options) as executor:
        with prepare_race(request, options.train, options.race, executor, 0, with_supernet=True) as prepared:
            if prepared is None:
                return None
            prepared.race.choose_clip()
        outcome = _on_supernet(options, at_its_clip(request, prepared))
        assert outcome is not None
        with RunFolder(request.out).lock():
            return replace(outcome, race=prepared.race.choose_network(outcome.searched.proposals()))


def _parser(*, whole: bool) -> "ConfigParser":
    description = "Find the best network for your videos within budgets of multiply-adds, milliseconds, parameters."
    parser = search_parser("search", description, whole=whole, first=(*FIRST, "no_trials", "race.trials"))
    parser.add_argument(
        "--no_trials", action="store_true", help="no race of the networks found: the supernet alone judges"
    )
    add_executor_options(parser, by_default=PER_CORE)
    parser.add_class_arguments(RaceConfig, "race")
    if whole:
        from vidnas.engine.train.config import TrainConfig

        parser.add_class_arguments(TrainConfig, "train")
    return parser
