"""`vidnas search`: find a network for a data set and a budget."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidnas.base.log import log
from vidnas.cli.help import asks_for_first
from vidnas.cli.parsing import make_config_parser
from vidnas.cli.search_options import prepared, remember, search_parser, settle_or_resume

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.engine.config import TrainConfig


def run(argv: list[str]) -> int:
    """Search; returns the exit code."""
    with prepared(_parser(whole=not asks_for_first(argv)), argv, search=".") as ready:
        from vidnas.pipeline.baselines import search_with_baselines

        training = _training(ready.options.train)
        out = Path(ready.options.out)
        settled = settle_or_resume(ready, None)
        if settled is None:
            return 0
        remember(ready, training, views="1x1", search=".")
        search_with_baselines(
            ready.plan, ready.data_config, ready.data, settled.search, out, resume=ready.options.resume
        )
        data_words = _data_words(ready.options)
    arch, trained = (shlex.quote(str(out / name)) for name in ("searched.json", "trained"))
    log.info(f"next: vidnas train --arch {arch} {shlex.join(data_words)} --out {trained}")
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
    from vidnas.engine.config import TrainConfig

    parser = make_config_parser("search", "")
    parser.add_class_arguments(TrainConfig, "train")
    training: TrainConfig = parser.instantiate(parser.parse_object({"train": settings or {}})).train
    return training
