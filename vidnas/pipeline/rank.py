"""Does the supernet's order of architectures agree with the order after training each on its own?"""

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from vidnas.arch.cost import format_macs, network_cost
from vidnas.base.errors import VidnasError
from vidnas.base.log import log
from vidnas.data.formats import VideoList
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.supernet.candidates import Judgement, candidates_from
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import QUIETLY, Executor, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.finished_search import FinishedSearch
from vidnas.pipeline.search import judge_on_holdout
from vidnas.search.baselines import choices_within
from vidnas.search.budget import between
from vidnas.search.costs import CostTable
from vidnas.search.space.space import Choice

# Random architectures that are drawn for each that is kept, so that all costs can be had.
_DRAWN = 50
# Part of the run's epochs that a network gets here.
_SHORT = 1 / 4


@dataclass(frozen=True)
class RankSettings:
    """What is compared.

    Attributes:
        number: architectures.
        epochs: of each training; None is a quarter of the run's.
        macs_range: what they may cost; None is anything up to the target of the search.
        seed: of the draw.
    """

    number: int = 20
    epochs: int | None = None
    macs_range: tuple[float, float] | None = None
    seed: int = 0

    def training(self, run: TrainConfig, videos: int) -> TrainConfig:
        """The short schedule on a list of so many videos; the warm-up shrinks with it."""
        if self.epochs is None:
            return run.shorten(_SHORT)
        steps_per_epoch = max(1, videos // run.batch_size)
        part = self.epochs * steps_per_epoch / run.num_steps(steps_per_epoch)
        return replace(run.shorten(part), epochs=self.epochs, steps=None)


@dataclass(frozen=True)
class RankedNetwork:
    """One architecture, judged both ways on the holdout; log-likelihoods are means per video.

    Attributes:
        choice: the architecture.
        macs: of one clip.
        supernet_log_likelihood: with the shared weights and norm statistics of its own.
        supernet_headline: the same as the figure that the task is known by (top-1, mAP).
        alone_log_likelihood: after a training of its own.
        alone_headline: the same as that figure.
    """

    choice: Choice
    macs: int
    supernet_log_likelihood: float
    supernet_headline: float
    alone_log_likelihood: float
    alone_headline: float


def rank_networks(
    finished: FinishedSearch, settings: RankSettings, executor: Executor = QUIETLY
) -> list[RankedNetwork]:
    """Train random architectures on their own, each in RUN/rank/<hash>; trained ones are not trained again.

    They learn from the training list without the holdout and are tested on the holdout, where the supernet is judged
    too. The test list is not used.

    Args:
        finished: the search.
        settings: what is compared.
        executor: runs the trainings.

    Raises:
        VidnasError: too few architectures in the range of costs.
        Interrupted: stopped by a signal; the same command goes on.
    """
    choices = spread_choices(finished, settings)
    training = settings.training(finished.training, len(finished.lists.train))
    holdout = finished.plan.parts["holdout"]
    videos = without(finished.lists.train, holdout)
    log.info(
        f"{len(choices)} networks, {training.describe_length()} each on {len(videos)} videos, judged on {len(holdout)} "
        "others"
    )
    candidates = candidates_from(choices, finished.search.alpha.distribution, finished.search.alpha.budgets)
    judged = {one.derived.choice: one for one in judge_on_holdout(finished.search, candidates, finished.data)}
    jobs = [_job(finished, choice, training, videos, holdout) for choice in choices]
    results: dict[int, RankedNetwork] = {}

    def note(place: int, trial: TrialResult) -> None:
        # Twenty networks need no state to go on from once they are trained.
        RunFolder(trial.folder).state.unlink(missing_ok=True)
        if trial.failure is not None:
            log.info(f"{place + 1}/{len(jobs)}  left out: {trial.folder}: {trial.failure}")
            return
        results[place] = _ranked(judged[choices[place]], trial)
        log.info(f"{place + 1}/{len(jobs)}  {describe_network(results[place], finished)}")

    with RunFolder(finished.root).lock():
        run_jobs(executor, jobs, note)
    if len(results) < 2:
        raise VidnasError("fewer than two trainings came to their end, which rank nothing; see the failures above")
    return [results[place] for place in sorted(results)]


def spread_choices(finished: FinishedSearch, settings: RankSettings) -> list[Choice]:
    """Different random architectures, as evenly over the range of costs as random ones can be had.

    Raises:
        VidnasError: fewer than asked for were drawn in the range.
    """
    table = CostTable.of(finished.space)
    low, high = settings.macs_range or (0.0, finished.plan.targets.get("macs", table.dearest()[1]))
    draws = choices_within(between(table, low, high), settings.seed)
    left = dict.fromkeys(islice(draws, _DRAWN * settings.number))
    if len(left) < settings.number:
        raise VidnasError(
            f"only {len(left)} architectures were found that cost {format_macs(low)} to {format_macs(high)} @ "
            f"{finished.space.clip}, {settings.number} are wanted; widen --range or lower -n"
        )
    cost_of = dict(zip(left, table.costs(list(left)).tolist(), strict=True))
    taken = []
    for wanted in np.linspace(min(cost_of.values()), max(cost_of.values()), settings.number).tolist():
        taken.append(min(left, key=lambda choice: abs(cost_of[choice] - wanted)))
        del left[taken[-1]]
    return sorted(taken, key=lambda choice: cost_of[choice])


def without(videos: VideoList, part: VideoList) -> VideoList:
    """The list without the videos of a part of it."""
    paths = {sample.path for sample in part.samples}
    return videos.subset(i for i, sample in enumerate(videos.samples) if sample.path not in paths)


def describe_network(one: RankedNetwork, finished: FinishedSearch) -> str:
    """Cost and both judgements in one line."""
    return (
        f"{format_macs(one.macs)} @ {finished.space.clip}  supernet {one.supernet_log_likelihood:.4f} "
        f"({one.supernet_headline:.1%})  alone {one.alone_log_likelihood:.4f} ({one.alone_headline:.1%})"
    )


def _job(
    finished: FinishedSearch, choice: Choice, training: TrainConfig, videos: VideoList, holdout: VideoList
) -> TrialJob:
    spec = finished.space.decode(choice)
    # Other schedules of the same network lie beside each other.
    folder = finished.root / "rank" / f"{spec.content_hash}_{training.describe_length().replace(' ', '_')}"
    return TrialJob(spec, folder, videos, holdout, training, finished.job.data)


def _ranked(judged: Judgement, trial: TrialResult) -> RankedNetwork:
    return RankedNetwork(
        choice=judged.derived.choice,
        macs=network_cost(trial.spec).macs,
        supernet_log_likelihood=judged.log_likelihood,
        supernet_headline=judged.headline,
        alone_log_likelihood=trial.tested().log_likelihood,
        alone_headline=trial.tested().headline,
    )
