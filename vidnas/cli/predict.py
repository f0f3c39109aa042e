"""`vidnas predict`: classify videos with a trained network."""

import argparse
import json
import sys
from pathlib import Path

from vidnas.cli.parsing import make_parser
from vidnas.errors import VidnasError


def run(argv: list[str]) -> int:
    """Print the classes of each video; 1 where one could not be read, after all the others."""
    options = _parse(argv)

    from vidnas.cli.checkpoint import load_checkpoint, trained_jitter
    from vidnas.data.augment import Views
    from vidnas.deploy.predict import Predictor
    from vidnas.engine.results import describe_cost
    from vidnas.engine.runtime import choose_device, tune_allocator

    tune_allocator()
    network, info = load_checkpoint(options.checkpoint)
    predictor = Predictor(
        network,
        info.classes,
        Views.parse(options.views),
        clip=info.clip.resized(options.clip) if options.clip else None,
        jitter=trained_jitter(info),
        device=choose_device(options.device),
    )
    print(describe_cost(options.views, predictor.macs_per_view, str(predictor.seen_clip)), file=sys.stderr)
    failed = 0
    for path in options.videos:
        try:
            top = predictor.predict(path, options.top).top
        except VidnasError as error:
            failed += 1
            print(f"vidnas: error: {error}", file=sys.stderr)
            if options.json:
                print(json.dumps({"path": str(path), "error": str(error)}))
            continue
        if options.json:
            classes = [{"class": name, "score": round(score, 6)} for name, score in top]
            print(json.dumps({"path": str(path), "top": classes}))
        else:
            print(f"{path}: " + ", ".join(f"{name} {score:.1%}" for name, score in top))
    return 1 if failed else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("predict", "Classify videos. Bad files are reported and the others still classified.")
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="a run folder, or its model.safetensors")
    parser.add_argument("videos", metavar="VIDEO", type=Path, nargs="+", help="video files")
    parser.add_argument("--top", type=_positive, default=5, help="how many classes to print (default 5)")
    parser.add_argument("--views", default="10x1", help="clips x crops (1 or 3) per video; default 10x1")
    parser.add_argument("--clip", help="other frames and crop than in training, as 13x182")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON object per video and line")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value
