"""What `vidnas search` and `vidnas run` share: options, and the way from them to settled settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidnas.arch.cost import parse_amount
from vidnas.base.errors import VidnasError
from vidnas.base.log import is_first_process, log
from vidnas.cli.data_options import add_data_options
from vidnas.cli.parsing import UsageError, make_config_parser, new_folder, told_by_the_first

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.data.datamodule import DataConfig
    from vidnas.engine.config import TrainConfig
    from vidnas.engine.search_config import SearchConfig
    from vidnas.pipeline.latency import MeasuredLatency
    from vidnas.pipeline.lists import Lists
    from vidnas.pipeline.plan import SearchPlan
    from vidnas.pipeline.search import SearchData
    from vidnas.pipeline.settle import Settled


@dataclass(frozen=True)
class Prepared:
    """What a search needs to start; `search` is as given, and the file `settled` keeps it after any time limit."""

    options: Any
    lists: "Lists"
    plan: "SearchPlan"
    data_config: "DataConfig"
    data: "SearchData"
    search: "SearchConfig"
    settled: Path


# What `--help` shows.
FIRST = (
    "data", "target_macs", "target_ms", "out", "config", "test", "group_regex", "space", "clip", "sampling", "resume",
    "dry_run", "max_hours",
)  # fmt: skip


def search_parser(verb: str, description: str, *, whole: bool, first: Sequence[str] = FIRST) -> "ConfigParser":
    """The options of a search; those that `--help` shows first are there even where `whole` is off."""
    parser = make_config_parser(verb, description, first=first, needs=("data", "out"))
    add_data_options(parser, test="test list, where it is not beside the training list", test_values="FOLDER|CSV")
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
        "--device", type=Literal["cpu", "cuda", "openvino"], default="cpu", help="what --target-ms is measured on"
    )
    parser.add_argument(
        "--latency_table",
        type=str | None,
        default=None,
        metavar="FILE",
        help="where its measurements are kept; default OUT/latency.json",
    )
    parser.add_argument("--out", type=new_folder, metavar="FOLDER", help="run folder")
    parser.add_argument(
        "--space", type=str, default="auto", metavar="NAME|FILE", help="auto, autox3d, tiny, or a file (`vidnas space`)"
    )
    parser.add_argument(
        "--clip", type=str | None, default=None, metavar="FRAMESxSIZE", help="as 16x56; default by the space"
    )
    parser.add_argument(
        "--sampling",
        type=Literal["stride", "uniform"] | None,
        default=None,
        help="how frames are taken: uniform over the whole video, or stride frames apart; default by the space",
    )
    parser.add_argument(
        "--stride", type=float | None, default=None, help="distance of frames at the reference rate; needs --clip"
    )
    parser.add_argument("--fps", type=float, default=30.0, help="reference rate of --stride")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--dry_run", action="store_true", help="print space, time, memory and disk, and stop")
    parser.add_argument("--max_hours", type=float | None, default=None, help="fewer epochs, so that it fits")
    if whole:
        from vidnas.data.datamodule import NAMED_ALONE, DataConfig
        from vidnas.engine.search_config import SearchConfig

        parser.add_class_arguments(SearchConfig, "search")
        parser.add_class_arguments(DataConfig, "clips", skip=NAMED_ALONE, instantiate=False)
    return parser


@contextmanager
def prepared(parser: "ConfigParser", argv: Sequence[str], search: str) -> "Iterator[Prepared]":
    """Parse, meet the other processes, read the lists and choose the space; prints what was chosen.

    The run folder is kept from other commands until the end, unless this is a dry run; `search` is the search's folder
    in it.
    """
    with told_by_the_first():
        options = parser.read(argv)
        targets = _targets(options)

    from vidnas.engine.processes import together
    from vidnas.pipeline.out import check_unlike
    from vidnas.pipeline.search import prepare_process, with_threads_begun

    with told_by_the_first():
        check_unlike(Path(options.out), parser.prog.removeprefix("vidnas "))
        config, threads = options.search, None
        if options.resume:
            config, threads = with_threads_begun(config, Path(options.out) / search)
    config = prepare_process(config, threads)
    with ExitStack() as held:
        yield together(_prepare, options, targets, config, held)


def _prepare(options: Any, targets: dict[str, float], search: "SearchConfig", held: ExitStack) -> Prepared:
    from vidnas.data.datamodule import DataConfig
    from vidnas.data.groups import group_notice
    from vidnas.data.sampler import repeat_notice
    from vidnas.pipeline.lists import SEARCH_PARTS, load_lists
    from vidnas.pipeline.out import check_out
    from vidnas.pipeline.plan import SpaceChoice, plan_search
    from vidnas.pipeline.search import SearchData

    _refuse_another_run(options)
    data_config = DataConfig(
        path=Path(options.data),
        test_path=Path(options.test) if options.test else None,
        group_regex=options.group_regex,
        follow_links=options.follow_links,
        **vars(options.clips),
    )
    lists = load_lists(data_config, search.seed, parts=SEARCH_PARTS)
    for notice in lists.notices:
        log.info(f"note: {notice}")
    check_out(Path(options.out), data_config.path, (lists.train, lists.test))
    if "ms" in targets and options.latency_table is None:  # which is measured into the run folder
        _hold(options, held)
    choice = SpaceChoice(options.space, options.clip, options.sampling, options.stride, options.fps)
    plan = plan_search(lists.train, targets, choice, search.seed, _latency(options, targets))
    log.info(plan.explanation)
    sizes = ", ".join(f"{len(part)} for {name}" for name, part in plan.parts.items())
    log.info(f"{len(lists.train)} training videos ({sizes}), {len(lists.test)} test videos")
    if told := group_notice(plan.parts):
        log.info(f"note: {told}")
    for part, size, option in (
        ("weights", search.batch_size, "--search.batch-size"),
        ("alpha", search.score_batch_size, "--search.alpha-batch-size"),
    ):
        if repeats := repeat_notice(size, len(plan.parts[part]), part, option):
            log.info(repeats)
    if not options.dry_run:
        _hold(options, held)
    data = SearchData(plan, data_config, search)
    return Prepared(options, lists, plan, data_config, data, search, _settled(options))


def _settled(options: Any) -> Path:
    """The first file of a run."""
    return Path(options.out) / "settled.json"


def _refuse_another_run(options: Any) -> None:
    if _settled(options).exists() and not (options.resume or options.dry_run):
        raise VidnasError(f"{options.out}: holds a run already; add --resume to go on with it, or choose another --out")


def _hold(options: Any, held: ExitStack) -> None:
    """Keep the run folder, before anything is written there."""
    from vidnas.engine.run_folder import RunFolder

    held.enter_context(RunFolder(Path(options.out)).lock())
    _refuse_another_run(options)  # one may have come and gone meanwhile


def _targets(options: Any) -> dict[str, float]:
    """The budgets that were given, by metric; at least one."""
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
    if not targets:
        raise UsageError("give a budget: --target-macs (as 50M), --target-ms, --target-params or --target-activations")
    return targets


def _latency(options: Any, targets: Mapping[str, float]) -> "MeasuredLatency | None":
    """What knows milliseconds, where a budget needs it."""
    from vidnas.engine.processes import process_count

    if "ms" not in targets:
        return None
    from vidnas.pipeline.latency import MeasuredLatency

    path = Path(options.latency_table or Path(options.out) / "latency.json")
    if process_count() > 1 and not path.exists():
        raise VidnasError(
            f"{path}: one process must measure this latency table: give the command once with --dry-run, no torchrun"
        )
    return MeasuredLatency(options.device, path)


def settle_or_resume(ready: Prepared, training: "TrainConfig | None") -> "Settled | None":
    """The settings after any time limit, with the estimate printed; None for a dry run."""
    from vidnas.engine.processes import together
    from vidnas.pipeline.settle import keep, kept, settle

    settled = together(kept, ready.search, training, ready.settled) if ready.options.resume else None
    fresh = settled is None
    if settled is None:
        settled = settle(ready.plan, ready.data, ready.search, training, ready.options.max_hours)
    log.info(settled.line)
    if ready.options.dry_run:
        return None
    if fresh and is_first_process():
        keep(settled, ready.settled)
    return settled


def remember(ready: Prepared, training: "TrainConfig", *, views: str, search: str) -> None:
    """Note in the run folder what `vidnas derive`, `pareto` and `rank` must know; `search` is the search's folder."""
    from vidnas.pipeline.job import Job, keep_job, list_hashes

    if is_first_process():
        keep_job(Job(search, ready.data_config, training, views, list_hashes(ready.lists)), Path(ready.options.out))
