"""The options of `vidnas search` and `vidnas run`, and the request that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidnas.arch.cost import parse_amount
from vidnas.cli.config_parser import make_config_parser
from vidnas.cli.data_options import add_data_options
from vidnas.cli.parsing import UsageError, errors_on_rank_zero, new_folder
from vidnas.pipeline.method import HALF

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.pipeline.prepare import SearchRequest
    from vidnas.pipeline.prepare_race import RaceInputs

# What `--help` shows.
FIRST = (
    "data", "target_macs", "target_ms", "out", "config", "test", "group_regex", "space", "clip", "sampling", "resume",
    "dry_run", "max_hours",
)  # fmt: skip


def search_parser(verb: str, description: str, *, whole: bool, first: Sequence[str] = FIRST) -> "ConfigParser":
    """The options of a search; those that `--help` shows first are there even where `whole` is off."""
    parser = make_config_parser(verb, description, first=first, needs=("data", "out"))
    add_data_options(parser, test="test list, where it is not beside the training list", test_values="FOLDER|CSV")
    add_budget_options(parser)
    parser.add_argument("--out", type=new_folder, metavar="FOLDER", help="run folder")
    parser.add_argument(
        "--space",
        type=str,
        default="auto",
        metavar="NAME|FILE",
        help="auto, autox3d, auto_tsnet, tiny, or a file (`vidnas space`)",
    )
    parser.add_argument("--streams", type=Literal[1, 2], default=1, help="with --space auto: 2 searches two streams")
    add_clip_options(parser, by_default="by a race or a look at the videos")
    parser.add_argument(
        "--progressive", action="store_true", help="two streams in steps: stream 0, stream 1 with fusions, attention"
    )
    parser.add_argument(
        "--step_targets",
        type=str | None,
        default=None,
        metavar="AMOUNT,AMOUNT",
        help="multiply-adds of the first two steps, as 28M,40M; default by what attention may cost",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--dry_run", action="store_true", help="say what would be done and how long it takes, and stop")
    parser.add_argument("--max_hours", type=float | None, default=None, help="fewer trainings or epochs, to fit")
    if whole:
        from vidnas.data.datamodule import NAMED_ALONE, DataConfig
        from vidnas.engine.supernet.config import SearchConfig

        parser.add_class_arguments(SearchConfig, "search")
        parser.add_class_arguments(DataConfig, "clips", skip=NAMED_ALONE, instantiate=False)
    return parser


def add_budget_options(parser: "ConfigParser") -> None:
    """Add a budget in every metric, and how milliseconds are measured."""
    parser.add_argument(
        "--target_macs",
        type=str | None,
        default=None,
        metavar="AMOUNT",
        help="budget: multiply-adds of one clip, as 50M, 0.5G",
    )
    parser.add_argument(
        "--target_params", type=str | None, default=None, metavar="AMOUNT", help="budget: parameters, as 1.5M"
    )
    parser.add_argument(
        "--target_activations",
        type=str | None,
        default=None,
        metavar="AMOUNT",
        help="budget: elements that layers put out for one clip, as 5M",
    )
    parser.add_argument(
        "--target_ms", type=float | None, default=None, help="budget: milliseconds of one clip on --device, as 30"
    )
    parser.add_argument(
        "--device",
        type=Literal["cpu", "cuda", "openvino"] | None,
        default=None,
        help="what --target-ms is measured on; default cpu",
    )
    parser.add_argument(
        "--latency_table",
        type=str | None,
        default=None,
        metavar="FILE",
        help="where its measurements are kept; default OUT/latency.json",
    )


def add_clip_options(parser: "ConfigParser", *, by_default: str) -> None:
    """Add `--clip` and how its frames are taken.

    Args:
        parser: of the verb.
        by_default: who chooses the clip otherwise, in words.
    """
    parser.add_argument(
        "--clip", type=str | None, default=None, metavar="FRAMESxSIZE", help=f"as 16x56; default {by_default}"
    )
    parser.add_argument(
        "--sampling",
        type=Literal["stride", "uniform"] | None,
        default=None,
        help="how frames are taken: uniform over the whole video, or stride frames apart; needs --clip",
    )
    parser.add_argument(
        "--stride", type=float | None, default=None, help="distance of frames at the reference rate; needs --clip"
    )
    parser.add_argument("--fps", type=float, default=30.0, help="reference rate of --stride")


def read_request(parser: "ConfigParser", argv: Sequence[str], search_folder: str) -> "tuple[Any, SearchRequest]":
    """Parse the options of `search_parser`: as they are, and as a request."""
    with errors_on_rank_zero():
        options = parser.read(argv)
        targets = read_targets(options)
        step_macs = _step_macs(options, targets)
        check_hours(options.max_hours)

    from vidnas.data.datamodule import DataConfig
    from vidnas.pipeline.out import check_unlike
    from vidnas.pipeline.plan import SpaceChoice
    from vidnas.pipeline.prepare import SearchRequest

    out = Path(options.out)
    with errors_on_rank_zero():
        check_unlike(out, parser.prog.removeprefix("vidnas "))
        data = DataConfig(
            path=Path(options.data),
            test_path=Path(options.test) if options.test else None,
            group_regex=options.group_regex,
            follow_links=options.follow_links,
            **vars(options.clips),
        )
    return options, SearchRequest(
        out=out,
        data=data,
        targets=targets,
        space=SpaceChoice(options.space, options.streams, options.clip, options.sampling, options.stride, options.fps),
        search=options.search,
        device=options.device or "cpu",
        latency_table=Path(options.latency_table) if options.latency_table else None,
        resume=options.resume,
        dry_run=options.dry_run,
        max_hours=options.max_hours,
        search_folder=search_folder,
        progressive=options.progressive,
        step_macs=step_macs,
    )


def check_hours(hours: float | None) -> None:
    """Refuse `--max-hours` of no time.

    Raises:
        UsageError: not above 0.
    """
    if hours is not None and not hours > 0:
        raise UsageError(f"--max-hours {hours:g}: give hours above 0")


def at_its_clip(request: "SearchRequest", prepared: "RaceInputs") -> "SearchRequest":
    """What is left for the supernet: the clip that the race has chosen, and its part of the hours."""
    hours = request.max_hours and (1 - HALF) * request.max_hours
    return replace(request, space=prepared.space_at_clip(request.space), max_hours=hours)


def read_targets(options: Any) -> dict[str, float]:
    """The budgets that were given, by metric; at least one.

    Raises:
        VidnasError: an amount that is none.
        UsageError: no budget.
    """
    words = {"macs": "multiply-adds of one clip", "params": "parameters", "activations": "activations of one clip"}
    given = {metric: getattr(options, f"target_{metric}") for metric in words}
    targets = {
        metric: parse_amount(text, words[metric], f"--target-{metric}")
        for metric, text in given.items()
        if text is not None
    }
    if options.target_ms is not None:
        if options.target_ms <= 0:
            raise UsageError(f"--target-ms {options.target_ms:g}: give milliseconds above 0")
        targets["ms"] = options.target_ms
    elif options.device is not None:
        raise UsageError(
            f"--device {options.device}: is what --target-ms is measured on; networks are trained on --train.device"
        )
    if not targets:
        raise UsageError("give a budget: --target-macs (as 50M), --target-ms, --target-params or --target-activations")
    return targets


def _step_macs(options: Any, targets: Mapping[str, float]) -> tuple[float, ...] | None:
    """The multiply-adds of the first steps of a progressive search, where they are given."""
    if options.progressive and options.space == "auto" and options.streams == 1:
        raise UsageError("--progressive: goes from stream to stream; add --streams 2, or name a --space of two streams")
    if options.progressive and "ms" in targets:
        raise UsageError("--target-ms: steps are held to multiply-adds, parameters or activations; leave one out")
    if options.step_targets is None:
        return None
    if not options.progressive:
        raise UsageError("--step-targets: they are those of a --progressive search; add it or leave them out")
    if "macs" not in targets:
        raise UsageError("--step-targets: multiply-adds of steps need those of the whole; add --target-macs")
    amounts = options.step_targets.split(",")
    if len(amounts) != 2:
        raise UsageError(f"--step-targets {options.step_targets}: give those of the first two steps, as 28M,40M")
    return tuple(parse_amount(text.strip(), name="--step-targets") for text in amounts)
