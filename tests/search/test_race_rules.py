"""The rules of a race, with judges whose truth is known."""

import math

import numpy as np
import pytest

from vidnas.arch.spec import ClipSpec
from vidnas.arch.zoo.x3d import x3d
from vidnas.search.proposals import Proposal
from vidnas.search.race import (
    FINALISTS,
    Round,
    Score,
    Standing,
    Trial,
    answer,
    lead,
    paired,
    run_race,
    trials_of,
)

CLIP = ClipSpec(frames=4, size=32)


def proposals(number: int) -> list[Proposal]:
    return [Proposal(x3d(f"n{i}", CLIP, width_factor=1 + i / 10), "test") for i in range(number)]


class KnownJudge:
    """A network's truth, plus what its fold adds for all, plus noise of its own in every round.

    So many workers run trials side by side, which take times drawn by a seed.
    """

    def __init__(
        self,
        truth: dict[str, float],
        noise: float = 0.0,
        broken: tuple[tuple[str, int], ...] = (),
        workers: int = 1,
        seed: int = 0,
    ) -> None:
        self.truth, self.noise, self.broken, self.workers = truth, noise, broken, workers
        self.trials: list[Trial] = []
        self.busy_sec = self.wall_sec = 0.0
        self._times = np.random.default_rng(seed)

    def __call__(self, wanted, scored):
        ends: list[tuple[float, int, Trial]] = []
        now = 0.0
        while True:
            for trial in wanted():
                if len(ends) == self.workers:
                    break
                if trial in self.trials:
                    continue
                sec = self._times.uniform(0.8, 1.2)
                self.busy_sec += sec
                ends.append((now + sec, len(self.trials), trial))
                self.trials.append(trial)
            if not ends:
                break
            ends.sort()
            now, _, trial = ends.pop(0)
            name = trial.proposal.spec.name
            scored(trial, None if (name, trial.number) in self.broken else self._score(name, trial.round))
        self.wall_sec += now

    @property
    def rounds(self) -> list[tuple[Round, list[str]]]:
        """Who ran each round, in the order in which they began."""
        found: dict[Round, list[str]] = {}
        for trial in self.trials:
            found.setdefault(trial.round, []).append(trial.proposal.spec.name)
        return list(found.items())

    def _score(self, name: str, round: Round) -> Score:
        own = np.random.default_rng([int(name[1:]), round.fold, round.seed]).normal(0, self.noise)
        headline = self.truth[name] + 0.1 * math.sin(7 * round.fold) + own
        return Score(headline, headline - 1)


ROUNDS = [Round(fold, seed) for seed, fold in enumerate((0, 1, 2, 0))]


def test_better_half_goes_on_and_the_best_wins():
    judge = KnownJudge({f"n{i}": i / 20 for i in range(9)})
    standings = run_race(proposals(9), judge, ROUNDS)
    assert [len(names) for _, names in judge.rounds] == [9, 5, 3, 2]
    assert [round for round, _ in judge.rounds] == ROUNDS
    assert [one.proposal.spec.name for one in standings] == [f"n{i}" for i in reversed(range(9))]
    assert judge.rounds[1][1] == ["n8", "n7", "n6", "n5", "n4"]


def test_folds_that_are_harder_do_not_count_against_those_who_run_more_of_them():
    """Who left early has the mean of an easy fold, which says nothing beside those who ran hard ones too."""
    truth = {"n0": 0.55, "n1": 0.56, "n2": 0.57, "n3": 0.4}
    standings = run_race(proposals(4), KnownJudge(truth), [Round(0, 0), Round(7, 1)])  # the second 10 points harder
    assert standings[2].proposal.spec.name == "n0"
    assert standings[2].mean > standings[0].mean
    assert [one.proposal.spec.name for one in standings[:2]] == ["n2", "n1"]


def test_yardstick_runs_every_round_whatever_it_does():
    pace = Proposal(x3d("n20", CLIP, width_factor=5), "x3d")
    judge = KnownJudge({**{f"n{i}": 0.5 + i / 20 for i in range(8)}, "n20": 0.1})
    standings = run_race(proposals(8), judge, ROUNDS, yardstick=pace)
    assert all("n20" in names for _, names in judge.rounds)
    assert [len(names) for _, names in judge.rounds] == [9, 5, 3, 3]  # beside the half that goes on
    yardstick = next(one for one in standings if one.proposal.spec.name == "n20")
    assert len(yardstick.scores) == 4
    assert standings[0].ahead_of(yardstick) == pytest.approx([0.75] * 4)


def test_yardstick_wins_where_nothing_is_ahead():
    pace = Proposal(x3d("n20", CLIP, width_factor=5), "x3d")
    judge = KnownJudge({**{f"n{i}": i / 20 for i in range(4)}, "n20": 0.9})
    assert run_race(proposals(4), judge, ROUNDS, yardstick=pace)[0].proposal.spec.name == "n20"


def test_newcomers_join_after_the_first_round_and_run_it():
    judge = KnownJudge({f"n{i}": i / 20 for i in range(10)})
    seen = []

    def better(standings):
        seen.append([one.proposal.spec.name for one in standings])
        return proposals(10)[3:]  # n3 is there already

    standings = run_race(proposals(4), judge, ROUNDS[:2], newcomers=better, joining=6)
    assert seen == [["n3", "n2", "n1", "n0"]]
    assert judge.rounds[0] == (ROUNDS[0], [f"n{i}" for i in range(10)])
    assert standings[0].proposal.spec.name == "n9"


def test_failed_ones_leave_and_the_race_goes_on():
    judge = KnownJudge({f"n{i}": i / 20 for i in range(4)}, broken=(("n3", 0),))
    standings = run_race(proposals(4), judge, ROUNDS)
    assert standings[0].proposal.spec.name == "n2"
    assert standings[-1].proposal.spec.name == "n3"
    assert standings[-1].failed
    assert all("n3" not in names for _, names in judge.rounds[1:])


def test_ties_of_small_folds_are_decided_by_log_likelihood():
    def judge(wanted, scored):
        for trial in wanted():
            scored(trial, Score(0.5, -2.0 if trial.proposal.spec.name == "n1" else -3.0))

    assert run_race(proposals(3), judge, ROUNDS[:1])[0].proposal.spec.name == "n1"


def test_noise_is_paid_for_with_rounds():
    """A deviation of 2.6 points per training among networks that differ by 3: the winner is far above the mean."""
    truth_of = [np.random.default_rng(seed).normal(0.7, 0.03, 12) for seed in range(30)]
    gained = []
    for seed, truth in enumerate(truth_of):
        judge = KnownJudge({f"n{i}": value for i, value in enumerate(truth)}, noise=0.026)
        rounds = [Round(0, seed * 10 + i) for i in range(4)]
        winner = run_race(proposals(12), judge, rounds)[0]
        gained.append(judge.truth[winner.proposal.spec.name] - truth.mean())
    assert np.mean(gained) > 0.03  # one deviation of the networks; the best of twelve is at 1.6
    assert np.mean(np.array(gained) > 0) > 0.9


def standing(*headlines: float, number: int = 0) -> Standing:
    return Standing(proposals(number + 1)[number], {i: Score(value, 0.0) for i, value in enumerate(headlines)})


def test_the_error_of_a_lead_is_pooled_over_all_with_two_rounds():
    """Differences 4 and 2 of one, -1 and 5 of another: squares 2 and 18 over 2 degrees of freedom, over 2 rounds."""
    first, yardstick = standing(9, 5), standing(5, 3, number=1)
    others = [standing(4, 8, number=2), standing(7, number=3)]
    mean, error = lead([first, yardstick, *others], yardstick)
    assert mean == pytest.approx(3)
    assert error == pytest.approx(math.sqrt(10 / 2))


def test_only_a_lead_above_its_error_takes_the_place_of_the_yardstick():
    yardstick = standing(0.70, 0.70)
    clear, within, apart = standing(0.75, 0.77, number=1), standing(0.71, 0.77, number=2), standing(0.9, number=3)
    assert answer([clear, yardstick], yardstick) is clear
    assert answer([yardstick, within], yardstick) is yardstick
    assert answer([apart, yardstick], yardstick) is yardstick  # one round beside it says nothing
    # 4 points ahead with an error of 3; what another one shows of the noise makes that an error of 40.
    assert answer([within, yardstick], yardstick) is within
    assert answer([within, standing(0.1, 0.9, number=4), yardstick], yardstick) is yardstick
    yardstick.failed = True
    assert answer([apart, yardstick], yardstick) is apart


def test_the_answer_is_seldom_worse_than_the_yardstick():
    """Among networks that are mostly worse than X3D the first on the folds often is; the answer less, at no cost."""
    gains: dict[str, list[float]] = {"first": [], "answer": []}
    for seed in range(150):
        truth = dict.fromkeys(["n0"], 0.7)
        truth |= {f"n{i}": value for i, value in enumerate(np.random.default_rng(seed).normal(0.67, 0.03, 8), start=1)}
        entrants = proposals(9)
        rounds = [Round(0, seed * 10 + i) for i in range(2)]
        standings = run_race(entrants, KnownJudge(truth, noise=0.06), rounds, yardstick=entrants[0])
        yardstick = next(one for one in standings if one.proposal is entrants[0])
        for name, one in (("first", standings[0]), ("answer", answer(standings, yardstick))):
            gains[name].append(truth[one.proposal.spec.name] - 0.7)
    worse = {name: np.mean(np.array(values) < -0.01) for name, values in gains.items()}
    assert worse["answer"] < 0.5 * worse["first"]
    assert np.mean(gains["answer"]) >= np.mean(gains["first"])


@pytest.mark.parametrize("seed", range(20))
def test_what_ends_when_changes_neither_the_trials_nor_the_standings(seed):
    """Trials that begin before their round are those that the race would have come to."""
    draw = np.random.default_rng(seed)
    number, joining, workers = draw.integers(3, 14), draw.integers(0, 5), draw.integers(2, 6)
    everyone = proposals(number + joining)
    truth = {one.spec.name: value for one, value in zip(everyone, draw.uniform(size=len(everyone)), strict=True)}
    broken = tuple((f"n{i}", int(draw.integers(4))) for i in range(1, number) if draw.random() < 0.15)
    found = []
    for side_by_side in (1, workers):
        judge = KnownJudge(truth, 0.1, broken, side_by_side, seed)
        standings = run_race(
            everyone[:number],
            judge,
            ROUNDS,
            yardstick=everyone[0],
            newcomers=lambda first: everyone[number:] if first[0].results else [],
            joining=joining,
        )
        trials = {(trial.number, trial.proposal.spec.name) for trial in judge.trials}
        assert len(trials) == len(judge.trials)
        found.append((trials, [(one.proposal.spec.name, one.scores, one.failed) for one in standings]))
    assert found[0] == found[1]


def test_cores_are_busy_to_the_end():
    """Two workers, 22 trials of four rounds: only the last decision leaves one of them without work."""
    shares = []
    for seed in range(20):
        judge = KnownJudge({f"n{i}": i / 20 for i in range(11)}, workers=2, seed=seed)
        run_race(proposals(8), judge, ROUNDS, yardstick=proposals(1)[0], newcomers=lambda _: proposals(11), joining=3)
        shares.append(judge.busy_sec / judge.wall_sec / 2)
    assert np.mean(shares) > 0.93


@pytest.mark.parametrize(("entrants", "newcomers", "rounds", "kept"), [(12, 3, 4, 0.5), (7, 3, 2, 0.3), (3, 0, 3, 0.5)])
def test_number_of_trials_is_known_before(entrants, newcomers, rounds, kept):
    judge = KnownJudge({f"n{i}": i / 100 for i in range(entrants + newcomers)})
    everyone = proposals(entrants + newcomers)
    rest = everyone[entrants:]
    run_race(everyone[:entrants], judge, ROUNDS[:rounds], newcomers=lambda _: rest, joining=newcomers, kept=kept)
    assert sum(len(names) for _, names in judge.rounds) == trials_of(entrants, newcomers, rounds, kept)
    assert len(judge.rounds[-1][1]) >= FINALISTS


def test_paired_differences():
    assert paired([0.02, 0.04]) == pytest.approx((0.03, 0.01))
    assert paired([0.02]).error == math.inf


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_is_trained_while_newcomers_are_timed(workers):
    """And the race is the same."""
    found = []
    for alone in (False, True):
        truth = {f"n{i}": i / 20 for i in range(12)}
        judge, under_way = KnownJudge(truth, workers=workers), []

        def nearer(standings, judge=judge, under_way=under_way):
            ended = sum(len(one.results) for one in standings)
            under_way.append(len(judge.trials) - ended)
            return proposals(12)[9:]

        more = {"yardstick": proposals(1)[0], "newcomers": nearer, "joining": 3, "joining_alone": alone}
        standings = run_race(proposals(9), judge, ROUNDS, **more)
        found.append([(one.proposal.spec.name, one.scores) for one in standings])
        assert under_way == [0] or not alone
    assert found[0] == found[1]
