"""The lists of a job: training and test, the parts of a search, and what their videos hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from vidnas.base.errors import VidnasError
from vidnas.data.datamodule import DataConfig
from vidnas.data.decode import BrokenVideo, VideoInfo, probe
from vidnas.data.formats import KnownClasses, VideoList, load_dataset, load_list
from vidnas.data.groups import group_notice
from vidnas.data.split import check_disjoint, check_enough, hold_out, split

# The training list of a search: what trains the weights, what moves alpha, what judges the candidates.
SEARCH_PARTS: Mapping[str, float] = {"weights": 0.6, "alpha": 0.25, "holdout": 0.15}
_PROBED = 300


@dataclass(frozen=True)
class Lists:
    """Training and test list, disjoint, with what the user should know about them."""

    train: VideoList
    test: VideoList
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Holding:
    """What the videos of a list hold: medians over up to 300 of them, and the least number of frames of 90%."""

    frames: int
    short_side: int
    duration_sec: float


def load_lists(data: DataConfig, *, parts: Collection[str] = ("train",)) -> Lists:
    """Read the lists; where there is no test list a fifth of the groups becomes one.

    Args:
        data: where they are.
        parts: what the training list will be divided into, which every class must be enough for.

    Raises:
        VidnasError: an unusable list, too few videos or groups of a class, or a file or group on both sides.
    """
    found = load_dataset(data.path, group_regex=data.group_regex, follow_links=data.follow_links)
    train, test = found.train, found.test
    if data.test_path is not None:
        known = KnownClasses(train.classes, str(data.path), train.numbered, train.multi_label)
        test = load_list(data.test_path, classes=known, group_regex=data.group_regex, follow_links=data.follow_links)
    check_enough(train, [*parts, "test"] if test is None else [*parts])
    # What a copy has missed altogether both of its lists say.
    notices = tuple(dict.fromkeys(train.notices + (test.notices if test is not None else ())))
    if test is None:
        train, test = hold_out(train)
        notices += (
            f"no test list: {len(test)} of {len(train) + len(test)} videos are held out for the test; "
            "add test.csv, or name a test list with --test, for a split of your own",
        )
    check_disjoint(train, test)
    if told := group_notice({"train": train, "test": test}):
        notices += (told,)
    return Lists(replace(train, notices=()), replace(test, notices=()), notices)


def search_parts(train: VideoList, seed: int) -> dict[str, VideoList]:
    """The three parts of a search, whole groups at a time.

    Raises:
        VidnasError: a class has too few videos or groups to be in all three.
    """
    return split(train, SEARCH_PARTS, seed)


def holding(videos: VideoList) -> Holding:
    """Probe videos spread evenly over the list; broken ones are passed over.

    Raises:
        VidnasError: none of them can be opened.
    """
    step = max(1, len(videos) // _PROBED)
    infos: list[VideoInfo] = []
    for sample in videos.samples[::step]:
        try:
            infos.append(probe(sample.path))
        except BrokenVideo:
            continue
    if not infos:
        raise VidnasError(f"{videos.root}: none of the videos can be opened; see `vidnas data check`")
    return Holding(
        frames=_low([info.frames for info in infos]),
        short_side=int(median(min(info.width, info.height) for info in infos)),
        duration_sec=float(median(info.duration_sec for info in infos)),
    )


def _low(counts: Sequence[int]) -> int:
    """What nine videos of ten have."""
    return max(1, sorted(counts)[len(counts) // 10])
