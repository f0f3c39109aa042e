"""Who judges in a race: trainings on all folds but one, tested on that one, each done once."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidnas.arch.cost import network_cost
from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file
from vidnas.base.log import log
from vidnas.data.datamodule import DataConfig
from vidnas.data.folds import Fold
from vidnas.data.video_list import printable
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import Executor
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.race.archive import TrialArchive, TrialEntry, training_curve
from vidnas.search.race import Score, Trial


@dataclass
class TrialJudge:
    """A `vidnas.search.race.Judge` that trains; what the archive holds is not trained again.

    Attributes:
        folds: of the training list.
        data: how clips are made; they follow the clip of each network.
        config: of all trainings; the seed is the round's.
        folder: takes the specs, and the trials that are under way.
        archive: of all that have ended.
        executor: runs the trainings.
        expected: trials of the whole race, for the lines about progress.
    """

    folds: Sequence[Fold]
    data: DataConfig
    config: TrainConfig
    folder: Path
    archive: TrialArchive
    executor: Executor
    expected: int

    def __call__(self, wanted: Callable[[], Sequence[Trial]], scored: Callable[[Trial, Score | None], None]) -> None:
        """As `vidnas.search.race.Judge`.

        Raises:
            VidnasError: all of several trainings failed; the message has the reason of the first.
        """
        begun: dict[Path, Trial] = {}

        def next_job() -> TrialJob | None:
            while waiting := [trial for trial in wanted() if self._folder(trial) not in begun]:
                # Of a round the dearest first: they end together.
                trial = min(waiting, key=lambda one: (one.number, -_pixels(one)))
                job = self._job(trial)
                begun[job.folder] = trial
                known = self.archive.entries.get(_key(trial))
                if known is None:
                    return job
                # Killed after it was noted, it left its folder.
                shutil.rmtree(job.folder, ignore_errors=True)
                scored(trial, known.score)
            return None

        def take(job: TrialJob, result: TrialResult) -> None:
            trial = begun[job.folder]
            entry = self._entry(trial, result)
            self._check_read(entry, result)
            self.archive.add(entry)
            shutil.rmtree(job.folder, ignore_errors=True)
            told = f"left out: {entry.failure}" if entry.headline is None else f"{entry.headline:6.1%}"
            log.info(
                f"trial {len(self.archive.entries)}/{self.expected}  fold {entry.fold + 1}  {told}  {entry.name}  "
                f"{network_cost(result.spec)}"
            )
            scored(trial, entry.score)

        self.executor(next_job, take)
        entries = [self.archive.entries[_key(trial)] for trial in begun.values()]
        if entries and all(entry.headline is None for entry in entries):
            raise VidnasError(f"all {len(entries)} trainings failed: {entries[0].failure}")

    def _check_read(self, entry: TrialEntry, result: TrialResult) -> None:
        """Make sure that a fold judges all networks by the same videos: some may be out of reach for a while.

        Raises:
            VidnasError: this trial, or one before, could not read what others could; it will be judged again.
        """
        known = self.archive.entries.values()
        others = [
            one for one in known if one.fold == entry.fold and one.videos and one.videos_hash != entry.videos_hash
        ]
        if not others or not entry.videos:
            return
        before = max(one.videos for one in others)
        told = f"fold {entry.fold + 1}: {entry.videos} of its videos can be read now and {before} could before"
        if before < entry.videos:
            self.archive.drop(others)
            self.archive.add(entry)
            told += f", so the {len(others)} trials that were judged then have to be run again"
        for path, cause in result.tested().broken[:1]:
            told += f" ({printable(path)}: {cause})"
        raise VidnasError(f"{told}; see that all can be read (`vidnas data check`), then go on with --resume")

    def _folder(self, trial: Trial) -> Path:
        name, fold, seed = _key(trial)
        return self.folder / "trials" / f"{name}_fold{fold}_seed{seed}"

    def _job(self, trial: Trial) -> TrialJob:
        """The training of a trial; its spec is written, so that the archive's names can be looked up."""
        spec, fold = trial.proposal.spec, self.folds[trial.round.fold]
        path = self.folder / "networks" / f"{spec.content_hash}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, spec.to_json())
        config = replace(self.config, seed=trial.round.seed)
        return TrialJob(spec, self._folder(trial), fold.train, fold.held_out, config, self.data)

    def _entry(self, trial: Trial, result: TrialResult) -> TrialEntry:
        proposal, round_ = trial.proposal, trial.round
        cost = network_cost(proposal.spec)
        test = result.test if result.failure is None else None
        return TrialEntry(
            network=proposal.spec.content_hash,
            name=proposal.spec.name,
            source=proposal.source,
            clip=f"{proposal.spec.clip} {proposal.spec.clip.sampling}",
            macs=cost.macs,
            params=cost.params,
            fold=round_.fold,
            seed=round_.seed,
            steps=result.steps,
            headline=test.headline if test else None,
            log_likelihood=test.log_likelihood if test else None,
            curve=training_curve(RunFolder(result.folder).metrics),
            sec=result.figures.get("train_sec", 0.0),
            failure=result.failure,
            starved=result.starved,
            videos=len(test.paths) if test else 0,
            videos_hash=_digest(test.paths) if test else "",
        )


def _key(trial: Trial) -> tuple[str, int, int]:
    """As `TrialEntry.key`."""
    return trial.proposal.spec.content_hash, trial.round.fold, trial.round.seed


def _digest(paths: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(paths).encode()).hexdigest()[:12]


def _pixels(trial: Trial) -> int:
    clip = trial.proposal.spec.clip
    return clip.frames * clip.size**2
