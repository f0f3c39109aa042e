"""`vidnas data`: `check` says which videos are of no use, `cache` copies them small, `generate` makes a data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import StopSignals
from vidnas.cli.cache import cache
from vidnas.cli.generate import generate
from vidnas.cli.parsing import UsageError, make_parser, positive, suggestion
from vidnas.data.check import Report, check, shared, shared_looks
from vidnas.data.formats import VideoList, load_dataset, save_list
from vidnas.data.groups import group_notice
from vidnas.data.parts import find_part
from vidnas.data.split import hold_out


def run(argv: list[str]) -> int:
    """Dispatch on the second word."""
    actions = {"check": _check, "cache": cache, "generate": generate}
    if not argv or argv[0] in ("-h", "--help", "--help-all"):
        print(
            "usage: vidnas data check FOLDER|CSV ...\n       vidnas data cache FOLDER|CSV -o OUT ...\n"
            "       vidnas data generate FOLDER ...\n\n"
            "`vidnas data check --help` tells more."
        )
        return 0
    if argv[0] not in actions:
        near = suggestion(argv[0], actions)
        hint = f"did you mean {near}?" if near else f"it has {', '.join(actions)}"
        raise UsageError(f"vidnas data has no command {argv[0]!r}; {hint}")
    return actions[argv[0]](argv[1:])


def _check(argv: list[str]) -> int:
    parser = make_parser(
        "data check",
        "Decode every video of a data set; list unreadable, too short and duplicate files, training videos that look "
        "like test videos, and the videos per class. "
        "Exits with 1 if there is any such file and no --fix.",
    )
    parser.add_argument(
        "data", metavar="FOLDER|CSV", help="class folders, train and test lists or folders, or one list"
    )
    parser.add_argument(
        "--fix",
        metavar="OUT",
        type=Path,
        help="write lists without these files: OUT.csv, or train.csv and test.csv into the folder OUT; it must be the "
        "folder of the videos or one above, and lists that are there already are kept as .bak",
    )
    parser.add_argument("--workers", type=positive, help="processes (default one per core)")
    parser.add_argument("--min-frames", type=positive, default=2, help="fewer are too short (default: 2)")
    parser.add_argument("--group-regex", metavar="REGEX", help="its first match group on a path is the video's group")
    parser.add_argument("--follow-links", action="store_true", help="also follow links that lead out of the folder")
    options = parser.parse_args(argv)

    lists = load_dataset(options.data, group_regex=options.group_regex, follow_links=options.follow_links)
    parts = {"train": lists.train} | ({} if lists.test is None else {"test": lists.test})
    targets = {} if options.fix is None else _targets(options.fix, parts)
    reports = {
        part: check(videos, workers=options.workers, min_frames=options.min_frames) for part, videos in parts.items()
    }
    pair = (reports["train"], reports["test"]) if "test" in reports else None
    in_both, look_alike = (shared(*pair), shared_looks(*pair)) if pair else ((), ())
    for part, report in reports.items():
        print("\n".join(_summary(part if len(parts) > 1 else str(options.data), report)), end="\n\n")
    for title, pairs, sign in (
        ("in the training list and in the test list", in_both, "="),
        ("in the training list, and looking like one in the test list", look_alike, "~"),
    ):
        lines = [f"{_name(reports['train'], i)} {sign} {_name(reports['test'], j)}" for i, j in pairs]
        if lines:
            print("\n".join(_block(title, lines)), end="\n\n")
    if told := _groups(parts):
        print(f"note: {told}\n")
    for part, report in reports.items():
        if not report.good:
            named = options.data if len(parts) == 1 else f"{options.data}: {part} list"
            raise VidnasError(f"{named}: none of the {len(report.findings)} videos is of use; the lines above say why")
    broken = bool(in_both or look_alike) or any(len(report.good) < len(report.findings) for report in reports.values())
    if not targets:
        print("some files are of no use; --fix writes a list without them" if broken else "all good")
        return int(broken)
    leaking = {i for i, _ in (*in_both, *look_alike)}
    for part, target in targets.items():
        good = [i for i in reports[part].good if part != "train" or i not in leaking]
        with StopSignals():  # a list is never left moved away and not written
            _write(parts[part].subset(good), target)
    return 0


def _groups(parts: Mapping[str, VideoList]) -> str | None:
    """A line on groups; a list without a test list is divided for it as a training would."""
    if "test" not in parts:
        try:
            train, test = hold_out(parts["train"])
        except VidnasError:
            return None
        parts = {"train": train, "test": test}
    return group_notice(parts)


def _summary(title: str, report: Report) -> list[str]:
    videos = report.videos
    usable = [finding.frames for finding in report.findings if finding.cause is None]
    several = " (a video may be of several)" if videos.multi_label else ""
    lines = [f"{title}: {len(videos)} videos, {len(videos.classes)} classes{several}"]
    if usable:
        lines[0] += f", {min(usable)} to {max(usable)} frames (median {median(usable):g})"
    lines += [f"note: {notice}" for notice in videos.notices]
    lines += _block("unreadable", [f"{_name(report, i)}: {report.findings[i].cause}" for i in report.unreadable])
    lines += _block(
        f"fewer than {report.min_frames} frames",
        [f"{_name(report, i)}: {report.findings[i].frames}" for i in report.too_short],
    )
    lines += _block(
        "read as far as they go", [f"{_name(report, i)}: {report.findings[i].notice}" for i in report.noted]
    )
    lines += _block("duplicates", [_same(report, places) for places in report.duplicates])
    if report.alike:
        i, j = report.alike[0]
        lines.append(
            f"note: {len(report.alike)} pairs of different files look alike, e.g. {_name(report, i)} ~ "
            f"{_name(report, j)}"
        )
    good = Counter(label for i in report.good for label in videos.samples[i].labels)
    width = max(map(len, videos.classes))
    lines.append("videos per class (good of all):")
    lines += [
        f"  {name:<{width}}  {good[label]} of {count}"
        for label, (name, count) in enumerate(zip(videos.classes, videos.counts, strict=True))
    ]
    if unlabelled := sum(not sample.labels for sample in videos.samples):
        lines.append(f"  of no class: {unlabelled}")
    return lines


def _block(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title} ({len(lines)}):", *(f"  {line}" for line in lines)] if lines else []


def _same(report: Report, places: Sequence[int]) -> str:
    classes = sorted({report.videos.label_text(report.videos.labels[i]) for i in places})
    names = " = ".join(_name(report, i) for i in places)
    return names if len(classes) == 1 else f"{names} (in different classes: {', '.join(classes)})"


def _name(report: Report, place: int) -> str:
    return report.videos.relative(report.videos.samples[place])


def _targets(out: Path, parts: Mapping[str, VideoList]) -> dict[str, Path]:
    """The files to write, found wanting before hours of decoding rather than after."""
    if out.suffix == ".csv" and len(parts) > 1:
        raise VidnasError(f"{out}: the data set has two lists; give a folder for train.csv and test.csv")
    # Over lists that are there under other names; two of a kind would be refused.
    targets = {part: out if out.suffix == ".csv" else find_part(out, part) or out / f"{part}.csv" for part in parts}
    for part, target in targets.items():
        if not target.parent.is_dir():
            raise VidnasError(f"{target.parent}: no such folder; give one that is there")
        root = parts[part].root
        if not root.is_relative_to(target.parent.resolve()):
            raise VidnasError(f"{target}: a list does not reach out of its folder; write it into {root} or above")
        if target.exists() and _backup(target).exists():
            raise VidnasError(f"{_backup(target)}: is there already; move it away")
    return targets


def _backup(target: Path) -> Path:
    return target.with_name(target.name + ".bak")


def _write(videos: VideoList, target: Path) -> None:
    if not len(videos):
        raise VidnasError(f"{target}: not written, since no video is good")
    if target.exists():
        target.replace(_backup(target))
    save_list(videos, target)
    print(f"wrote {target}: {len(videos)} videos")
    for name, count in zip(videos.classes, videos.counts, strict=True):
        if not count:
            print(f"note: class {name!r} has no video left")
