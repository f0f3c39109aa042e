"""`vidnas predict`: classify videos with a trained network."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.base.errors import VidnasError
from vidnas.base.log import log
from vidnas.cli.checkpoint import CHECKPOINT, load_checkpoint, trained_in, trained_jitter
from vidnas.cli.parsing import make_parser, positive
from vidnas.cli.video_files import find_videos
from vidnas.data.video_list import printable

if TYPE_CHECKING:
    from vidnas.deploy.predict import Prediction


def run(argv: list[str]) -> int:
    """Print the classes of each video; 1 where one could not be read, after all the others."""
    options = _parse(argv)

    from vidnas.data.augment import Views
    from vidnas.deploy.predict import Predictor
    from vidnas.engine.evaluate.results import describe_cost
    from vidnas.engine.run.runtime import choose_device, tune_allocator

    tune_allocator()
    network, info = load_checkpoint(trained_in(options.checkpoint))
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
    for word in options.videos:
        try:
            found = find_videos(word)
        except VidnasError as error:
            failed += 1
            _tell_failure(word, error, as_json=options.json)
            continue
        if found.others:
            log.warning(f"note: {printable(word)}: {found.others} files passed over: hidden or no videos")
        for path in found.files:
            try:
                prediction = predictor.predict(path, options.top)
            except VidnasError as error:
                failed += 1
                _tell_failure(str(path), error, as_json=options.json)
            else:
                _tell(prediction, as_json=options.json)
    return 1 if failed else 0


def _tell(prediction: "Prediction", *, as_json: bool) -> None:
    path = str(prediction.path)
    if prediction.notice is not None:
        log.warning(f"note: {printable(path)}: {prediction.notice}")
    if as_json:
        top = [{"class": name, "score": round(score, 6)} for name, score in prediction.top]
        # A name that is not UTF-8 keeps its bytes: os.fsencode gives them back.
        notice = {} if prediction.notice is None else {"notice": prediction.notice}
        print(json.dumps({"path": path, "top": top, **notice}))
    else:
        print(f"{printable(path)}: " + ", ".join(f"{name} {score:.1%}" for name, score in prediction.top))


def _tell_failure(path: str, error: VidnasError, *, as_json: bool) -> None:
    print(f"vidnas: error: {printable(str(error))}", file=sys.stderr)
    if as_json:
        print(json.dumps({"path": path, "error": printable(str(error))}))


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("predict", "Classify videos. Bad files are reported and the others still classified.")
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help=CHECKPOINT)
    parser.add_argument("videos", metavar="VIDEO", nargs="+", help="video files, and folders with videos in them")
    parser.add_argument("--top", type=positive, default=5, help="how many classes to print")
    parser.add_argument("--views", metavar="CLIPSxCROPS", default="10x1", help="clips and crops (1 or 3) of each video")
    parser.add_argument("--clip", metavar="FRAMESxSIZE", help="other than in training, as 13x182")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON object per video and line")
    return parser.parse_args(argv)
