"""`vidnas data generate`: a small data set of real video files whose classes only motion tells apart."""

from pathlib import Path

from vidnas.cli.parsing import make_parser, natural, positive
from vidnas.errors import VidnasError


def generate(argv: list[str]) -> int:
    """Write the data set; returns the exit code."""
    from vidnas.data.synthetic import CLASSES, write_dataset

    parser = make_parser(
        "data generate",
        "Write a procedural data set as H.264 files: drifting, turning and growing objects on textured, shaking "
        "backgrounds. No single frame tells the classes apart.",
    )
    parser.add_argument("out", metavar="FOLDER", type=Path, help="folder; must not hold lists already")
    parser.add_argument("--classes", metavar="A,B,...", help=f"out of {', '.join(CLASSES)} (default: all)")
    parser.add_argument("--train", type=positive, default=60, help="training videos per class (default: 60)")
    parser.add_argument("--test", type=positive, default=20, help="test videos per class (default: 20)")
    parser.add_argument("--size", metavar="PIXELS", type=positive, default=64, help="side of the frames (default: 64)")
    parser.add_argument("--frames", type=positive, default=24, help="frames per video (default: 24)")
    parser.add_argument("--seed", type=natural, default=0, help="of everything that is drawn (default: 0)")
    options = parser.parse_args(argv)
    if (options.out / "train.csv").exists():
        raise VidnasError(f"{options.out}: holds train.csv already; give another folder")
    classes = options.classes.split(",") if options.classes else None
    write_dataset(
        options.out,
        classes=classes,
        train_per_class=options.train,
        test_per_class=options.test,
        size=(options.size, options.size),
        frames=options.frames,
        seed=options.seed,
    )
    count = len(classes or CLASSES)
    print(
        f"wrote {options.out}: {count} classes, {count * options.train} training and {count * options.test} test videos"
    )
    return 0
