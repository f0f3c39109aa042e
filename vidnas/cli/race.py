"""`vidnas race`: the best clip and network for a data set and its budgets, judged by full trainings."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.base.log import log
from vidnas.cli.config_parser import make_config_parser
from vidnas.cli.data_options import add_data_options
from vidnas.cli.executor_options import PER_CORE, add_executor_options, one_per_core
from vidnas.cli.help import asks_for_first
from vidnas.cli.next_command import train_command
from vidnas.cli.parsing import UsageError, errors_on_rank_zero, new_folder
from vidnas.cli.search_options import add_budget_options, add_clip_options, check_hours, read_targets
from vidnas.pipeline.race.config import RaceConfig

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser

# What `--help` shows.
_FIRST = (
    "data", "target_macs", "target_ms", "out", "config", "test", "group_regex", "clip", "sampling", "race.trials",
    "max_hours", "parallel", "executor", "resume",
)  # fmt: skip


def run(argv: list[str]) -> int:
    """Race; returns the exit code."""
    options = _parser(whole=not asks_for_first(argv)).read(argv)

    from vidnas.data.datamodule import DataConfig
    from vidnas.engine.run.folder import RunFolder
    from vidnas.engine.run.processes import launched
    from vidnas.pipeline.latency import measured_latency
    from vidnas.pipeline.lists import holding, load_lists
    from vidnas.pipeline.out import check_out, check_unlike
    from vidnas.pipeline.plan import SpaceChoice, chosen_clip
    from vidnas.pipeline.prepare_race import check_table
    from vidnas.pipeline.race.course import Course
    from vidnas.pipeline.race.race import Race
    from vidnas.search.limits import Limits

    if math.prod(launched()) > 1:
        with errors_on_rank_zero():
            raise UsageError("vidnas race: it runs its trainings beside each other by itself; leave torchrun out")
    check_hours(options.max_hours)
    targets = read_targets(options)
    table = Path(options.latency_table) if options.latency_table else None
    out = Path(options.out)
    check_unlike(out, "race")
    data = DataConfig(
        path=Path(options.data),
        test_path=Path(options.test) if options.test else None,
        group_regex=options.group_regex,
        follow_links=options.follow_links,
        **vars(options.clips),
    )
    lists = load_lists(data)
    for notice in lists.notices:
        log.info(f"note: {notice}")
    check_out(out, data.path, (lists.train, lists.test))
    held = holding(lists.train)
    choice = SpaceChoice(clip=options.clip, sampling=options.sampling, stride=options.stride, fps=options.fps)
    training = options.train
    with RunFolder(out).lock(), one_per_core(options) as executor:
        latency = measured_latency(targets, options.device or "cpu", out, table)
        course = Course(lists.train, held, Limits(targets, latency), chosen_clip(choice, held))
        if table is not None:
            check_table(table, course)
        race = Race(
            course,
            data,
            training,
            options.race,
            out,
            executor,
            resume=options.resume,
            max_hours=options.max_hours,
        )
        race.choose_clip()
        race.choose_network()
    log.info(f"next: {train_command(options, out / 'winner.json', out / 'trained')}")
    return 0


def _parser(*, whole: bool) -> "ConfigParser":
    description = "Race clips and networks within budgets on folds of the training list; all are trained to the end."
    parser = make_config_parser("race", description, first=_FIRST, needs=("data", "out"))
    add_data_options(parser, test="test list, where it is not beside the training list", test_values="FOLDER|CSV")
    add_budget_options(parser)
    parser.add_argument("--out", type=new_folder, metavar="FOLDER", help="run folder")
    add_clip_options(parser, by_default="by a race of clips")
    add_executor_options(parser, by_default=PER_CORE)
    parser.add_argument("--max_hours", type=float | None, default=None, help="fewer trainings, so that they fit")
    parser.add_argument("--resume", action="store_true", help="go on with the race in --out")
    parser.add_class_arguments(RaceConfig, "race")
    if whole:
        from vidnas.data.datamodule import NAMED_ALONE, DataConfig
        from vidnas.engine.train.config import TrainConfig

        parser.add_class_arguments(TrainConfig, "train")
        parser.add_class_arguments(DataConfig, "clips", skip=NAMED_ALONE, instantiate=False)
    return parser
