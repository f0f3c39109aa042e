"""`vidnas data generate`: a small data set of real video files whose classes only motion tells apart."""

from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.cli.parsing import UsageError, make_parser, natural, new_folder, positive

# What an interrupted call leaves.
_LEFT = {"videos", "classes.txt", "test.csv"}


def generate(argv: list[str]) -> int:
    """Write the data set; returns the exit code."""
    from vidnas.data.synthetic import CLASSES, write_dataset

    parser = make_parser(
        "data generate",
        "Write a procedural data set as H.264 files: drifting, turning and growing objects on textured, shaking "
        "backgrounds. No single frame tells the classes apart.",
    )
    parser.add_argument("out", metavar="FOLDER", type=new_folder, help="a new folder, or an empty one")
    parser.add_argument("--classes", metavar="A,B,...", help=f"out of {', '.join(CLASSES)} (default: all)")
    parser.add_argument("--train", type=positive, default=60, help="training videos per class (default: 60)")
    parser.add_argument("--test", type=positive, default=20, help="test videos per class (default: 20)")
    parser.add_argument("--size", metavar="PIXELS", type=positive, default=64, help="side of the frames (default: 64)")
    parser.add_argument("--frames", type=positive, default=24, help="frames per video (default: 24)")
    parser.add_argument("--seed", type=natural, default=0, help="of everything that is drawn (default: 0)")
    options = parser.parse_args(argv)
    out = Path(options.out)
    _check_folder(out)
    classes = options.classes.split(",") if options.classes else None
    if classes and len(classes) < 2:
        raise UsageError(f"--classes {options.classes}: give two or more, else there is nothing to tell apart")
    write_dataset(
        out,
        classes=classes,
        train_per_class=options.train,
        test_per_class=options.test,
        size=(options.size, options.size),
        frames=options.frames,
        seed=options.seed,
    )
    count = len(classes or CLASSES)
    print(f"wrote {out}: {count} classes, {count * options.train} training and {count * options.test} test videos")
    return 0


def _check_folder(out: Path) -> None:
    """Refuse to write among other things, such as the results of a run."""
    if out.exists() and not out.is_dir():
        raise VidnasError(f"{out}: is a file; name a folder")
    if out.is_dir() and (others := sorted({entry.name for entry in out.iterdir()} - _LEFT)):
        raise VidnasError(f"{out}: holds {', '.join(others[:3])} already; name a new folder, or an empty one")
