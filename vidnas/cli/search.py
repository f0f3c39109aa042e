"""`vidnas search`: find a network for a data set and a budget."""

import shlex
from typing import TYPE_CHECKING, Any

from vidnas.base.log import log
from vidnas.cli.config_parser import make_config_parser
from vidnas.cli.help import asks_for_first
from vidnas.cli.search_options import read_request, search_parser

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.engine.train.config import TrainConfig


def run(argv: list[str]) -> int:
    """Search; returns the exit code."""
    options, request = read_request(_parser(whole=not asks_for_first(argv)), argv, ".")

    from vidnas.pipeline.baselines import search_with_baselines
    from vidnas.pipeline.prepare import job_settings, prepare_search, remember

    training = _training(options.train)
    with prepare_search(request) as inputs:
        settings = job_settings(request, inputs)
        if settings is None:
            return 0
        remember(request, inputs, training, "1x1")
        search_with_baselines(
            inputs.plan, request.data, inputs.data, settings.search, request.out, resume=request.resume
        )
    arch, trained = (shlex.quote(str(request.out / name)) for name in ("searched.json", "trained"))
    log.info(f"next: vidnas train --arch {arch} {shlex.join(_data_words(options))} --out {trained}")
    return 0


def _parser(*, whole: bool) -> "ConfigParser":
    description = "Find the best network for your videos within a budget of multiply-adds."
    parser = search_parser("search", description, whole=whole)
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
