"""How the trials of a race are spent: on clips first, which matter most, then on networks."""

from dataclasses import dataclass

from vidnas.base.errors import VidnasError
from vidnas.search.race import trials_of

# Of the trials, at most so much goes to the clip.
_CLIP_SHARE = 0.4
# Of the clips that part goes on to the second round; of networks a half.
CLIPS_KEPT = 0.3
# Of the networks that start, so many join after the first round.
_NEWCOMERS = 1 / 4
_MOST_ROUNDS, _LEAST_NETWORKS = 4, 3


@dataclass(frozen=True)
class RacePlan:
    """How many of what.

    Attributes:
        clips: that start; 1 is no race of clips.
        near: clips that join, near the best of the first.
        clip_rounds: of the race of clips.
        networks: that start at the clip that won.
        newcomers: changed ones of the best, that join after the first round.
        rounds: of the race of networks; 0 is none.
    """

    clips: int
    near: int
    clip_rounds: int
    networks: int
    newcomers: int
    rounds: int

    @property
    def trials(self) -> int:
        """Trainings that it takes at most, X3D's at the clip that won once in each round of networks."""
        clips = 0
        if self.clip_rounds:
            clips = trials_of(self.clips, self.near, self.clip_rounds, CLIPS_KEPT)
        return clips + trials_of(self.networks, self.newcomers, self.rounds) + self.rounds


def plan_race(trials: int, clips: int, folds: int) -> RacePlan:
    """The largest race of so many trials: clips up to 40% of them, over two rounds where that leaves room.

    Args:
        trials: trainings in all.
        clips: that could be tried; 1 where it is given.
        folds: of the list; a round uses one.

    Raises:
        VidnasError: too few trials; says how many are needed.
    """
    least = least_trials(clips)
    if trials < least:
        raise VidnasError(f"a race of {trials} trials is none: give {least} or more")
    near = min(3, clips // 2)
    best = RacePlan(1, 0, 0, 0, 0, 0)
    for clip_rounds, joining in ((2, near), (2, 0), (1, 0)) if clips > 1 else ():
        best = RacePlan(clips, joining, clip_rounds, 0, 0, 0)
        if best.trials <= min(_CLIP_SHARE * trials, trials - least_trials(1)):
            break
    for rounds in range(2, min(_MOST_ROUNDS, max(2, folds)) + 1):
        for networks in range(_LEAST_NETWORKS, trials):
            plan = RacePlan(best.clips, best.near, best.clip_rounds, networks, round(networks * _NEWCOMERS), rounds)
            if plan.trials > trials:
                break
            # A round more halves what can start: it comes when eight or more do.
            if best.networks == 0 or networks > best.networks or networks >= 2**rounds:
                best = plan
    return best


def least_trials(clips: int) -> int:
    """The fewest trials of a race."""
    clip_rounds = 1 if clips > 1 else 0
    return RacePlan(clips, 0, clip_rounds, _LEAST_NETWORKS, 1, 2).trials
