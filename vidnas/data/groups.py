"""Which videos belong together: by an expression that the user gives, or as their names suggest."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.data.video_list import Sample, VideoList

# What data sets write into file names, the more telling first. The first match group is the video's group.
_CANDIDATES = (
    r"([^/]+_g\d+)_c\d+",  # UCF101: clips of one source video
    r"(P\d{3})R\d{3}A\d{3}",  # NTU RGB+D: persons
    r"([^/]+)_[fhlu]_[cn]m_np\d_",  # HMDB51: clips of one film
    *(
        rf"(?i)(?:^|[/_-])({who}[_-]?\d+)(?=[/_-])"
        for who in ("person", "subject", "subj", "sub", "actor", "performer", "signer", "user", "s", "p")
    ),
    r"(?i)([^/]+?)[ _-]*(?:clip|part|seg|segment|piece|chunk|shot|scene|take|cut)[ _-]*\d+\.\w+$",
    r"([^/]+?) ?\(\d+\)\.\w+$",
    r"([^/]+?)_\d+_\d+\.\w+$",  # name, first and last second or frame
    r"([^/]+?)[ _-]\d+\.\w+$",
)
_DATE = re.compile(r"\D*(19|20)\d\d([_-]?\d\d){0,2}\D?")
# The share of names that must match, and of groups to videos what is clearly fewer.
_MATCHED, _FEWER = 0.95, 0.7
# Names that are merely numbered (`day_0012.mp4`) are groups only where there are more of them.
_LEAST_NUMBERED = 4


@dataclass(frozen=True)
class Suggestion:
    """An expression that seems to tell groups from names."""

    expression: str
    unmatched: int


def with_groups(videos: VideoList, expression: str) -> VideoList:
    """The list with the first match group on each relative path as the video's group.

    The few videos whose paths do not match are groups of their own, with a notice.

    Raises:
        VidnasError: an expression that is none, has no match group, or does not match many a path.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise VidnasError(f"group expression {expression!r}: {error}") from error
    if not pattern.groups:
        raise VidnasError(f"group expression {expression!r}: put the part that names the group in parentheses")
    samples, unmatched = [], []
    for sample in videos.samples:
        match = pattern.search(videos.relative(sample))
        found = match is not None and match[1]
        samples.append(replace(sample, group=found or None))
        if not found:
            unmatched.append(videos.relative(sample))
    if not unmatched:
        return replace(videos, samples=tuple(samples))
    told = f"group expression {expression!r}: no group in {len(unmatched)} of {len(videos)} paths, e.g. {unmatched[0]}"
    if len(videos) - len(unmatched) < _MATCHED * len(videos):
        raise VidnasError(told)
    return replace(videos, samples=tuple(samples), notices=(*videos.notices, f"{told}; each is a group of its own"))


def group_notice(parts: Mapping[str, VideoList]) -> str | None:
    """One line on the groups of parts, the first of which is trained on; None where there is nothing to say.

    With groups: how many each part has. Without: whether names look like groups that the parts share.
    """
    if any(sample.group is not None for videos in parts.values() for sample in videos.samples):
        held = {name: {_group(sample) for sample in videos.samples} for name, videos in parts.items()}
        several = sum(map(len, held.values())) - len(set().union(*held.values()))
        counts = ", ".join(f"{len(groups)} for {name}" for name, groups in held.items())
        return f"groups: {counts}; {several or 'none'} in more than one of them"
    found = suggest([(videos, sample) for videos in parts.values() for sample in videos.samples])
    if found is None:
        return None
    pattern = re.compile(found.expression)
    keys = {name: [_key(pattern, videos, s) for s in videos.samples] for name, videos in parts.items()}
    first, *others = keys
    known = set(keys[first])
    both = {name: sum(key in known for key in keys[name]) for name in others}
    shared = [f"{count} of {len(keys[name])} {name} videos" for name, count in both.items() if count]
    if not shared:
        return None
    all_but = f" (all but {found.unmatched} names)" if found.unmatched else ""
    groups, total = len({key for part in keys.values() for key in part}), sum(map(len, keys.values()))
    return (
        f"names look like {groups} groups of {total} videos{all_but}, and {' and '.join(shared)} are of groups that "
        f"{first} has too, which flatters accuracy; --group-regex '{found.expression}' keeps groups together"
    )


def suggest(entries: "list[tuple[VideoList, Sample]]") -> Suggestion | None:
    """The first usual expression that finds clearly fewer groups than videos in nearly all names.

    A name that only counts through its class (`walk_0001.mp4`) says nothing about groups, nor does a date.
    """
    paths = [(videos.relative(sample), sample.labels) for videos, sample in entries]
    for expression in _CANDIDATES:
        pattern = re.compile(expression)
        found = [(match[1], labels) for path, labels in paths if (match := pattern.search(path)) is not None]
        if len(found) < max(1, _MATCHED * len(paths)):
            continue
        sizes = Counter(key for key, _ in found)
        together = sum(size for size in sizes.values() if size > 1)
        of_class: dict[int, set[str]] = {}
        for key, labels in found:
            for label in labels:
                of_class.setdefault(label, set()).add(key)
        several = sum(len(keys) > 1 for keys in of_class.values())
        dates = sum(_DATE.fullmatch(key) is not None for key in sizes)
        if (
            len(sizes) <= _FEWER * len(found)
            and (len(sizes) >= _LEAST_NUMBERED or expression != _CANDIDATES[-1])
            and 2 * together >= len(found)
            and 2 * several > len(of_class)
            and 2 * dates < len(sizes)
        ):
            return Suggestion(expression, len(paths) - len(found))
    return None


def _key(pattern: re.Pattern[str], videos: VideoList, sample: Sample) -> str:
    path = videos.relative(sample)
    match = pattern.search(path)
    return path if match is None else match[1]


def _group(sample: Sample) -> str | Path:
    return sample.path if sample.group is None else sample.group
