"""`vidnas search`: find a network for a data set and a budget on a supernet, and race what it proposes."""

import math
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidnas.arch.cost import parse_amount
from vidnas.base.log import log
from vidnas.cli.executor_options import add_executor_options, one_per_core
from vidnas.cli.help import asks_for_first
from vidnas.cli.parsing import UsageError, errors_on_rank_zero
from vidnas.cli.search_options import FIRST, HALF, at_its_clip, read_request, search_parser
from vidnas.pipeline.race.config import RaceConfig

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.pipeline.prepare import SearchRequest
    from vidnas.pipeline.run import Searched


def run(argv: list[str]) -> int:
    """Search; returns the exit code."""
    options, request = read_request(_parser(whole=not asks_for_first(argv)), argv, ".")

    from vidnas.engine.run.processes import launched
    from vidnas.pipeline.method import choose_method

    found = "searched.json"
    if options.step_targets and not options.progressive:
        raise UsageError("--step-targets: they are those of a --progressive search; add it or leave them out")
    if options.progressive:
        done = _progressively(options, request)
    elif options.no_trials:
        done = _on_supernet(options, request) is not None
    else:
        with errors_on_rank_zero():
            method, why = choose_method("auto", math.prod(launched()))
        if method == "supernet":
            log.info(f"note: no trials of what is found: {why}")
            done = _on_supernet(options, request) is not None
        else:
            found = "race/winner.json"
            done = _with_trials(options, request)
    if done:
        arch, trained = (shlex.quote(str(request.out / name)) for name in (found, "trained"))
        log.info(f"next: vidnas train --arch {arch} {shlex.join(_data_words(options))} --out {trained}")
    return 0


def _on_supernet(options: Any, request: "SearchRequest") -> "Searched | None":
    """Search; None after a dry run."""
    from vidnas.pipeline.baselines import search_with_baselines
    from vidnas.pipeline.prepare import job_settings, prepare_search, remember
    from vidnas.pipeline.run import Searched

    with prepare_search(request) as inputs:
        settings = job_settings(request, inputs)
        if settings is None:
            return None
        remember(request, inputs, options.train, "1x1")
        result = search_with_baselines(
            inputs.plan, request.data, inputs.data, settings.search, request.out, resume=request.resume
        )
        return Searched(inputs.plan, result)


def _with_trials(options: Any, request: "SearchRequest") -> bool:
    """Race for the clip, search at it, race with what the search proposes; False after a dry run."""
    from vidnas.engine.run.folder import RunFolder
    from vidnas.pipeline.prepare_race import prepare_race
    from vidnas.pipeline.run import supernet_proposals

    with one_per_core(options) as executor:
        with prepare_race(request, options.train, options.race, executor, 0, HALF) as prepared:
            if prepared is None:
                return False
            prepared.race.choose_clip()
        searched = _on_supernet(options, at_its_clip(request, prepared))
        assert searched is not None
        with RunFolder(request.out).lock():
            prepared.race.choose_network(supernet_proposals(searched))
    return True


def _progressively(options: Any, request: "SearchRequest") -> bool:
    """Search a space of two streams in steps; False after a dry run."""
    from vidnas.pipeline.prepare import job_settings, prepare_search, remember
    from vidnas.pipeline.progressive import check_steps, divided, search_progressively, step_folder
    from vidnas.search.space.progressive import STEPS

    step_macs = [parse_amount(text, name="--step-targets") for text in (options.step_targets or "").split(",") if text]
    if len(step_macs) not in (0, len(STEPS) - 1):
        raise UsageError(f"--step-targets {options.step_targets}: give those of the first two steps, as 28M,40M")
    if step_macs and "macs" not in request.targets:
        raise UsageError("--step-targets: multiply-adds of steps need those of the whole; add --target-macs")
    if "ms" in request.targets:
        raise UsageError("--target-ms: steps are held to multiply-adds, parameters or activations; leave one out")
    with prepare_search(replace(request, search_folder=step_folder(0))) as inputs:
        space = inputs.plan.space
        check_steps(space, divided(request.targets, inputs.config, step_macs or None))
        settings = job_settings(request, inputs)
        if settings is None:
            return False
        remember(replace(request, search_folder=step_folder(len(STEPS) - 1)), inputs, options.train, "1x1")
        steps = divided(request.targets, settings.search, step_macs or None)
        search_progressively(space, inputs.plan.train, steps, request.data, request.out, resume=request.resume)
    return True


def _parser(*, whole: bool) -> "ConfigParser":
    description = "Find the best network for your videos within budgets of multiply-adds, milliseconds, parameters."
    parser = search_parser("search", description, whole=whole, first=(*FIRST, "no_trials", "race.trials"))
    parser.add_argument(
        "--no_trials", action="store_true", help="no race of the networks found: the supernet alone judges"
    )
    parser.add_argument(
        "--progressive", action="store_true", help="two streams in steps: stream 0, stream 1 with fusions, attention"
    )
    parser.add_argument(
        "--step_targets",
        type=str | None,
        default=None,
        metavar="AMOUNT,AMOUNT",
        help="multiply-adds of the first two steps, as 28M,40M; default 56%% and 80%% of the targets",
    )
    add_executor_options(parser, by_default="one per core")
    parser.add_class_arguments(RaceConfig, "race")
    if whole:
        from vidnas.engine.train.config import TrainConfig

        parser.add_class_arguments(TrainConfig, "train")
    return parser


def _data_words(options: Any) -> list[str]:
    """The options that say which lists were read."""
    words = ["--data", options.data]
    for name in ("test", "group_regex"):
        if getattr(options, name):
            words += [f"--{name.replace('_', '-')}", getattr(options, name)]
    return [*words, "--follow-links"] if options.follow_links else words
