"""`vidnas test`: accuracy of a trained network on a list of videos."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.base.log import is_first_process, log
from vidnas.cli.checkpoint import CHECKPOINT, load_checkpoint, trained_in, trained_jitter
from vidnas.cli.parsing import make_parser, natural, new_folder, positive

if TYPE_CHECKING:
    from vidnas.data.datamodule import DataConfig
    from vidnas.data.formats import VideoList
    from vidnas.nn.weights import ModelInfo


def run(argv: list[str]) -> int:
    """Test, print the figures, and write the results."""
    options = _parse(argv)

    from vidnas.arch.cost import network_cost
    from vidnas.data.augment import Views
    from vidnas.data.datamodule import DataConfig
    from vidnas.engine.evaluate.evaluate import evaluate
    from vidnas.engine.run.folder import RunFolder
    from vidnas.engine.run.runtime import set_threads, tune_allocator
    from vidnas.pipeline.out import check_out, check_unlike

    tune_allocator()
    set_threads(options.threads)
    views = Views.parse(options.views)
    checkpoint = trained_in(options.checkpoint)
    network, info = load_checkpoint(checkpoint)
    clip = info.clip.resized(options.clip) if options.clip else info.clip
    data = DataConfig(
        path=options.data,
        group_regex=info.config.get("group_regex"),
        follow_links=options.follow_links,
        jitter=trained_jitter(info),
        workers=options.workers,
        memory_budget_mib=options.memory_budget_mib,
        cache_dir=options.cache_dir,
    )
    videos, notices = _test_list(data, info)
    for notice in notices:
        log.info(f"note: {notice}")
    log.info(f"{len(videos)} videos, {network_cost(info.spec, clip)} per clip, {views} views")
    trained = RunFolder(checkpoint)
    out = Path(options.out) if options.out else trained.test if checkpoint.is_dir() else Path("test")
    check_out(out, data.path, [videos])
    check_unlike(out, "test")
    with (trained if out == trained.test else RunFolder(out)).lock():
        result = evaluate(
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
    from vidnas.data.formats import KnownClasses, load_list
    from vidnas.engine.evaluate.evaluate import with_classes
    from vidnas.pipeline.lists import load_lists

    if not data.path.is_dir():
        known = KnownClasses(
            info.classes, "the network", info.config.get("numbered", False), info.spec.head.kind == "multi_label"
        )
        videos = load_list(data.path, classes=known, follow_links=data.follow_links)
        return videos, videos.notices
    lists = load_lists(data)
    notices = lists.notices
    if info.config.get("list") != lists.train.content_hash:
        notices += ("not the data set that the network was trained on; it may have seen some of these videos",)
    return with_classes(lists.test, info.classes), notices


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser(
        "test", "Accuracy of a trained network: top-1, top-5 or mAP, per class, scores of every video."
    )
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help=CHECKPOINT)
    parser.add_argument(
        "--data",
        metavar="FOLDER|CSV",
        type=Path,
        required=True,
        help="test list (CSV file), or a data set whose test part is used",
    )
    parser.add_argument("--follow-links", action="store_true", help="also follow links out of the data's folder")
    parser.add_argument(
        "--views",
        metavar="CLIPSxCROPS",
        default="10x3",
        help="clips and crops (1 or 3) of each video, as in the papers",
    )
    parser.add_argument("--clip", metavar="FRAMESxSIZE", help="other than in training, as 13x182")
    parser.add_argument("--out", metavar="FOLDER", type=new_folder, help="folder of the results; default CKPT/test")
    parser.add_argument("--batch-size", type=positive, default=16, help="clips that go through the network at once")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="bf16, or fp16 on a GPU, is mixed"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--devices", type=positive, default=1, help="processes that share the list")
    parser.add_argument("--threads", type=positive, help="CPU threads; default torch's choice")
    parser.add_argument("--workers", type=natural, default=2, help="processes that decode; 0 is none beside this one")
    parser.add_argument(
        "--memory-budget-mib",
        type=float,
        default=2048,
        help="frames that take no more than this are decoded once into a cache; 0 keeps none (docs/data.md)",
    )
    parser.add_argument(
        "--cache-dir", metavar="FOLDER", type=Path, help="folder of decoded frames; default the user's cache folder"
    )
    return parser.parse_args(argv)
