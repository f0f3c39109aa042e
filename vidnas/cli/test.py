"""`vidnas test`: accuracy of a trained network on a list of videos."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.cli.parsing import make_parser

if TYPE_CHECKING:
    from vidnas.data.datamodule import DataConfig
    from vidnas.data.formats import VideoList
    from vidnas.nn.weights import ModelInfo


def run(argv: list[str]) -> int:
    """Test, print the figures, and write the results."""
    options = _parse(argv)

    from vidnas.arch.cost import network_cost
    from vidnas.cli.checkpoint import load_checkpoint, trained_jitter
    from vidnas.data.augment import Views
    from vidnas.data.datamodule import DataConfig
    from vidnas.engine.processes import is_first_process, say
    from vidnas.engine.run_folder import RunFolder
    from vidnas.engine.runtime import set_threads, tune_allocator
    from vidnas.engine.test import test
    from vidnas.pipeline.out import check_out

    tune_allocator()
    set_threads(options.threads)
    views = Views.parse(options.views)
    network, info = load_checkpoint(options.checkpoint)
    clip = info.clip.resized(options.clip) if options.clip else info.clip
    data = DataConfig(
        path=options.data,
        group_regex=info.config.get("group_regex"),
        jitter=trained_jitter(info),
        workers=options.workers,
        memory_budget_mib=options.memory_budget_mib,
        cache_dir=options.cache_dir,
    )
    videos, notices = _test_list(data, info)
    for notice in notices:
        say(f"note: {notice}")
    say(f"{len(videos)} videos, {network_cost(info.spec, clip)} per clip, {views} views")
    trained = RunFolder(options.checkpoint)
    out = options.out or (trained.test if options.checkpoint.is_dir() else Path("test"))
    check_out(out, data.path, [videos])
    with (trained if out == trained.test else RunFolder(out)).lock():
        result = test(
            network,
            videos,
            data,
            views,
            clip=clip,
            batch_size=options.batch_size,
            precision=options.precision,
            device=options.device,
            devices=options.devices,
        )
        if is_first_process():
            result.save(out)
            print(result.describe())
            print(f"results: {out}")
    return 0


def _test_list(data: "DataConfig", info: "ModelInfo") -> "tuple[VideoList, tuple[str, ...]]":
    """The whole of a CSV file, or the test part of a data set, and what the user should know about it."""
    from vidnas.data.formats import load_list
    from vidnas.engine.test import with_classes
    from vidnas.pipeline.lists import load_lists

    if not data.path.is_dir():
        videos = load_list(data.path, classes=info.classes)
        return videos, videos.notices
    lists = load_lists(data, info.config.get("identity", {}).get("settings", {}).get("train.seed", 0))
    notices = lists.notices
    if info.config.get("list") != lists.train.content_hash:
        notices += ("not the data set that the network was trained on; it may have seen some of these videos",)
    return with_classes(lists.test, info.classes), notices


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("test", "Accuracy of a trained network: top-1, top-5, per class, and scores of every video.")
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="a run folder, or its model.safetensors")
    parser.add_argument(
        "--data", type=Path, required=True, help="test list (CSV file), or a data set whose test part is used"
    )
    parser.add_argument(
        "--views", default="10x3", help="clips x crops (1 or 3) per video; default 10x3, as in the papers"
    )
    parser.add_argument("--clip", help="other frames and crop than in training, as 13x182")
    parser.add_argument("--out", type=Path, help="folder of the results; default CKPT/test")
    parser.add_argument("--batch-size", type=int, default=16, help="clips that go through the network at once")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--devices", type=int, default=1, help="processes that share the list")
    parser.add_argument("--threads", type=int, help="CPU threads; default torch's choice")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode")
    parser.add_argument("--memory-budget-mib", type=float, default=2048, help="see docs/data.md; 0 keeps no frames")
    parser.add_argument("--cache-dir", type=Path, help="folder of decoded frames; the user's cache by default")
    return parser.parse_args(argv)
