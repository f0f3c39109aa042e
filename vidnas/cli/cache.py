"""`vidnas data cache`: a copy of a data set with every video written small, as fast to read as training needs."""

from argparse import Namespace
from pathlib import Path

from vidnas.cli.parsing import make_parser, positive
from vidnas.data.encode import SmallForm
from vidnas.data.formats import load_dataset
from vidnas.data.small_copy import CopyReport, make_copy
from vidnas.errors import VidnasError

_OF_FORMAT = {"quality": "jpeg", "crf": "h264", "gop": "h264"}
_NAMED = 10


def cache(argv: list[str]) -> int:
    """Write the copy or bring it up to date; returns 1 if any video is unreadable."""
    parser = make_parser(
        "data cache",
        "Write a copy of a data set with its videos scaled down, a data set of its own. Called again it goes on "
        "where it was stopped, or writes what has changed. Unreadable videos are listed and left out; it then "
        "exits with 1.",
    )
    parser.add_argument(
        "data", metavar="FOLDER|CSV", type=Path, help="class folders, train and test lists, or one list"
    )
    parser.add_argument("-o", "--out", metavar="FOLDER", type=Path, required=True, help="folder of the copy")
    parser.add_argument(
        "--format",
        choices=("jpeg", "h264"),
        required=True,
        help="jpeg: a JPEG per frame, the fastest to read; h264: several times smaller",
    )
    parser.add_argument(
        "--short-side",
        metavar="PIXELS",
        type=positive,
        default=182,
        help="larger videos are scaled down to this (default: 182, the short side of testing at 160)",
    )
    parser.add_argument("--quality", type=int, help="of jpeg, 1 to 100 (default: 90)")
    parser.add_argument("--crf", type=int, help="of h264, 0 (best) to 51 (default: 18)")
    parser.add_argument("--gop", type=int, help="of h264: frames per key frame (default: 24)")
    parser.add_argument("--workers", type=positive, help="processes (default: one per core)")
    parser.add_argument("--group-regex", metavar="REGEX", help="its first match group on a path is the video's group")
    parser.add_argument(
        "--follow-links", action="store_true", help="also follow links that lead out of the data's folder"
    )
    parser.add_argument("--rebuild", action="store_true", help="make all of the copy anew, whatever is there of it")
    options = parser.parse_args(argv)
    form = _form(options)

    lists = load_dataset(options.data, group_regex=options.group_regex, follow_links=options.follow_links)
    for notice in (*lists.train.notices, *(lists.test.notices if lists.test else ())):
        print(f"note: {notice}")
    parts = {"train": lists.train} | ({} if lists.test is None else {"test": lists.test})
    report = make_copy(parts, options.data, options.out, form, workers=options.workers, rebuild=options.rebuild)
    print("\n".join(_summary(options.out, report)))
    return int(bool(report.unreadable))


def _form(options: Namespace) -> SmallForm:
    given = {name: getattr(options, name) for name in _OF_FORMAT if getattr(options, name) is not None}
    for name in given:
        if _OF_FORMAT[name] != options.format:
            raise VidnasError(f"--{name}: is a setting of {_OF_FORMAT[name]}, not of {options.format}; leave it out")
    return SmallForm(options.format, options.short_side, **given)


def _summary(out: Path, report: CopyReport) -> list[str]:
    good = [entry for entry in report.entries if entry.cause is None]
    kept = len(report.entries) - len(report.made)
    lines = [
        f"{out}: {len(good)} videos, {sum(entry.size for entry in good) / 1e6:.1f} MB in, "
        f"{sum(entry.bytes for entry in good) / 1e6:.1f} MB out; {len(report.made)} made now, {kept} there already"
    ]
    for what, paths in (
        ("changed since they were written, made again", report.changed),
        ("no longer in the data set, removed", report.removed),
    ):
        if paths:
            more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            lines.append(f"{what} ({len(paths)}): {', '.join(paths[:_NAMED])}{more}")
    if report.unreadable:
        lines.append(f"unreadable, left out ({len(report.unreadable)}):")
        lines += [f"  {entry.path}: {entry.cause}" for entry in report.unreadable]
    noted = [entry for entry in good if entry.notice is not None]
    if noted:
        lines.append(f"written as far as they go ({len(noted)}):")
        lines += [f"  {entry.path}: {entry.notice}" for entry in noted]
    for part, videos in report.lists.items():
        if not len(videos):
            lines.append(f"note: no {part} list, since no video is good")
            continue
        lines.append(f"wrote {out / f'{part}.csv'}: {len(videos)} videos")
        lines += [
            f"note: class {name!r} has no video left in it"
            for name, count, before in zip(videos.classes, videos.counts, report.listed[part].counts, strict=True)
            if before and not count
        ]
    return lines
