"""A trial: one network, trained and tested. Plain data in and out, in this process or another, as often as needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.log import is_first_process, log
from vidnas.data.augment import Views
from vidnas.data.datamodule import DataConfig
from vidnas.data.formats import VideoList
from vidnas.engine.evaluate.evaluate import evaluate, seen_clip
from vidnas.engine.evaluate.results import TestResult
from vidnas.engine.evaluate.saved import load_result
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.processes import rank_zero_error
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.train import train
from vidnas.nn.build import VideoNetwork
from vidnas.nn.weights import build_with_weights

# One clip in the middle.
CENTRE = Views(1, 1)


@dataclass(frozen=True)
class TrialJob:
    """What to train, and what to test it on.

    Attributes:
        spec: the network, with as many classes as the lists have.
        folder: where everything goes.
        videos: the training list.
        tested: the list it is tested on; None does not test.
        config: settings of the training.
        data: how clips are made.
        views: of the test.
        weights: file or folder of the weights to start from; None starts from random ones.
        resume: go on from what is in the folder; without it a folder that holds a training is refused.
    """

    spec: ArchSpec
    folder: Path
    videos: VideoList
    tested: VideoList | None
    config: TrainConfig
    data: DataConfig
    views: Views = CENTRE
    weights: Path | None = None
    resume: bool = True


@dataclass(frozen=True)
class TrialResult:
    """What became of it.

    Attributes:
        spec: the network.
        folder: where everything lies.
        kept: which weights were kept, in words.
        steps: optimiser steps of the training.
        figures: of the training, by name; see `vidnas.engine.train.train.TrainResult`.
        test: scores on the test list; None where there was none.
        failure: why there is no network, in one line; None where there is one.
        starved: whether it failed for want of memory, of which there may be more when it is tried again.
    """

    spec: ArchSpec
    folder: Path
    kept: str = ""
    steps: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    test: TestResult | None = None
    failure: str | None = None
    starved: bool = False

    def check(self) -> None:
        """Make sure that there is a network.

        Raises:
            VidnasError: the trial failed.
        """
        if self.failure is not None:
            raise rank_zero_error(VidnasError(f"{self.folder}: {self.failure}"))

    def tested(self) -> TestResult:
        """The scores, where the job asked for some.

        Raises:
            VidnasError: the trial failed.
        """
        self.check()
        assert self.test is not None
        return self.test


def run_trial(job: TrialJob) -> TrialResult:
    """Train and test, but for what is done already.

    Where there are several processes all of them call this; the first one writes.

    Raises:
        Diverged: its loss, or a score in validation or test, is not finite.
        Interrupted: stopped by a signal; the same job goes on.
        VidnasError: as `vidnas.engine.train.train.train`.
    """
    folder = RunFolder(job.folder)
    with folder.lock():
        run = train(initial_network(job), job.videos, job.config, job.data, job.folder, resume=job.resume)
        result = None if job.tested is None else test_once(run.network, job.tested, job)
    return TrialResult(run.network.spec, job.folder, run.kept, run.steps, run.figures, result)


def initial_network(job: TrialJob) -> ArchSpec | VideoNetwork:
    """What its training starts from: the spec, or a network with the weights given, the rest drawn by the seed."""
    if job.weights is None:
        return job.spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.config.seed)
        zero_init = job.config.zero_init_residual
        network, report = build_with_weights(job.spec, job.weights, zero_init_residual=zero_init)
    log.info(report.table())
    return network


def test_once(network: VideoNetwork, videos: VideoList, job: TrialJob) -> TestResult:
    """The test of a trained network, unless the job's folder holds it.

    Another test may lie there: `vidnas test` writes to the same place, at any clip, views and precision. One that
    could not read some videos is done again, as they may be whole by now.
    """
    config, folder = job.config, RunFolder(job.folder).test
    clip = seen_clip(network.spec.clip, job.data, job.views)
    asked = (videos.content_hash, str(job.views), str(clip), config.precision)
    found = load_result(folder) if (folder / "result.json").exists() else None
    if found and not found.broken and (found.list_hash, found.views, found.clip, found.precision) == asked:
        return found
    result = evaluate(
        network,
        videos,
        job.data,
        job.views,
        batch_size=config.batch_size,
        precision=config.precision,
        device=config.device,
        devices=config.devices,
    )
    if is_first_process():
        result.save(folder)
    return result
