"""The last trainings of a run: the network found and X3D, from the same seeds, on the whole training list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidnas.arch.cost import format_macs, network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.base.log import log
from vidnas.data.augment import Views
from vidnas.data.datamodule import DataConfig
from vidnas.data.video_list import printable
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import Executor, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.lists import Lists
from vidnas.report.data import PairedComparison
from vidnas.report.verdict import FEWEST_PAIRS, trainings
from vidnas.search.race import Paired, paired


@dataclass(frozen=True)
class Finals:
    """The trainings of two networks, pair by pair from the same seed.

    Attributes:
        seeds: of the trainings.
        searched: of the network found.
        x3d: of X3D at equal cost; the same trainings where X3D is what was found.
    """

    seeds: tuple[int, ...]
    searched: tuple[TrialResult, ...]
    x3d: tuple[TrialResult, ...]

    @property
    def is_x3d(self) -> bool:
        """Whether nothing was found that is ahead of X3D."""
        return self.searched[0].spec.content_hash == self.x3d[0].spec.content_hash

    @property
    def ahead(self) -> Paired:
        """By how much the network found is ahead of X3D, over the seeds."""
        pairs = zip(self.searched, self.x3d, strict=True)
        return paired([ours.tested().headline - theirs.tested().headline for ours, theirs in pairs])

    @property
    def same_videos(self) -> PairedComparison | None:
        """Test videos that only one of the first two got right; None where videos are not right or wrong as a whole."""
        searched, x3d = self.searched[0].tested().correct, self.x3d[0].tested().correct
        if searched is None or x3d is None or self.is_x3d:
            return None
        return PairedComparison(int((searched & ~x3d).sum()), int((x3d & ~searched).sum()))

    def mean(self, trials: Sequence[TrialResult]) -> float:
        """Of the headline figure over the seeds."""
        return sum(trial.tested().headline for trial in trials) / len(trials)


def final_folders(root: Path, name: str, seeds: int) -> list[Path]:
    """Where the trainings lie: the first has no number, as it is what a run stands for."""
    return [root / (name if i == 0 else f"{name}_{i + 1}") for i in range(seeds)]


def train_finals(
    searched: ArchSpec,
    x3d: ArchSpec,
    lists: Lists,
    training: TrainConfig,
    data: DataConfig,
    views: Views,
    root: Path,
    *,
    seeds: int,
    executor: Executor,
    resume: bool,
) -> Finals:
    """Train and test both; the test list is used once for each training, at the end.

    Args:
        searched: what was found.
        x3d: what it is compared with.
        lists: training and test list.
        training: settings of all trainings; pair number i has its seed plus i.
        data: how clips are made.
        views: of the test.
        root: the run folder.
        seeds: pairs.
        executor: runs the trainings.
        resume: go on where the folder's files end.

    Raises:
        VidnasError: a training failed, or there is no video that could be read in every test.
        Interrupted: stopped by a signal; everything done so far is kept.
    """
    named = {"searched": searched}
    if x3d.content_hash != searched.content_hash:
        named["x3d"] = x3d
    numbers = tuple(training.seed + i for i in range(seeds))
    jobs = [
        TrialJob(spec, folder, lists.train, lists.test, replace(training, seed=seed), data, views, resume=resume)
        for name, spec in named.items()
        for seed, folder in zip(numbers, final_folders(root, name, seeds), strict=True)
    ]
    for name, spec in named.items():
        told = {"searched": "what was found", "x3d": "X3D"}[name]
        log.info(f"training {told}: {network_cost(spec)}{f', {seeds} seeds' if seeds > 1 else ''}")

    def note(place: int, trial: TrialResult) -> None:
        if trial.failure is None:
            log.info(f"{trial.folder.name}: {trial.tested().describe()}")

    trials = run_jobs(executor, jobs, note)
    trials = _on_same_videos(trials)
    ours = tuple(trials[:seeds])
    return Finals(numbers, ours, tuple(trials[seeds:]) or ours)


def _on_same_videos(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Their tests on the videos that could be read in all of them; some may have been out of reach for a while."""
    tests = [trial.tested() for trial in trials]
    shared = set(tests[0].paths).intersection(*(test.paths for test in tests))
    missed = set().union(*(test.paths for test in tests)) - shared
    if not missed:
        return list(trials)
    log.warning(
        f"note: {len(missed)} test videos, as {printable(min(missed))}, could be read in some tests only; networks are "
        f"compared on the {len(shared)} others. Once they can be read, the same command with --resume tests again"
    )
    return [replace(trial, test=test.on(shared)) for trial, test in zip(trials, tests, strict=True)]


def headline(finals: Finals) -> str:
    """One line: both headline figures, the cost, and what they rest on."""
    ours, test = finals.searched[0], finals.searched[0].tested()
    cost = f"{format_macs(network_cost(ours.spec).macs)} @ {ours.spec.clip}"
    on = f"{test.headline_figure.text} on {len(test.paths)} videos at {cost}"
    seeds = len(finals.seeds)
    if finals.is_x3d:
        return f"X3D {100 * finals.mean(finals.searched):.1f}% {on}: nothing that was tried is clearly ahead of it"
    ahead = finals.ahead
    difference = f"; {100 * ahead.mean:+.1f} points, standard error {100 * ahead.error:.1f}"
    return (
        f"searched {100 * finals.mean(finals.searched):.1f}%, X3D {100 * finals.mean(finals.x3d):.1f}% {on}: "
        f"{trainings(seeds)}{difference if seeds >= FEWEST_PAIRS else ''}"
    )
