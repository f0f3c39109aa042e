"""A race: networks are trained with the recipe in which the winner will be used, and the better half goes on.

A round is a fold of the training list and a seed. All that are in the race run the same round, so what tells them apart
is paired: the fold's difficulty and the luck of its seed are the same for all. After each round the better half by mean
over all rounds so far goes on. The yardstick runs every round and leaves never.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import NamedTuple, Protocol

from vidnas.search.proposals import Proposal

# So many stay until the last round decides.
FINALISTS = 2


class Round(NamedTuple):
    """What the networks of a round have in common: the fold that judges them, and the seed of their training."""

    fold: int
    seed: int


class Score(NamedTuple):
    """How a network did in a round.

    Attributes:
        headline: the figure that decides, in [0, 1].
        log_likelihood: mean per video; it decides where small folds give ties.
    """

    headline: float
    log_likelihood: float


class Judge(Protocol):
    """Trains networks and judges them on the fold of a round."""

    def __call__(self, proposals: Sequence[Proposal], round: Round) -> Sequence[Score | None]:
        """The score of each; None where a training failed."""
        ...


@dataclass
class Standing:
    """A network in the race.

    Attributes:
        proposal: the network and its source.
        scores: its result in each round that it ran, from the first on.
        failed: a training of it failed, so it left.
    """

    proposal: Proposal
    scores: list[Score] = field(default_factory=list)
    failed: bool = False

    @property
    def mean(self) -> Score:
        """Over its rounds; minus infinity without any."""
        if not self.scores:
            return Score(-math.inf, -math.inf)
        return Score(*(mean(values) for values in zip(*self.scores, strict=True)))

    def ahead_of(self, other: "Standing") -> list[float]:
        """Differences of the headline figure in the rounds that both ran."""
        return [own.headline - theirs.headline for own, theirs in zip(self.scores, other.scores, strict=False)]


class Paired(NamedTuple):
    """A mean of paired differences, and its standard error; infinite for one pair."""

    mean: float
    error: float


def paired(differences: Sequence[float]) -> Paired:
    """The mean of differences and how far it can be trusted."""
    error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else math.inf
    return Paired(mean(differences), error)


Newcomers = Callable[[Sequence[Standing]], Iterable[Proposal]]


def run_race(
    entrants: Sequence[Proposal],
    judge: Judge,
    rounds: Sequence[Round],
    *,
    yardstick: Proposal | None = None,
    newcomers: Newcomers | None = None,
    kept: float = 0.5,
) -> list[Standing]:
    """Run the rounds; of `n` in a round the better `kept` of them go on, rounded up, at least `FINALISTS`.

    Args:
        entrants: who starts.
        judge: trains and judges; called once per round and once more for the newcomers.
        rounds: at least one.
        yardstick: runs every round whatever its results, beside the half that goes on.
        newcomers: who joins after the first round, from the standings so far, the best first; they run it as well.
        kept: the part that goes on.

    Returns:
        All standings: those with more rounds first, among equals the higher mean first. The first is the winner.
    """
    standings = [Standing(proposal) for proposal in entrants]
    pace = next((one for one in standings if yardstick and _same(one.proposal, yardstick)), None)
    if yardstick and pace is None:
        pace = Standing(yardstick)
        standings.append(pace)
    running = list(standings)
    for number, round_ in enumerate(rounds):
        _run(running, judge, round_)
        if number == 0 and newcomers:
            known = {one.proposal.spec.content_hash for one in standings}
            joining = [Standing(one) for one in newcomers(ranked(running)) if one.spec.content_hash not in known]
            _run(joining, judge, round_)
            standings += joining
            running += joining
        in_race = [one for one in ranked(running) if not one.failed]
        if number + 1 == len(rounds):
            break
        rest = [one for one in in_race if one is not pace]
        going_on = rest[: going_on_of(len(rest), kept)]
        running = going_on + [pace for pace in in_race if pace not in rest]
    return ranked(standings)


def going_on_of(running: int, kept: float) -> int:
    """How many go on, the yardstick not counted."""
    return min(running, max(FINALISTS, math.ceil(kept * running)))


def trials_of(entrants: int, newcomers: int, rounds: int, kept: float = 0.5) -> int:
    """Trainings that a race of so many takes at most, the yardstick's not counted."""
    total, running = 0, entrants + newcomers
    for _ in range(rounds):
        total += running
        running = going_on_of(running, kept)
    return total


def ranked(standings: Iterable[Standing]) -> list[Standing]:
    """Failed ones last; those with more rounds first, then the higher mean."""
    return sorted(standings, key=lambda one: (not one.failed, len(one.scores), one.mean), reverse=True)


def _run(running: Sequence[Standing], judge: Judge, round_: Round) -> None:
    if not running:
        return
    for one, score in zip(running, judge([one.proposal for one in running], round_), strict=True):
        if score is None:
            one.failed = True
        else:
            one.scores.append(score)


def _same(one: Proposal, other: Proposal) -> bool:
    return one.spec.content_hash == other.spec.content_hash
