"""`vidnas train`: train a network on videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidnas.arch.registry import resolve
from vidnas.arch.spec import ArchSpec
from vidnas.base.log import is_first_process, log
from vidnas.cli.checkpoint import trained_in
from vidnas.cli.config_parser import make_config_parser
from vidnas.cli.data_options import add_data_options
from vidnas.cli.help import asks_for_first
from vidnas.cli.parsing import errors_on_rank_zero, new_folder

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser

# What `--help` shows.
_FIRST = (
    "arch", "data", "out", "config", "test", "weights", "clip", "sampling", "train.epochs", "train.batch_size",
    "train.lr", "resume", "views",
)  # fmt: skip


def run(argv: list[str]) -> int:
    """Train, then test."""
    options = _parse(argv)

    from vidnas.data.augment import Views
    from vidnas.data.datamodule import DataConfig
    from vidnas.data.formats import load_dataset
    from vidnas.engine.run.folder import RunFolder
    from vidnas.engine.trials.executors import IN_THIS_PROCESS, run_jobs
    from vidnas.engine.trials.job import TrialJob
    from vidnas.pipeline.lists import load_lists
    from vidnas.pipeline.out import check_out, check_unlike

    views = Views.parse(options.views)
    without_test = options.test == "none"
    data = DataConfig(
        path=Path(options.data),
        test_path=Path(options.test) if options.test and not without_test else None,
        group_regex=options.group_regex,
        follow_links=options.follow_links,
        **vars(options.clips),
    )
    if without_test:
        videos, tested = (
            load_dataset(data.path, group_regex=data.group_regex, follow_links=data.follow_links).train,
            None,
        )
        notices = videos.notices
    else:
        lists = load_lists(data)
        videos, tested, notices = lists.train, lists.test, lists.notices
    for notice in notices:
        log.info(f"note: {notice}")
    out = Path(options.out)
    check_out(out, data.path, [videos] if tested is None else [videos, tested])
    check_unlike(out, "train")
    spec = resolve(options.arch).with_classes(len(videos.classes), multi_label=videos.multi_label)
    job = TrialJob(
        spec=_with_clip(spec, options),
        folder=out,
        videos=videos,
        tested=tested,
        config=options.train,
        data=data,
        views=views,
        weights=None if options.weights is None else trained_in(Path(options.weights)),
        resume=options.resume,
    )
    (result,) = run_jobs(IN_THIS_PROCESS, [job], lambda *_: None)
    result.check()
    if result.test is not None and is_first_process():
        print(result.test.describe())
        print(f"results: {RunFolder(out).test}")
    return 0


def train_parser(*, whole: bool = True) -> "ConfigParser":
    """The options of `vidnas train`; without the settings of clips where `whole` is off."""
    from vidnas.engine.train.config import TrainConfig

    parser = make_config_parser(
        "train", "Train a network on videos, and test it at the end.", first=_FIRST, needs=("arch", "data", "out")
    )
    optional = str | None
    parser.add_argument(
        "--arch", type=optional, default=None, metavar="NAME|FILE", help="a name of `vidnas list`, or a spec file"
    )
    add_data_options(
        parser, test="test list, or none; default: beside --data, or a fifth of it", test_values="FOLDER|CSV|none"
    )
    parser.add_argument("--out", type=new_folder, default=None, metavar="FOLDER", help="run folder")
    parser.add_argument(
        "--weights",
        type=optional,
        default=None,
        metavar="FOLDER|FILE",
        help="start from these: a run folder, or a weight file, official ones too",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out if there is one")
    parser.add_argument(
        "--clip", type=optional, default=None, metavar="FRAMESxSIZE", help="as 16x56; default the network's"
    )
    parser.add_argument(
        "--sampling",
        type=Literal["stride", "uniform"] | None,
        default=None,
        help="how frames are taken: uniform over the whole video, or stride frames apart; default the network's",
    )
    parser.add_argument("--stride", type=float | None, default=None, help="distance of frames at the reference rate")
    parser.add_argument("--fps", type=float | None, default=None, help="reference rate of --stride")
    parser.add_argument(
        "--views", type=str, default="1x1", metavar="CLIPSxCROPS", help="of the test at the end, as 10x3"
    )
    parser.add_class_arguments(TrainConfig, "train")
    if whole:
        from vidnas.data.datamodule import NAMED_ALONE, DataConfig

        parser.add_class_arguments(DataConfig, "clips", skip=NAMED_ALONE, instantiate=False)
    return parser


def _parse(argv: list[str]) -> Any:
    with errors_on_rank_zero():
        return train_parser(whole=not asks_for_first(argv)).read(argv)


def _with_clip(spec: ArchSpec, options: Any) -> ArchSpec:
    clip = spec.clip.resized(options.clip) if options.clip else spec.clip
    given = {name: getattr(options, name) for name in ("sampling", "stride", "fps")}
    changes = {name: value for name, value in given.items() if value is not None}
    return ArchSpec.from_data({**spec.model_dump(), "clip": clip.model_dump() | changes}, "vidnas train")
