"""How much of the class one frame gives, against frames in their order: measured by a small probe on training videos.

A few small pictures of some hundred videos go to two ridge classifiers, cross-validated over folds of whole groups. One
sees the middle picture and products of its gradients (what is where, and how it is textured), the other all pictures
and beside these products those with the change from picture to picture (what moves where). That takes a few seconds to
a minute and is no network: classes that it cannot tell apart a network may well.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, write_json
from vidnas.base.log import log
from vidnas.data.decode import BrokenVideo, probe, read_frames
from vidnas.data.folds import make_folds
from vidnas.data.processes import cores
from vidnas.data.video_list import Sample, VideoList
from vidnas.pipeline.lists import Holding
from vidnas.search.ridge import held_out_hits, joined_kernel

Pictures = NDArray[np.uint8]
Floats = NDArray[np.floating]

FRAMES = 16
# Of a picture, and the cells in which products of gradients are averaged, which divide both.
_WIDTH, _HEIGHT, _CELLS = 24, 20, 4
_DECODED_SIDE = 48
_MOST_VIDEOS, _LEAST_VIDEOS, _LEAST_OF_CLASS = 400, 60, 8
# Pixels to be decoded: a minute on two cores. Larger or longer videos are read in smaller number.
_MOST_PIXELS = 1e10
_PIXELS_PER_SEC = 1e8  # of one core
# One fold judges, one settles the strength, one teaches.
_LEAST_GROUPS = 3
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Probe:
    """What the probe found: shares of the videos that are told right, with standard errors over whole groups.

    Attributes:
        videos: that were looked at.
        classes: of these.
        chance: the share of the most frequent class.
        single: from the middle frame.
        single_error: its standard error.
        ordered: from all frames in their order.
        ordered_error: its standard error.
        share: of what is told beyond chance, the part that the middle frame gives.
        share_error: its standard error.
        sec: what it took.
        failure: why nothing could be measured; then all else is 0.
    """

    videos: int = 0
    classes: int = 0
    chance: float = 0.0
    single: float = 0.0
    single_error: float = 0.0
    ordered: float = 0.0
    ordered_error: float = 0.0
    share: float = 0.0
    share_error: float = 0.0
    sec: float = 0.0
    failure: str | None = None


def probe_videos(train: VideoList, held: Holding, seed: int) -> Probe:
    """Look at training videos; broken ones are passed over.

    Args:
        train: the list.
        held: what its videos hold, from which follows how many of them can be read in about a minute.
        seed: of the choice of videos and the folds; the same seed gives the same figures.
    """
    start = time.monotonic()
    pixels = held.frames * held.short_side**2 * 4 / 3
    number = int(min(_MOST_VIDEOS, max(_LEAST_VIDEOS, _MOST_PIXELS // pixels)))
    try:
        chosen = sampled(train, number, seed)
        foreseen = len(chosen) * pixels / _PIXELS_PER_SEC / cores()
        log.info(
            f"looking at {FRAMES} frames of {len(chosen)} training videos to choose a clip, "
            f"{'some seconds' if foreseen < 15 else f'about {foreseen:.0f} s'} (--clip 16x56 would do without)"
        )
        with ThreadPoolExecutor(cores()) as threads:
            read = dict(
                zip((sample.path for sample in chosen.samples), threads.map(_read, chosen.samples), strict=True)
            )
        whole = chosen.subset(i for i, sample in enumerate(chosen.samples) if read[sample.path] is not None)
        # Without the broken ones a class may have too few groups.
        seen = sampled(whole, number, seed)
        pictures = np.stack([one for sample in seen.samples if (one := read[sample.path]) is not None])
        found = compare(pictures, _targets(seen), _folds(seen, seed), [_group(sample) for sample in seen.samples])
    except VidnasError as error:
        return Probe(failure=str(error))
    return replace(found, sec=round(time.monotonic() - start, 1))


def compare(pictures: Pictures, targets: Floats, fold: NDArray[np.intp], groups: Sequence[object]) -> Probe:
    """What the middle picture tells, and what all tell in their order.

    Args:
        pictures: (V, T, H, W, 3).
        targets: (V, C) 1 for the classes of a video, else 0.
        fold: (V,) the fold of each video.
        groups: of each video; those of one are not independent.
    """
    videos, frames = pictures.shape[:2]
    levels = pictures.astype(np.float32) / 255
    middle = levels[:, frames // 2, None]
    right = {
        "single": held_out_hits(joined_kernel([middle, _textures(middle)]), targets, fold),
        "ordered": held_out_hits(joined_kernel([levels, _textures(levels), _movements(levels)]), targets, fold),
    }
    chance = float(targets.mean(0).max())
    single, ordered = (right[name] - chance for name in ("single", "ordered"))
    gained = max(single.mean(), ordered.mean())
    share = share_error = 0.0
    if gained > 0:
        # All pictures hold the middle one: where they tell less of it, that is the probe's weakness.
        share = float(np.clip(single.mean() / gained, 0, 1))
        share_error = standard_error(single - share * ordered, groups) / float(gained)
    return Probe(
        videos=videos,
        classes=targets.shape[1],
        chance=chance,
        single=float(right["single"].mean()),
        single_error=standard_error(single, groups),
        ordered=float(right["ordered"].mean()),
        ordered_error=standard_error(ordered, groups),
        share=share,
        share_error=share_error,
    )


def standard_error(values: Floats, groups: Sequence[object]) -> float:
    """Of a mean over videos, where those of a group are not independent; no less than if they were."""
    _, place = np.unique([str(group) for group in groups], return_inverse=True)
    apart = values - values.mean()
    sums = np.bincount(place, apart)
    between = (sums**2).sum() * len(sums) / max(1, len(sums) - 1)
    return float(np.sqrt(max(between, (apart**2).sum())) / len(values))


def sampled(videos: VideoList, number: int, seed: int) -> VideoList:
    """About so many videos, evenly over classes and over the groups of each, with labels of these classes alone.

    Classes with too few groups for folds are left out; of many classes as many are taken as get 8 videos each.

    Raises:
        VidnasError: fewer than two classes have enough groups.
    """
    of_class = defaultdict(list)
    for place in np.random.default_rng(seed).permutation(len(videos)).tolist():
        for label in videos.samples[place].labels:
            of_class[label].append(place)
    enough = sorted(label for label, places in of_class.items() if _groups(videos, places) >= _LEAST_GROUPS)
    if len(enough) < 2:
        raise VidnasError(f"fewer than two classes have videos of {_LEAST_GROUPS} groups")
    most = max(2, number // _LEAST_OF_CLASS)
    kept = {enough[i * len(enough) // most] for i in range(most)} if len(enough) > most else set(enough)
    taken: set[int] = set()
    for label in kept:
        before: Counter[object] = Counter()
        turns = []
        for place in of_class[label]:
            group = _group(videos.samples[place])
            turns.append((before[group], place))
            before[group] += 1
        # The first of every group, then the second.
        taken.update(place for _, place in sorted(turns, key=lambda turn: turn[0])[: number // len(kept)])
    chosen = videos.subset(sorted(taken))
    if not videos.multi_label:
        return chosen
    return replace(
        chosen,
        samples=tuple(
            replace(sample, label=tuple(label for label in sample.labels if label in kept)) for sample in chosen.samples
        ),
    )


def keep_probe(found: Probe, train: VideoList, path: Path) -> None:
    """Remember what was found for a resumed run, which must choose the same."""
    write_json(path, {"training list": train.content_hash[:12], "probe": asdict(found)})


def kept_probe(train: VideoList, path: Path) -> Probe | None:
    """What was found at the start of the run on this list, or None where there is nothing.

    Raises:
        VidnasError: the file was changed.
    """
    if not path.exists():
        return None
    content = read_json(path)
    try:
        return Probe(**content["probe"]) if content["training list"] == train.content_hash[:12] else None
    except (TypeError, KeyError) as error:
        raise VidnasError(
            f"{path}: not as vidnas writes it ({error}); remove it, and the videos are looked at again"
        ) from error


def _read(sample: Sample) -> Pictures | None:
    """(T, H, W, 3) small pictures spread evenly over a video; None of a broken one."""
    try:
        info = probe(sample.path)
        times = (np.arange(FRAMES) + 0.5) / FRAMES * info.duration_sec
        frames = read_frames(info, times.tolist(), short_side=min(_DECODED_SIDE, info.width, info.height))
    except BrokenVideo:
        return None
    size = (_WIDTH, _HEIGHT)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def _textures(levels: Floats) -> Floats:
    """Products of gradients in space: how contours lie, whatever their place in a cell; (V, T, 3, cells, cells)."""
    grey = levels @ _LUMA
    down, right = _gradients(grey)
    return _averaged([right * right, down * down, right * down])


def _movements(levels: Floats) -> Floats:
    """Products of the change in time with itself and with gradients: how much moves, and where to."""
    grey = levels @ _LUMA
    change = grey[:, 1:] - grey[:, :-1]
    down, right = _gradients((grey[:, 1:] + grey[:, :-1]) / 2)
    return _averaged([change * right, change * down, change * change])


def _gradients(grey: Floats) -> tuple[Floats, Floats]:
    """Of (..., H, W), down and to the right."""
    down: Floats = np.gradient(grey, axis=-2)
    right: Floats = np.gradient(grey, axis=-1)
    return down, right


def _averaged(products: Sequence[Floats]) -> Floats:
    """Over cells, as signed roots, so that they are in grey levels again."""
    stacked = np.stack(products, 2)
    cells = (*stacked.shape[:3], _CELLS, stacked.shape[3] // _CELLS, _CELLS, stacked.shape[4] // _CELLS)
    means = stacked.reshape(cells).mean((4, 6))
    roots: Floats = np.sign(means) * np.sqrt(np.abs(means))
    return roots


def _targets(videos: VideoList) -> Floats:
    """(V, classes that there are) 0 or 1."""
    present = sorted({label for sample in videos.samples for label in sample.labels})
    return np.array([[label in sample.labels for label in present] for sample in videos.samples], np.float64)


def _folds(videos: VideoList, seed: int) -> NDArray[np.intp]:
    """(V,) the fold of each video, whole groups at a time."""
    try:
        folds = make_folds(videos, seed)
    except VidnasError as error:
        raise VidnasError("no folds of whole groups were found that hold each class") from error
    place = {sample.path: number for number, fold in enumerate(folds) for sample in fold.held_out.samples}
    return np.array([place[sample.path] for sample in videos.samples])


def _group(sample: Sample) -> object:
    """What a video shares with others; one without a group is one of its own."""
    return sample.path if sample.group is None else sample.group


def _groups(videos: VideoList, places: Sequence[int]) -> int:
    return len({_group(videos.samples[place]) for place in places})
