"""`vidnas search`: find a network for a data set and a budget."""

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidnas.arch.cost import parse_amount
from vidnas.base.log import log
from vidnas.cli.config_parser import make_config_parser
from vidnas.cli.help import asks_for_first
from vidnas.cli.parsing import UsageError
from vidnas.cli.search_options import read_request, search_parser

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.engine.train.config import TrainConfig
    from vidnas.pipeline.prepare import SearchRequest


def run(argv: list[str]) -> int:
    """Search; returns the exit code."""
    options, request = read_request(_parser(whole=not asks_for_first(argv)), argv, ".")

    from vidnas.pipeline.baselines import search_with_baselines
    from vidnas.pipeline.prepare import job_settings, prepare_search, remember

    training = _training(options.train)
    if options.progressive:
        return _progressively(options, request, training)
    if options.step_targets:
        raise UsageError("--step-targets: they are those of a --progressive search; add it or leave them out")
    with prepare_search(request) as inputs:
        settings = job_settings(request, inputs)
        if settings is None:
            return 0
        remember(request, inputs, training, "1x1")
        search_with_baselines(
            inputs.plan, request.data, inputs.data, settings.search, request.out, resume=request.resume
        )
    _say_next(options, request)
    return 0


def _progressively(options: Any, request: "SearchRequest", training: "TrainConfig") -> int:
    """Search a space of two streams in steps; returns the exit code."""
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
            return 0
        remember(replace(request, search_folder=step_folder(len(STEPS) - 1)), inputs, training, "1x1")
        steps = divided(request.targets, settings.search, step_macs or None)
        search_progressively(space, inputs.plan.train, steps, request.data, request.out, resume=request.resume)
    _say_next(options, request)
    return 0


def _say_next(options: Any, request: "SearchRequest") -> None:
    arch, trained = (shlex.quote(str(request.out / name)) for name in ("searched.json", "trained"))
    log.info(f"next: vidnas train --arch {arch} {shlex.join(_data_words(options))} --out {trained}")


def _parser(*, whole: bool) -> "ConfigParser":
    description = "Find the best network for your videos within a budget of multiply-adds."
    parser = search_parser("search", description, whole=whole)
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
    parser.add_argument(
        "--train", type=dict | None, default=None, help="of a recipe: for `vidnas derive` and `vidnas rank`"
    )
    return parser


def _data_words(options: Any) -> list[str]:
    """The options that say which lists were read."""
    words = ["--data", options.data]
    for name in ("test", "group_regex"):
        if getattr(options, name):
            words += [f"--{name.replace('_', '-')}", getattr(options, name)]
    return [*words, "--follow-links"] if options.follow_links else words


def _training(settings: dict[str, Any] | None) -> "TrainConfig":
    """The training settings of a recipe, read as `vidnas run` does."""
    from vidnas.engine.train.config import TrainConfig

    parser = make_config_parser("search", "")
    parser.add_class_arguments(TrainConfig, "train")
    training: TrainConfig = parser.instantiate(parser.parse_object({"train": settings or {}})).train
    return training
