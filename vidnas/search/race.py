"""A race: networks are trained with the recipe in which the winner will be used, and the better half goes on.

A round is a fold of the training list and a seed. All that are in the race run the same round, so what tells them apart
is paired: the fold's difficulty and the order of its clips are the same for all. After each round the better half by
mean over all rounds so far goes on. The yardstick runs every round and leaves never.

Whoever trains need not wait for the end of a round: a trial is wanted as soon as no result that is missing can make it
superfluous. So all cores have work, and the race is the same as if round came after round.

The best of many looks better on the folds than it is. So the answer of a race is the yardstick, unless the first is
ahead of it by more than one standard error: the rule by which Breiman et al. choose the size of a tree (Classification
and Regression Trees, 1984, sec. 3.4.3).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
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


class Trial(NamedTuple):
    """A training of the race.

    Attributes:
        number: of its round, from 0.
        round: fold and seed.
        proposal: the network.
    """

    number: int
    round: Round
    proposal: Proposal


class Judge(Protocol):
    """Trains networks and judges them on the folds of their rounds."""

    def __call__(self, wanted: Callable[[], Sequence[Trial]], scored: Callable[[Trial, Score | None], None]) -> None:
        """Run trials for as long as some are wanted.

        Args:
            wanted: all that have no score and will be needed whatever the others give, those under way included; more
                after each score.
            scored: takes the score of each; None where a training failed.
        """
        ...


@dataclass
class Standing:
    """A network in the race.

    Attributes:
        proposal: the network and its source.
        results: by the number of the round.
        failed: a training of it failed, so it left.
    """

    proposal: Proposal
    results: dict[int, Score] = field(default_factory=dict)
    failed: bool = False

    @property
    def scores(self) -> list[Score]:
        """Its result in each round that it ran, from the first on."""
        found: list[Score] = []
        while len(found) in self.results:
            found.append(self.results[len(found)])
        return found

    @property
    def mean(self) -> Score:
        """Over its rounds; minus infinity without any."""
        return self.mean_of(len(self.results))

    def mean_of(self, rounds: int) -> Score:
        """Over the first rounds."""
        scores = self.scores[:rounds]
        if not scores:
            return Score(-math.inf, -math.inf)
        return Score(*(mean(values) for values in zip(*scores, strict=True)))

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


def lead(standings: Sequence[Standing], yardstick: Standing) -> Paired | None:
    """By how much the first is ahead of the yardstick over the rounds that both ran, and how far that can be trusted.

    The variance of a difference is pooled over all networks that ran two rounds or more beside the yardstick, since a
    few rounds of one pair say little of it.

    Args:
        standings: of a race, the first one first.
        yardstick: one of them.

    Returns:
        None where the yardstick is the first itself, or has no round beside the first.
    """
    ahead = standings[0].ahead_of(yardstick)
    if standings[0] is yardstick or not ahead:
        return None
    several = [found for one in standings if one is not yardstick and len(found := one.ahead_of(yardstick)) > 1]
    freedom = sum(len(found) - 1 for found in several)
    squares = sum((value - mean(found)) ** 2 for found in several for value in found)
    error = math.sqrt(squares / freedom / len(ahead)) if freedom else math.inf
    return Paired(mean(ahead), error)


def answer(standings: Sequence[Standing], yardstick: Standing) -> Standing:
    """The network to be used: the first where it is ahead of the yardstick by more than one standard error."""
    first = standings[0]
    if yardstick.failed:
        return first
    ahead = lead(standings, yardstick)
    return first if ahead is not None and ahead.mean > ahead.error else yardstick


Newcomers = Callable[[Sequence[Standing]], Iterable[Proposal]]


def run_race(
    entrants: Sequence[Proposal],
    judge: Judge,
    rounds: Sequence[Round],
    *,
    yardstick: Proposal | None = None,
    newcomers: Newcomers | None = None,
    joining: int = 0,
    kept: float = 0.5,
    joining_alone: bool = False,
) -> list[Standing]:
    """Run the rounds; of `n` in a round the better `kept` of them go on, rounded up, at least `FINALISTS`.

    Args:
        entrants: who starts.
        judge: trains and judges.
        rounds: at least one.
        yardstick: runs every round whatever its results, beside the half that goes on.
        newcomers: who joins after the first round, from the standings in it, the best first; they run it as well.
        joining: how many of them at most.
        kept: the part that goes on.
        joining_alone: nothing is trained while `newcomers` is asked, as it times networks.

    Returns:
        All standings: those with more rounds first, among equals the higher mean first; `answer` names the one to use.
    """
    race = _Race(entrants, rounds, yardstick, newcomers, joining, kept, joining_alone)
    judge(race.wanted, race.scored)
    return ranked(race.standings)


class _Race:
    """The standings, and what follows from them."""

    def __init__(
        self,
        entrants: Sequence[Proposal],
        rounds: Sequence[Round],
        yardstick: Proposal | None,
        newcomers: Newcomers | None,
        joining: int,
        kept: float,
        joining_alone: bool,
    ) -> None:
        self.standings = [Standing(proposal) for proposal in entrants]
        self._pace = next((one for one in self.standings if yardstick and _same(one.proposal, yardstick)), None)
        if yardstick and self._pace is None:
            self._pace = Standing(yardstick)
            self.standings.append(self._pace)
        self._rounds, self._kept = rounds, kept
        self._newcomers, self._joining = newcomers, joining if newcomers else 0
        self._joining_alone = joining_alone

    def scored(self, trial: Trial, score: Score | None) -> None:
        """Take the score of a trial."""
        standing = next(one for one in self.standings if _same(one.proposal, trial.proposal))
        if score is None:
            standing.failed = True
        else:
            standing.results[trial.number] = score

    def wanted(self) -> list[Trial]:
        """As `Judge` is given it, round after round."""
        if self._joining and all(one.failed or 0 in one.results for one in self.standings):
            self._join()
        found = []
        # Who will certainly run a round, and how many more may.
        running, unknown = self.standings, self._joining
        for number, round_ in enumerate(self._rounds):
            missing = [one for one in running if not one.failed and number not in one.results]
            found += [Trial(number, round_, one.proposal) for one in missing]
            if self._joining and self._joining_alone:
                break
            running, unknown = self._going_on(number, running, unknown)
        return found

    def _join(self) -> None:
        assert self._newcomers is not None
        known = {one.proposal.spec.content_hash for one in self.standings}
        # By the first round alone: of others it depends on who was faster what is known by now.
        first = sorted(self.standings, key=lambda one: one.mean_of(1), reverse=True)
        new = (one for one in self._newcomers(first) if one.spec.content_hash not in known)
        self.standings += map(Standing, islice(new, self._joining))
        self._joining = 0

    def _going_on(self, number: int, running: Sequence[Standing], unknown: int) -> tuple[list[Standing], int]:
        """Who of those in a round is in the next one whatever is missing, and how many more will be at most."""
        rest = [one for one in running if one is not self._pace and not one.failed]
        ended = [one for one in rest if len(one.scores) > number]
        ended.sort(key=lambda one: one.mean_of(number + 1), reverse=True)
        missing = len(rest) - len(ended) + unknown

        def places(better: int) -> int:
            """Where so many of those missing come to their end, all of them ahead; the others fail."""
            return going_on_of(len(ended) + better, self._kept)

        certain = [
            one
            for place, one in enumerate(ended)
            if all(place + better < places(better) for better in range(missing + 1))
        ]
        pace = [self._pace] if self._pace is not None and not self._pace.failed else []
        return certain + pace, places(missing) - len(certain)


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


def _same(one: Proposal, other: Proposal) -> bool:
    return one.spec.content_hash == other.spec.content_hash
