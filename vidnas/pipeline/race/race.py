"""The race on videos: the clip first, judged with X3D, then the networks at the clip that won."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vidnas.arch.cost import format_macs, network_cost
from vidnas.arch.spec import ClassificationSpec, ClipSpec, HeadSpec, head_for
from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, replace_file, write_json
from vidnas.base.log import log
from vidnas.data.clips import describe_coverage
from vidnas.data.datamodule import DataConfig
from vidnas.data.folds import Fold, make_folds
from vidnas.data.video_list import VideoList
from vidnas.engine.run.state import check_identity
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import Executor
from vidnas.pipeline.lists import Holding
from vidnas.pipeline.race.archive import TrialArchive
from vidnas.pipeline.race.config import RaceConfig
from vidnas.pipeline.race.estimate import trials_within
from vidnas.pipeline.race.judge import TrialJudge
from vidnas.pipeline.race.plan import CLIPS_KEPT, RacePlan, plan_race
from vidnas.search.clips import clip_proposals, near_clips
from vidnas.search.proposals import (
    Proposal,
    along_axes,
    by_entropy,
    different_in_turn,
    drawn,
    hand_made,
    mutants,
    x3d_at,
)
from vidnas.search.race import Paired, Round, Standing, paired, run_race
from vidnas.search.space.published.auto import auto_space, nearest_rung
from vidnas.search.space.space import Space

# The first file of a race: what it is of, and its plan.
_BEGUN = "race.json"


@dataclass(frozen=True)
class RaceResult:
    """How it ended.

    Attributes:
        clips: standings of X3D at each clip, the winner first; empty where the clip was given.
        networks: standings of the networks at that clip, and of X3D at the next best one; the winner first.
        yardstick: X3D at the clip that won, which is among the networks.
        trials: trainings that it took.
    """

    clips: tuple[Standing, ...]
    networks: tuple[Standing, ...]
    yardstick: Standing
    trials: int

    @property
    def winner(self) -> Standing:
        """The network to be used."""
        return self.networks[0]

    @property
    def ahead(self) -> Paired | None:
        """Of X3D at the same clip, over the rounds that both ran; None where X3D won."""
        if self.winner is self.yardstick:
            return None
        return paired(self.winner.ahead_of(self.yardstick))


@dataclass(frozen=True)
class Course:
    """What a race is run on.

    Attributes:
        train: the training list, all that a race sees.
        held: what its videos hold.
        macs: the budget.
        clip: where it is given.
        supernet: networks that a search proposes at that clip.
    """

    train: VideoList
    held: Holding
    macs: float
    clip: ClipSpec | None = None
    supernet: tuple[Proposal, ...] = ()

    @property
    def head(self) -> HeadSpec:
        """Of every network in the race."""
        return head_for(ClassificationSpec(), len(self.train.classes), multi_label=self.train.multi_label)

    @property
    def depth_factor(self) -> float:
        """Of X3D at this cost."""
        return nearest_rung(self.macs).depth_factor

    def x3d(self, clip: ClipSpec) -> Proposal:
        """X3D at this cost and a clip."""
        return Proposal(x3d_at(clip, self.macs, self.head, self.depth_factor), "x3d")

    def x3d_at_all(self, clips: Sequence[ClipSpec]) -> list[Proposal]:
        """X3D at each clip at which some width of it has the cost."""
        found = []
        for clip in clips:
            try:
                found.append(self.x3d(clip))
            except VidnasError:
                continue
        return found

    def clips(self) -> list[Proposal]:
        """What the race of clips starts with."""
        if self.clip is not None:
            return [self.x3d(self.clip)]
        found = self.x3d_at_all(
            clip_proposals(self.macs, self.held.frames, self.held.short_side, self.held.duration_sec)
        )
        if not found:
            raise VidnasError(
                f"no X3D network costs {format_macs(self.macs)} at any clip that these videos hold; give another "
                "target, or a clip (--clip 16x56)"
            )
        return found

    def networks(self, clip: ClipSpec, number: int, seed: int) -> list[Proposal]:
        """As many networks, one of each source after another."""
        macs, head = self.macs, self.head
        x3d = self.x3d(clip).spec
        space = self._space(clip)
        sources: list[Iterable[Proposal]] = [
            self.supernet,
            [] if space is None else by_entropy(space, macs, number),
            mutants(x3d, macs, seed, "near x3d"),
            [] if space is None else drawn(space, macs, seed),
            along_axes(clip, macs, head, self.depth_factor),
            hand_made(clip, macs, head),
        ]
        return list(islice(different_in_turn(sources), number))

    def _space(self, clip: ClipSpec) -> Space | None:
        """AutoX3D's scaled to this cost and clip; None where no scale of it has the cost."""
        try:
            space, _ = auto_space(self.macs, num_classes=len(self.train.classes), clip=clip)
        except VidnasError as error:
            log.info(f"note: no networks of AutoX3D's space: {error}")
            return None
        return space.with_classes(len(self.train.classes), multi_label=self.train.multi_label)


def race_videos(
    course: Course,
    data: DataConfig,
    training: TrainConfig,
    config: RaceConfig,
    folder: Path,
    executor: Executor,
    *,
    resume: bool = False,
) -> RaceResult:
    """Race, and leave trials.jsonl, the specs in networks/, winner.json and race.json in the folder.

    The test list has no part in it. Killed, it goes on from the archive and the states of the trials under way.

    Args:
        course: videos and budget.
        data: how clips are made.
        training: of every trial; a length in epochs is that of the whole list, and the seed is the round's.
        config: how it is run.
        folder: takes everything.
        executor: runs the trainings.
        resume: go on with the race in the folder.

    Raises:
        VidnasError: too few groups for folds, too few trials, a race of something else in the folder, all trainings of
            a round failed.
        Interrupted: stopped by a signal; nothing is lost.
    """
    folds = make_folds(course.train, config.seed, config.folds, within_groups=config.folds_within_groups)
    clips = course.clips()
    videos = len(course.train)
    training = training.with_length(videos, len(course.train.classes))
    # Of the whole list, whatever a fold leaves of it: the winner will be trained for as long.
    training = replace(training, epochs=None, steps=training.num_steps(max(1, videos // training.batch_size)))
    identity = _identity(course, data, training, config, folds)
    plan = _plan_begun(folder, identity, resume=resume)
    if plan is None:
        trials = config.trials
        if config.max_hours:
            specs = [proposal.spec for proposal in clips]
            trials = trials_within(config.max_hours, specs, training, executor.workers, executor.threads, trials)
        plan = plan_race(trials, len(clips), len(folds))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _BEGUN, {"identity": identity, "plan": asdict(plan)})
    log.info(
        f"race: {plan.trials} trainings of {training.steps} steps at most, {len(clips)} clips and {plan.networks} "
        f"networks, judged on {len(folds)} folds of {videos} training videos"
    )
    judge = TrialJudge(folds, data, training, folder, TrialArchive(folder / "trials.jsonl"), executor, plan.trials)
    rounds = [Round(i % len(folds), config.seed + i) for i in range(max(plan.rounds, plan.clip_rounds))]
    clip_standings = _race_clips(course, plan, clips, judge, rounds)
    best_clip = clip_standings[0].proposal.spec.clip if clip_standings else clips[0].spec.clip
    log.info(f"clip {best_clip}: {describe_coverage(best_clip, course.held.duration_sec)}")
    yardstick = course.x3d(best_clip)
    others = [one.proposal for one in clip_standings[1:2]]

    def changed(standings: Sequence[Standing]) -> Iterator[Proposal]:
        """Mutants of each of the best few, in turn."""
        parents = [one.proposal.spec for one in standings[: max(1, plan.newcomers // 2)]]
        sources = [mutants(spec, course.macs, config.seed + i, "mutant") for i, spec in enumerate(parents)]
        return islice(different_in_turn(sources), plan.newcomers)

    entrants = course.networks(best_clip, plan.networks - len(others), config.seed) + others
    standings = run_race(entrants, judge, rounds[: plan.rounds], yardstick=yardstick, newcomers=changed)
    pace = next(one for one in standings if one.proposal.spec.content_hash == yardstick.spec.content_hash)
    result = RaceResult(tuple(clip_standings), tuple(standings), pace, len(judge.archive.entries))
    replace_file(folder / "winner.json", result.winner.proposal.spec.to_json())
    write_json(folder / "result.json", summary(result))
    log.info(describe(result))
    return result


def describe(result: RaceResult) -> str:
    """Who won, and how sure that is, in one line."""
    winner, spec = result.winner, result.winner.proposal.spec
    told = (
        f"winner: {spec.name} ({winner.proposal.source}), {network_cost(spec)}, {winner.mean.headline:.1%} on the folds"
    )
    ahead = result.ahead
    if ahead is None:
        return f"{told}; nothing was ahead of X3D"
    rounds = len(winner.ahead_of(result.yardstick))
    error = f" (standard error {100 * ahead.error:.1f})" if rounds > 1 else ""
    return f"{told}, {100 * ahead.mean:+.1f} points against X3D at its clip over {rounds} rounds{error}"


def summary(result: RaceResult) -> dict[str, Any]:
    """As builtins."""

    def row(one: Standing) -> dict[str, Any]:
        cost = network_cost(one.proposal.spec)
        return {
            "name": one.proposal.spec.name,
            "network": one.proposal.spec.content_hash,
            "source": one.proposal.source,
            "clip": str(one.proposal.spec.clip),
            "sampling": one.proposal.spec.clip.sampling,
            "macs": cost.macs,
            "params": cost.params,
            "scores": [score.headline for score in one.scores],
            "failed": one.failed,
        }

    return {
        "winner": row(result.winner),
        "x3d": row(result.yardstick),
        "clips": [row(one) for one in result.clips],
        "networks": [row(one) for one in result.networks],
        "trials": result.trials,
    }


def _race_clips(
    course: Course, plan: RacePlan, clips: Sequence[Proposal], judge: TrialJudge, rounds: Sequence[Round]
) -> list[Standing]:
    """X3D at each clip, and near the best of the first round; empty where there is nothing to choose."""
    if not plan.clip_rounds:
        return []

    def nearer(standings: Sequence[Standing]) -> Iterator[Proposal]:
        best = standings[0].proposal.spec.clip
        yield from course.x3d_at_all(near_clips(best, course.held.frames, course.held.short_side))[: plan.near]

    return run_race(clips, judge, rounds[: plan.clip_rounds], newcomers=nearer, kept=CLIPS_KEPT)


def _identity(
    course: Course, data: DataConfig, training: TrainConfig, config: RaceConfig, folds: Sequence[Fold]
) -> dict[str, Any]:
    """What makes two races the same."""
    return {
        "training list": course.train.content_hash[:12],
        "folds": [fold.held_out.content_hash[:12] for fold in folds],
        "macs": course.macs,
        "clip": str(course.clip) if course.clip else None,
        "supernet": [proposal.spec.content_hash for proposal in course.supernet],
        # A race that is short of time may get more of it, its plan is kept.
        **{f"race.{name}": value for name, value in asdict(config).items() if name != "max_hours"},
        **{f"train.{name}": value for name, value in training.fixed_settings().items()},
        **{f"clips.{name}": value for name, value in data.fixed_settings().items()},
    }


def _plan_begun(folder: Path, identity: dict[str, Any], *, resume: bool) -> RacePlan | None:
    """That of the race in the folder, which must be the same; None where there is none yet."""
    path = folder / _BEGUN
    if not path.exists():
        return None
    if not resume:
        raise VidnasError(f"{folder}: holds a race already; add --resume to go on with it, or choose another --out")
    begun = read_json(path)
    check_identity(begun["identity"], identity, path)
    return RacePlan(**begun["plan"])
