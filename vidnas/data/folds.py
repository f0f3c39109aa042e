"""Folds of a list: each is held out once, and what is left is learned from."""

from collections import defaultdict
from dataclasses import dataclass, replace

from vidnas.base.errors import VidnasError
from vidnas.data.split import split
from vidnas.data.video_list import VideoList

# Where there are groups (people, source videos) enough for more.
MOST_FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """A list divided in two that share no group.

    Attributes:
        train: what is learned from.
        held_out: what is judged on.
    """

    train: VideoList
    held_out: VideoList


def make_folds(videos: VideoList, seed: int, number: int | None = None, *, within_groups: bool = False) -> list[Fold]:
    """Divide a list into folds of whole groups, each of which holds every class.

    Args:
        videos: the list.
        seed: of the division.
        number: of folds; None is as many as the class with the fewest groups allows, `MOST_FOLDS` at most.
        within_groups: let the videos of a group lie in several folds.

    Raises:
        VidnasError: a class has fewer groups than folds, or no division was found that gives each fold each class.
    """
    dealt = videos
    if within_groups:
        dealt = replace(videos, samples=tuple(replace(sample, group=None) for sample in videos.samples))
    number = number or max(2, min(MOST_FOLDS, _fewest_groups(dealt)))
    try:
        parts = split(dealt, {f"fold {i + 1}": 1 / number for i in range(number)}, seed)
    except VidnasError as error:
        if within_groups or all(sample.group is None for sample in videos.samples):
            raise
        raise VidnasError(
            f"{error}; or let folds share groups (--folds-within-groups), which judges all networks too well"
        ) from error
    fold_of = {sample.path: name for name, part in parts.items() for sample in part.samples}
    place_of = [fold_of[sample.path] for sample in videos.samples]
    return [
        Fold(
            videos.subset(i for i, name in enumerate(place_of) if name != held_out),
            videos.subset(i for i, name in enumerate(place_of) if name == held_out),
        )
        for held_out in parts
    ]


def _fewest_groups(videos: VideoList) -> int:
    """Groups of the class that has the fewest; a video without a group is one of its own."""
    groups: defaultdict[int, set[object]] = defaultdict(set)
    for sample in videos.samples:
        for label in sample.labels:
            groups[label].add(sample.path if sample.group is None else sample.group)
    return min(map(len, groups.values()))
