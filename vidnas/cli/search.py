"""`vidnas search`: find a network for a data set and a budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidnas.cli.parsing import make_config_parser
from vidnas.cli.search_options import prepared, remember, search_parser, settle_or_resume

if TYPE_CHECKING:
    from vidnas.engine.config import TrainConfig


def run(argv: list[str]) -> int:
    """Search; returns the exit code."""
    from vidnas.engine.processes import say
    from vidnas.pipeline.baselines import search_with_baselines

    parser = search_parser("search", "Find the best network for your videos within a budget of multiply-adds.")
    parser.add_argument(
        "--train", type=dict | None, default=None, help="Of a recipe: for `vidnas derive` and `vidnas rank`."
    )
    with prepared(parser, argv, search=".") as ready:
        training = _training(ready.options.train)
        out = Path(ready.options.out)
        settled = settle_or_resume(ready, None)
        if settled is None:
            return 0
        remember(ready, training, views="1x1", search=".")
        search_with_baselines(
            ready.plan, ready.data_config, ready.data, settled.search, out, resume=ready.options.resume
        )
    say(f"next: vidnas train --arch {out / 'searched.json'} --data {ready.options.data} --out {out / 'trained'}")
    return 0


def _training(settings: dict[str, Any] | None) -> "TrainConfig":
    """The training settings of a recipe, read as `vidnas run` does."""
    from vidnas.engine.config import TrainConfig

    parser = make_config_parser("search", "")
    parser.add_class_arguments(TrainConfig, "train")
    training: TrainConfig = parser.instantiate(parser.parse_object({"train": settings or {}})).train
    return training
