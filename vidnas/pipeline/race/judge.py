"""Who judges in a race: trainings on all folds but one, tested on that one, each done once."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidnas.arch.cost import network_cost
from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file
from vidnas.base.log import log
from vidnas.data.datamodule import DataConfig
from vidnas.data.folds import Fold
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import Executor
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.race.archive import TrialArchive, TrialEntry, training_curve
from vidnas.search.proposals import Proposal
from vidnas.search.race import Round, Score


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

    def __call__(self, proposals: Sequence[Proposal], round: Round) -> list[Score | None]:
        """Train and test those that have no result in this round.

        Raises:
            VidnasError: all of several trainings failed; the message has the reason of the first.
        """
        keys = [(proposal.spec.content_hash, *round) for proposal in proposals]
        new = [proposal for proposal, key in zip(proposals, keys, strict=True) if key not in self.archive.entries]
        # The dearest first: they end together.
        new.sort(key=lambda proposal: -proposal.spec.clip.frames * proposal.spec.clip.size**2)
        fold = self.folds[round.fold]
        jobs = [
            TrialJob(
                proposal.spec,
                self.folder / "trials" / f"{proposal.spec.content_hash}_fold{round.fold}_seed{round.seed}",
                fold.train,
                fold.held_out,
                replace(self.config, seed=round.seed),
                self.data,
            )
            for proposal in new
        ]
        for proposal in new:
            path = self.folder / "networks" / f"{proposal.spec.content_hash}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, proposal.spec.to_json())

        def note(place: int, trial: TrialResult) -> None:
            entry = self._entry(new[place], round, trial)
            self.archive.add(entry)
            shutil.rmtree(trial.folder, ignore_errors=True)
            told = f"left out: {entry.failure}" if entry.headline is None else f"{entry.headline:6.1%}"
            log.info(
                f"trial {len(self.archive.entries)}/{self.expected}  fold {round.fold + 1}  {told}  {entry.name}  "
                f"{network_cost(trial.spec)}"
            )

        if jobs:
            self.executor(jobs, note)
        entries = [self.archive.entries[key] for key in keys]
        if entries and all(entry.headline is None for entry in entries):
            raise VidnasError(f"all {len(entries)} trainings of this round failed: {entries[0].failure}")
        return [entry.score for entry in entries]

    def _entry(self, proposal: Proposal, round: Round, trial: TrialResult) -> TrialEntry:
        cost = network_cost(proposal.spec)
        test = trial.test if trial.failure is None else None
        return TrialEntry(
            network=proposal.spec.content_hash,
            name=proposal.spec.name,
            source=proposal.source,
            clip=f"{proposal.spec.clip} {proposal.spec.clip.sampling}",
            macs=cost.macs,
            params=cost.params,
            fold=round.fold,
            seed=round.seed,
            steps=trial.steps,
            headline=test.headline if test else None,
            log_likelihood=test.log_likelihood if test else None,
            curve=training_curve(RunFolder(trial.folder).metrics),
            sec=trial.figures.get("train_sec", 0.0),
            failure=trial.failure,
        )
