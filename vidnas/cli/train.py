"""`vidnas train`: train a network on videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidnas.arch.registry import resolve
from vidnas.arch.spec import ArchSpec
from vidnas.cli.parsing import UsageError, make_config_parser, told_by_the_first

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser
    from vidnas.nn.build import VideoNetwork


def run(argv: list[str]) -> int:
    """Train, then test."""
    from vidnas.data.augment import Views
    from vidnas.data.datamodule import DataConfig
    from vidnas.data.formats import load_dataset
    from vidnas.engine.processes import is_first_process, say
    from vidnas.engine.run_folder import RunFolder
    from vidnas.engine.test import test
    from vidnas.engine.train import train
    from vidnas.pipeline.lists import load_lists
    from vidnas.pipeline.out import check_out

    options = _parse(argv)
    views = Views.parse(options.views)
    without_test = options.test == "none"
    data = DataConfig(
        path=Path(options.data),
        test_path=Path(options.test) if options.test and not without_test else None,
        group_regex=options.group_regex,
        **vars(options.clips),
    )
    if without_test:
        videos, tested = load_dataset(data.path, group_regex=data.group_regex).train, None
        notices = videos.notices
    else:
        lists = load_lists(data, options.train.seed)
        videos, tested, notices = lists.train, lists.test, lists.notices
    for notice in notices:
        say(f"note: {notice}")
    out = Path(options.out)
    check_out(out, data.path, [videos] if tested is None else [videos, tested])
    network = _network(options, len(videos.classes), say)
    with RunFolder(out).lock():
        result = train(network, videos, options.train, data, out, resume=options.resume, notify=say)
        if tested is None:
            return 0
        outcome = test(
            result.network,
            tested,
            data,
            views,
            batch_size=options.train.batch_size,
            precision=options.train.precision,
            device=options.train.device,
            devices=options.train.devices,
        )
        if is_first_process():
            outcome.save(result.folder.test)
            print(outcome.describe())
            print(f"results: {result.folder.test}")
    return 0


def train_parser() -> "ConfigParser":
    """The options of `vidnas train`."""
    from vidnas.data.datamodule import DataConfig
    from vidnas.engine.config import TrainConfig

    parser = make_config_parser("train", "Train a network on videos, and test it at the end.")
    optional = str | None
    parser.add_argument("--arch", type=optional, default=None, help="A name of `vidnas list`, or a spec file.")
    parser.add_argument("--data", type=optional, default=None, help="Folder of videos or CSV list (docs/data.md).")
    parser.add_argument(
        "--test", type=optional, default=None, help="Test list, or none; default: beside --data, or a fifth of it."
    )
    parser.add_argument("--group_regex", type=optional, default=None, help="Its first group on a path is never split.")
    parser.add_argument("--out", type=optional, default=None, help="Run folder.")
    parser.add_argument("--weights", type=optional, default=None, help="Start from these: a run folder or weight file.")
    parser.add_argument("--resume", action="store_true", help="Go on with the run in --out if there is one.")
    parser.add_argument("--clip", type=optional, default=None, help="Frames x size, as 16x56; default the network's.")
    parser.add_argument(
        "--sampling", type=Literal["stride", "uniform"] | None, default=None, help="How frames are taken."
    )
    parser.add_argument("--stride", type=float | None, default=None, help="Distance of frames at the reference rate.")
    parser.add_argument("--fps", type=float | None, default=None, help="Reference rate of --stride.")
    parser.add_argument("--views", type=str, default="1x1", help="Clips x crops of the test at the end, as 10x3.")
    parser.add_class_arguments(TrainConfig, "train")
    parser.add_class_arguments(DataConfig, "clips", skip={"path", "test_path", "group_regex"}, instantiate=False)
    return parser


def _parse(argv: list[str]) -> Any:
    with told_by_the_first():
        parser = train_parser()
        parsed = parser.parse_args(argv)
        for name in ("arch", "data", "out"):
            if getattr(parsed, name) is None:
                raise UsageError(f"vidnas train needs --{name}; see `vidnas train --help`")
        return parser.instantiate(parsed)


def _network(options: Any, num_classes: int, say: Any) -> "ArchSpec | VideoNetwork":
    """The spec with the list's classes and the clip asked for, or the network with the weights given."""
    import torch

    from vidnas.nn.weights import build_with_weights

    spec = resolve(options.arch).with_classes(num_classes)
    spec = _with_clip(spec, options)
    if options.weights is None:
        return spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.train.seed)
        network, report = build_with_weights(spec, options.weights)
    say(report.table())
    return network


def _with_clip(spec: ArchSpec, options: Any) -> ArchSpec:
    clip = spec.clip.resized(options.clip) if options.clip else spec.clip
    given = {name: getattr(options, name) for name in ("sampling", "stride", "fps")}
    changes = {name: value for name, value in given.items() if value is not None}
    return ArchSpec.from_data({**spec.model_dump(), "clip": clip.model_dump() | changes}, "vidnas train")
