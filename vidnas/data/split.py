"""Parts of a list that share no group and hold the classes in like proportion."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vidnas.base.errors import VidnasError
from vidnas.data.entries import real_paths
from vidnas.data.video_list import VideoList

# Of a list without a test list.
TEST_FRACTION = 0.2
_ATTEMPTS = 20
# Stands for the class of videos without any, which are dealt out too, but need not be in each part.
_NONE = -1


def hold_out(videos: VideoList) -> tuple[VideoList, VideoList]:
    """A training and a test list, which gets a fifth of the groups; see `split`.

    The same for every command and every seed: what one has trained on no other may test.
    """
    parts = split(videos, {"train": 1 - TEST_FRACTION, "test": TEST_FRACTION}, seed=0)
    return parts["train"], parts["test"]


def split(videos: VideoList, fractions: Mapping[str, float], seed: int) -> dict[str, VideoList]:
    """Divide a list into parts of which no two share a group; a video without a group is one of its own.

    Whole groups are dealt out, the largest first and equal ones in an order drawn from the seed, each to the part
    where it brings the numbers of videos per class nearest to the fractions. Then groups move to parts that have
    a class not at all.

    Args:
        videos: the list.
        fractions: the share of each part, summing to 1.
        seed: the same seed gives the same parts.

    Returns:
        The parts by name, each in the order of the list, each with every class that the list holds.

    Raises:
        VidnasError: a class has too few groups to be in every part.
    """
    shares = list(fractions.values())
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise VidnasError(f"fractions {dict(fractions)}: each must be above 0 and their sum 1")
    members: dict[str, list[int]] = {}
    for index, key in enumerate(_keys(videos)):
        members.setdefault(key, []).append(index)
    dealt = [sample.labels or (_NONE,) for sample in videos.samples]
    groups = [Counter(label for i in indices for label in dealt[i]) for indices in members.values()]
    check_enough(videos, list(fractions))
    deal = _deal(groups, shares, seed)
    missing = deal.first_missing()
    if missing is not None:
        part, label = missing
        raise VidnasError(
            f"no division of {len(groups)} groups into {', '.join(fractions)} was found that gives each part each "
            f"class ({list(fractions)[part]} lacks {videos.classes[label]!r}); use finer groups or fewer parts"
        )
    parts: list[list[int]] = [[] for _ in shares]
    for indices, part in zip(members.values(), deal.part_of, strict=True):
        parts[part] += indices
    return {name: videos.subset(sorted(indices)) for name, indices in zip(fractions, parts, strict=True)}


def check_enough(videos: VideoList, parts: Sequence[str]) -> None:
    """Refuse a list in which a class has fewer videos, or groups of them, than there are parts.

    Raises:
        VidnasError: counts the videos and groups of that class as the list has them.
    """
    of_class: dict[int, set[str]] = {}
    for sample, key in zip(videos.samples, _keys(videos), strict=True):
        for label in sample.labels:
            of_class.setdefault(label, set()).add(key)
    label = min(of_class, key=lambda label: (len(of_class[label]), label))
    groups, count = len(of_class[label]), videos.counts[label]
    if groups >= len(parts):
        return
    grouped = any(sample.group is not None for sample in videos.samples if label in sample.labels)
    has = f"{count} video{'s' * (count != 1)}" + (f" in {groups} group{'s' * (groups != 1)}" if grouped else "")
    unit, mend = ("groups", "use finer groups") if grouped else ("videos", "add some")
    raise VidnasError(
        f"class {videos.classes[label]!r} has {has}; each class needs {len(parts)} {unit}, one for each of "
        f"{', '.join(parts)}: {mend}, or leave the class out"
    )


def check_disjoint(train: VideoList, test: VideoList) -> None:
    """Refuse lists that share a file or a group: their test accuracy would mean nothing.

    Raises:
        VidnasError: naming one that is on both sides.
    """
    known = set(real_paths(sample.path for sample in train.samples))
    files = [file for file in real_paths(sample.path for sample in test.samples) if file in known]
    if files:
        raise VidnasError(
            f"{min(files)} is in the training list and in the test list ({len(files)} such files); remove it from one"
        )
    groups = _groups(train) & _groups(test)
    if groups:
        raise VidnasError(
            f"group {min(groups)!r} is in the training list and in the test list ({len(groups)} such groups); move "
            "each group to one side, or correct the group column or --group-regex"
        )


def _groups(videos: VideoList) -> set[str]:
    return {sample.group for sample in videos.samples if sample.group is not None}


def _keys(videos: VideoList) -> list[str]:
    """The group of each video, or the file itself, which may have several names."""
    files = real_paths(sample.path for sample in videos.samples)
    return [file if s.group is None else s.group for s, file in zip(videos.samples, files, strict=True)]


def _deal(groups: Sequence[Counter[int]], shares: Sequence[float], seed: int) -> "_Deal":
    """The first of some deals in which each part has each class, or the last one tried."""
    for attempt in range(_ATTEMPTS):
        deal = _Deal(groups, shares)
        lots = np.random.default_rng([seed % 2**64, attempt]).permutation(len(groups))
        # Large groups first leaves small ones to even out; where that fails, the order is left to chance.
        order = sorted(range(len(groups)), key=lambda g: (-groups[g].total() if attempt == 0 else 0, lots[g]))
        for g in order:
            deal.put(g, min(range(len(shares)), key=lambda part: deal.cost(g, part)))
        deal.fill()
        if deal.first_missing() is None:
            break
    return deal


class _Deal:
    """Which part each group is in, and how many videos of each class that makes.

    Args:
        groups: the number of videos of each class in each group.
        shares: the fraction of each part.
    """

    def __init__(self, groups: Sequence[Counter[int]], shares: Sequence[float]) -> None:
        self.groups = groups
        self.shares = shares
        self.totals: Counter[int] = Counter()
        for group in groups:
            self.totals.update(group)
        self.classes = sorted(label for label in self.totals if label != _NONE)
        self.counts: list[Counter[int]] = [Counter() for _ in shares]
        self.part_of = [-1] * len(groups)

    def put(self, g: int, part: int) -> None:
        """Put a group into a part, taking it out of the one it is in."""
        if self.part_of[g] >= 0:
            self.counts[self.part_of[g]].subtract(self.groups[g])
        self.counts[part].update(self.groups[g])
        self.part_of[g] = part

    def cost(self, g: int, part: int) -> float:
        """Change of the squared deviation from the wanted numbers, relative per class, when a group is added."""
        return sum(
            n * (n + 2 * (self.counts[part][label] - self.shares[part] * self.totals[label])) / self.totals[label]
            for label, n in self.groups[g].items()
        )

    def first_missing(self) -> tuple[int, int] | None:
        """A part and a class that it lacks."""
        lacking = (
            (part, label) for part, counts in enumerate(self.counts) for label in self.classes if counts[label] == 0
        )
        return next(lacking, None)

    def fill(self) -> None:
        """Move groups to where they bring a class that is lacking, those that leave least lacking elsewhere."""
        for part, counts in enumerate(self.counts):
            for label in self.classes:
                if counts[label] == 0:
                    movable = [g for g, group in enumerate(self.groups) if label in group]
                    self.put(max(movable, key=lambda g: (self.gain(g, part), -self.cost(g, part), -g)), part)

    def gain(self, g: int, part: int) -> int:
        """Classes lacking in `part` that a group brings, less those that its own part then lacks."""
        here = self.counts[self.part_of[g]]
        brought = sum(self.counts[part][label] == 0 for label in self.groups[g])
        return brought - sum(here[label] == n for label, n in self.groups[g].items())
