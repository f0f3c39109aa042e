"""`vidnas race`: the best clip and network for a data set and a budget, judged by full trainings."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.arch.cost import parse_amount
from vidnas.base.log import log
from vidnas.cli.config_parser import make_config_parser
from vidnas.cli.data_options import add_data_options
from vidnas.cli.executor_options import add_executor_options, one_per_core
from vidnas.cli.help import asks_for_first
from vidnas.cli.parsing import new_folder
from vidnas.cli.search_options import add_clip_options, add_macs_option, check_hours
from vidnas.pipeline.race.config import RaceConfig

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser

# What `--help` shows.
_FIRST = (
    "data", "target_macs", "out", "config", "test", "group_regex", "clip", "sampling", "race.trials", "max_hours",
    "parallel", "executor", "resume",
)  # fmt: skip


def run(argv: list[str]) -> int:
    """Race; returns the exit code."""
    options = _parser(whole=not asks_for_first(argv)).read(argv)

    from vidnas.data.datamodule import DataConfig
    from vidnas.engine.run.folder import RunFolder
    from vidnas.pipeline.lists import holding, load_lists
    from vidnas.pipeline.out import check_out, check_unlike
    from vidnas.pipeline.plan import SpaceChoice, chosen_clip
    from vidnas.pipeline.race.course import Course
    from vidnas.pipeline.race.race import Race

    check_hours(options.max_hours)
    macs = parse_amount(options.target_macs, "multiply-adds of one clip", "--target-macs")
    out = Path(options.out)
    check_unlike(out, "race")
    data = DataConfig(
        path=Path(options.data),
        test_path=Path(options.test) if options.test else None,
        group_regex=options.group_regex,
        follow_links=options.follow_links,
        **vars(options.clips),
    )
    lists = load_lists(data, options.race.seed)
    for notice in lists.notices:
        log.info(f"note: {notice}")
    check_out(out, data.path, (lists.train, lists.test))
    held = holding(lists.train)
    choice = SpaceChoice(clip=options.clip, sampling=options.sampling, stride=options.stride, fps=options.fps)
    course = Course(lists.train, held, macs, chosen_clip(choice, held))
    training = options.train
    with RunFolder(out).lock(), one_per_core(options) as executor:
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
    winner, trained = (shlex.quote(str(out / name)) for name in ("winner.json", "trained"))
    log.info(f"next: vidnas train --arch {winner} --data {shlex.quote(options.data)} --out {trained}")
    return 0


def _parser(*, whole: bool) -> "ConfigParser":
    description = "Race clips and networks of a cost on folds of the training list; every one is trained to the end."
    parser = make_config_parser("race", description, first=_FIRST, needs=("data", "target_macs", "out"))
    add_data_options(parser, test="test list, where it is not beside the training list", test_values="FOLDER|CSV")
    add_macs_option(parser)
    parser.add_argument("--out", type=new_folder, metavar="FOLDER", help="run folder")
    add_clip_options(parser, by_default="by a race of clips")
    add_executor_options(parser, by_default="one per core")
    parser.add_argument("--max_hours", type=float | None, default=None, help="fewer trainings, so that they fit")
    parser.add_argument("--resume", action="store_true", help="go on with the race in --out")
    parser.add_class_arguments(RaceConfig, "race")
    if whole:
        from vidnas.data.datamodule import NAMED_ALONE, DataConfig
        from vidnas.engine.train.config import TrainConfig

        parser.add_class_arguments(TrainConfig, "train")
        parser.add_class_arguments(DataConfig, "clips", skip=NAMED_ALONE, instantiate=False)
    return parser
