"""The race on videos: the clip first, judged with X3D, then the networks at the clip that won."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, replace_file, write_json
from vidnas.base.log import log
from vidnas.data.clips import describe_coverage
from vidnas.data.datamodule import DataConfig
from vidnas.data.folds import make_folds
from vidnas.engine.run.state import check_identity
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.train import divided
from vidnas.engine.trials.executors import Executor
from vidnas.pipeline.race.archive import TrialArchive, TrialEntry
from vidnas.pipeline.race.config import RaceConfig
from vidnas.pipeline.race.course import Course
from vidnas.pipeline.race.early import early_ranks
from vidnas.pipeline.race.estimate import format_hours, trial_seconds, trials_within
from vidnas.pipeline.race.judge import TrialJudge
from vidnas.pipeline.race.plan import CLIPS_KEPT, RacePlan, plan_race
from vidnas.pipeline.race.result import RaceResult, describe, summary
from vidnas.search.clips import near_clips
from vidnas.search.proposals import Proposal, different_in_turn
from vidnas.search.race import Round, Standing, run_race

# The first file of a race: what it is of, and its plan.
_BEGUN = "race.json"
# The last one: its answer.
_ENDED = "result.json"
# Of the trainings of a race, apart from those of final trainings: a network shall not be judged by luck that it keeps.
_FIRST_SEED = 1000


class Race:
    """A race that leaves trials.jsonl, the specs in networks/, winner.json, race.json and result.json in its folder.

    The test list has no part in it. Killed, it goes on from the archive and the states of the trials under way.

    Args:
        course: videos and budget.
        data: how clips are made.
        training: of every trial; a length in epochs is that of the whole list, and the seed is the round's.
        config: how it is run.
        folder: takes everything.
        executor: runs the trainings.
        resume: go on with the race in the folder.
        max_hours: fewer trainings, so that they and `reserved` others fit; None is all of them. A race that has begun
            keeps its plan.
        hours_share: of these hours, where something else needs the rest.
        reserved: trainings that follow the race.
        dry_run: nothing is written, and nothing can be run.

    Raises:
        VidnasError: too few groups for folds, too few trials or hours, a race of something else in the folder.
    """

    def __init__(
        self,
        course: Course,
        data: DataConfig,
        training: TrainConfig,
        config: RaceConfig,
        folder: Path,
        executor: Executor,
        *,
        resume: bool = False,
        max_hours: float | None = None,
        hours_share: float = 1.0,
        reserved: int = 0,
        dry_run: bool = False,
    ) -> None:
        self.course, self.config, self.folder = course, config, folder
        videos = len(course.train)
        folds = make_folds(course.train, config.seed, config.folds, within_groups=config.folds_within_groups)
        # Of the whole list, whatever a fold leaves of it: the winner will be trained for as long.
        training = training.in_steps(videos, len(course.train.classes))
        identity = {
            "training list": course.train.content_hash[:12],
            "folds": [fold.held_out.content_hash[:12] for fold in folds],
            **course.limits.identity,
            "clip": course.clip and course.clip.model_dump(mode="json"),
            **({"space": course.space.content_hash} if course.space else {}),
            **({"streams": course.streams} if course.streams > 1 else {}),
            **{f"race.{name}": value for name, value in asdict(config).items()},
            **{f"train.{name}": value for name, value in training.fixed_settings().items()},
            **{f"clips.{name}": value for name, value in data.fixed_settings().items()},
        }
        begun = _begun(folder, identity, resume=resume)
        for fold in folds:
            divided(fold.train, training)  # or it would fail when its round comes
        self._starting = course.clips()
        clips = [f"{one.spec.clip} {one.spec.clip.sampling}" for one in self._starting]
        plan = _plan_begun(folder, begun, clips) if begun else None
        allowed, estimate = "", ""
        if plan is None:
            sec = trial_seconds([one.spec for one in self._starting], training, executor.workers, executor.threads)
            trials = config.trials
            if max_hours:
                trials = trials_within(max_hours, sec, trials, len(self._starting), reserved, hours_share)
                allowed = f" (of {config.trials}, as --max-hours allows)" if trials < config.trials else ""
            plan = plan_race(trials, len(self._starting), len(folds))
            estimate = f"; estimated {format_hours(sec * (plan.trials + reserved))} with the trainings that follow"
            if not dry_run:
                folder.mkdir(parents=True, exist_ok=True)
                write_json(folder / _BEGUN, {"identity": identity, "clips": clips, "plan": asdict(plan)})
        self.plan = plan
        rounds = [Round(i % len(folds), _FIRST_SEED + config.seed + i) for i in range(plan.clip_rounds + plan.rounds)]
        # Networks have rounds of their own: X3D looks better than it is on those by which its clip was chosen.
        self._clip_rounds, self._rounds = rounds[: plan.clip_rounds], rounds[plan.clip_rounds :]
        self._clips: list[Standing] = []
        log.info(
            f"race: {plan.trials} trainings{allowed} of {training.steps} steps at most, {len(self._starting)} clips "
            f"and {plan.networks} networks within {course.limits.text}, judged on {len(folds)} folds of {videos} "
            f"training videos{estimate}"
        )
        if not dry_run:
            # A race that has ended stays as it is.
            archive = TrialArchive(folder / "trials.jsonl", again=not (folder / _ENDED).exists())
            self._judge = TrialJudge(folds, data, training, folder, archive, executor, plan.trials)

    def choose_clip(self) -> ClipSpec:
        """Race X3D at each clip, and near the best of the first round; the one that is given needs no race.

        Raises:
            VidnasError: all trainings of a round failed.
            Interrupted: stopped by a signal; nothing is lost.
        """
        course, plan = self.course, self.plan

        def nearer(standings: Sequence[Standing]) -> list[Proposal]:
            best = standings[0].proposal.spec.clip
            return course.x3d_at_all(near_clips(best, course.held.frames, course.held.short_side))

        if plan.clip_rounds:
            self._clips = run_race(
                self._starting,
                self._judge,
                self._clip_rounds,
                newcomers=nearer,
                joining=plan.near,
                kept=CLIPS_KEPT,
                joining_alone=course.limits.timed,
            )
        log.info(f"clip {self.clip}: {describe_coverage(self.clip, course.held.duration_sec)}")
        return self.clip

    @property
    def entries(self) -> tuple[TrialEntry, ...]:
        """The trials that have ended, in their order."""
        return tuple(self._judge.archive.entries.values())

    @property
    def clip(self) -> ClipSpec:
        """The one that won, or was given."""
        return self._clips[0].proposal.spec.clip if self._clips else self._starting[0].spec.clip

    def choose_network(self, supernet: Sequence[Proposal] = ()) -> RaceResult:
        """Race networks at the clip that won, X3D at it and at the next best clip among them.

        Args:
            supernet: what a search proposes at that clip.

        Raises:
            VidnasError: all trainings of a round failed.
            Interrupted: stopped by a signal; nothing is lost.
        """
        course, plan, seed = self.course, self.plan, self.config.seed

        def changed(standings: Sequence[Standing]) -> Iterator[Proposal]:
            """Mutants of each of the best few, in turn."""
            parents = [one.proposal.spec for one in standings if course.holds(one.proposal.spec)]
            parents = parents[: max(1, plan.newcomers // 2)]
            return different_in_turn([course.changed(spec, seed + i) for i, spec in enumerate(parents)])

        yardstick = course.x3d(self.clip)
        others = [one.proposal for one in self._clips[1:2] if not one.failed]
        entrants = course.networks(self.clip, plan.networks - len(others), seed, supernet) + others
        standings = run_race(
            entrants,
            self._judge,
            self._rounds,
            yardstick=yardstick,
            newcomers=changed,
            joining=plan.newcomers,
            joining_alone=course.limits.timed,
        )
        if standings[0].failed:
            failure = next(entry.failure for entry in self.entries if entry.failure)
            raise VidnasError(f"a training of each of the {len(standings)} networks failed, as: {failure}")
        pace = next(one for one in standings if one.proposal.spec.content_hash == yardstick.spec.content_hash)
        early = tuple(early_ranks(self.entries))
        amounts = {
            one.proposal.spec.content_hash: course.limits.amounts(one.proposal.spec)
            for one in (*self._clips, *standings)
        }
        result = RaceResult(tuple(self._clips), tuple(standings), pace, len(self.entries), early, amounts)
        replace_file(self.folder / "winner.json", result.winner.proposal.spec.to_json())
        write_json(self.folder / _ENDED, summary(result))
        log.info(describe(result))
        return result


def _begun(folder: Path, identity: dict[str, Any], *, resume: bool) -> dict[str, Any] | None:
    """What the race in the folder has begun with, which must be the same race; None where there is none yet."""
    path = folder / _BEGUN
    if not path.exists():
        return None
    if not resume:
        raise VidnasError(f"{folder}: holds a race already; add --resume to go on with it, or choose another --out")
    begun: dict[str, Any] = read_json(path)
    check_identity(begun["identity"], identity, path)
    return begun


def _plan_begun(folder: Path, begun: dict[str, Any], clips: list[str]) -> RacePlan:
    """The plan of that race; its clips must be those that start now.

    They follow from what is in the videos; the race's identity says only which videos there are.
    """
    if begun["clips"] != clips:
        raise VidnasError(
            f"{folder / _BEGUN}: began with the clips {', '.join(begun['clips'])}; the videos as they are now ask for "
            f"{', '.join(clips)}: see that all can be read (`vidnas data check`), or choose another --out"
        )
    return RacePlan(**begun["plan"])
