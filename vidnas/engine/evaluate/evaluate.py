"""Accuracy of a network on a list of videos, several views of each."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tqdm import tqdm

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.base.log import is_first_process, log
from vidnas.data.augment import Views, ViewTransform
from vidnas.data.clips import describe_views
from vidnas.data.datamodule import DataConfig
from vidnas.data.formats import Sample, VideoList
from vidnas.engine.evaluate.coverage import median_duration
from vidnas.engine.evaluate.loaders import ViewLoaders
from vidnas.engine.evaluate.results import TestResult
from vidnas.engine.evaluate.saved import RESULTS
from vidnas.engine.evaluate.scoring import ViewScores, score_views
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.run.processes import all_reduce_sum
from vidnas.engine.run.runtime import choose_device
from vidnas.engine.tasks.registry import check_task
from vidnas.nn.build import VideoNetwork


def evaluate(
    network: VideoNetwork,
    videos: VideoList,
    data: DataConfig,
    views: Views,
    *,
    clip: ClipSpec | None = None,
    batch_size: int = 16,
    precision: str = "fp32",
    device: str = "auto",
    devices: int = 1,
    progress: bool = True,
) -> TestResult:
    """Score every video as the average of its views' probabilities (X3D sec. 4.1: K-Center and K-LeftCenterRight).

    Args:
        network: trained; its mode and device are put back at the end.
        videos: the list; its classes are those of the network, in the same order (`with_classes`).
        data: where frames come from, and the training scales that the test scale belongs to.
        views: clips in time x crops, as 10x3.
        clip: frames and training crop; default those of the network.
        batch_size: clips that go through the network at once.
        precision: fp32, bf16 or fp16.
        device: auto, cpu or cuda.
        devices: processes that share the list.
        progress: show a bar on a terminal.

    Raises:
        Diverged: scores that are not finite.
        VidnasError: classes that do not fit, or not one video that can be read.
    """
    if len(videos.classes) != network.spec.head.num_classes:
        raise VidnasError(
            f"the list has {len(videos.classes)} classes and the network {network.spec.head.num_classes}; "
            "test on a list of the classes that it was trained for"
        )
    check_task(network.spec.head, videos)
    clip = clip or network.spec.clip
    start = time.perf_counter()
    target = choose_device(device)
    loaders = ViewLoaders(videos, data, clip, views, batch_size, pin_memory=target.type == "cuda")
    log.info(describe_views(clip, views.temporal, median_duration(videos, loaders.clips.reader)))
    fabric = make_fabric(target, precision, devices=devices)
    batches = loaders.loader(fabric.global_rank, fabric.world_size)
    scores = ViewScores(len(videos), len(videos.classes), batch_size)
    shows_bar = progress and is_first_process() and sys.stdout.isatty()
    home = next(network.parameters()).device
    network.to(fabric.device)
    score_views(network, tqdm(batches, "testing", unit="batch", leave=False, disable=not shows_bar), scores, precision)
    network.to(home)
    scores.gather(all_reduce_sum)
    places = scores.readable()
    if not len(places):
        raise VidnasError(f"{videos.root}: not one of the {len(videos)} videos can be read; see `vidnas data check`")
    seen = seen_clip(clip, data, views)
    return RESULTS[network.spec.head.kind](
        classes=videos.classes,
        paths=tuple(videos.relative(videos.samples[i]) for i in places),
        targets=videos.targets[places],
        scores=scores.mean(),
        broken=_broken(loaders, scores.unreadable()),
        views=str(views),
        clip=str(seen),
        precision=precision,
        macs_per_view=network_cost(network.spec, seen, "all").macs,
        wall_sec=time.perf_counter() - start,
        list_hash=videos.content_hash,
    )


def seen_clip(clip: ClipSpec, data: DataConfig, views: Views) -> ClipSpec:
    """What the network is given of a video at once: the clip, at the size of the views' crop."""
    return clip.model_copy(update={"size": ViewTransform(clip.size, views.spatial, jitter=data.jitter).crop})


def with_classes(videos: VideoList, classes: Sequence[str]) -> VideoList:
    """The list with its labels renumbered to a network's class names.

    Raises:
        VidnasError: a class that the network does not know.
    """
    unknown = [name for name, count in zip(videos.classes, videos.counts, strict=True) if count and name not in classes]
    if unknown:
        raise VidnasError(
            f"{videos.root}: class {unknown[0]!r} is unknown to the network ({len(unknown)} such classes), which knows "
            f"{', '.join(list(classes)[:5])}{', ...' if len(classes) > 5 else ''}; rename classes or leave them out"
        )
    index = {label: list(classes).index(name) for label, name in enumerate(videos.classes) if name in classes}

    def renumbered(sample: Sample) -> Sample:
        label = sample.label
        return replace(sample, label=index[label] if isinstance(label, int) else tuple(sorted(index[n] for n in label)))

    return replace(videos, samples=tuple(map(renumbered, videos.samples)), classes=tuple(classes), numbered=False)


def _broken(loaders: ViewLoaders, places: Iterable[int]) -> tuple[tuple[str, str], ...]:
    for place in places:
        loaders.clips.quarantine.add(int(place))
    videos = loaders.clips.videos
    return tuple(
        (error.path.relative_to(videos.root).as_posix(), error.cause) for error in loaders.clips.quarantine.broken()
    )
