"""What is said of how a race ended: no more than its standard error allows."""

import math
from dataclasses import replace

import pytest
from report_example import SEARCHED, X3D, report

from vidnas.report.data import Lead, Racer, RaceSummary
from vidnas.report.page import page
from vidnas.report.verdict import race_text, verdict

FOUND, YARDSTICK = "mutant_1", "x3d_1"


def race(*, won: str, lead: Lead | None) -> RaceSummary:
    """X3D and another network after two rounds, the first on the folds first."""
    scores = (0.80, 0.84) if lead else (0.79,)
    found = Racer(FOUND, "mutant", SEARCHED.cost, "8x40x40 uniform", scores, won=won == FOUND)
    x3d = Racer(YARDSTICK, "x3d", X3D.cost, "8x40x40 uniform", (0.78, 0.82), won=won == YARDSTICK, yardstick=True)
    networks = (x3d, found) if lead is None else (found, x3d)
    return RaceSummary((), networks, 9, lead)


@pytest.mark.parametrize(
    ("won", "lead", "expected"),
    [
        (
            FOUND,
            Lead(4.0, 1.5, 2),
            "The winner came from the source mutant: +4.0 points against X3D at 8x40x40 uniform over 2 rounds",
        ),
        (YARDSTICK, Lead(4.0, 5.5, 2), "First was mutant_1 from the source mutant: +4.0 points against X3D"),
        # The other one was ahead in the first round, and left.
        (YARDSTICK, None, "X3D had the highest mean of those that ran all rounds."),
        (FOUND, None, "X3D's training failed, so mutant_1 from the source mutant was compared with nothing."),
    ],
)
def test_each_ending_is_named(won: str, lead: Lead | None, expected: str) -> None:
    summary = race(won=won, lead=lead)
    assert summary.winner.name == won
    text = race_text(summary)
    assert expected in text
    assert ("X3D stays" in text) == (won == YARDSTICK and lead is not None)
    assert ("looks better there than it is" in text) == (lead is not None)
    if lead is not None:
        assert f"standard error {lead.error:.1f}" in text


def test_an_unknown_error_is_not_printed() -> None:
    text = race_text(race(won=YARDSTICK, lead=Lead(4.0, math.inf, 1)))
    assert "standard error" not in text.partition("The best of many")[0]
    assert "inf" not in text


def test_x3d_that_failed_later_is_named() -> None:
    ended = race(won=FOUND, lead=Lead(-3.0, math.inf, 1))
    x3d = replace(ended.yardstick, scores=(0.78,), failed=True)
    text = race_text(replace(ended, networks=(ended.networks[0], x3d)))
    assert "-3.0 points against X3D at 8x40x40 uniform over 1 round, before a training of X3D failed;" in text


def test_x3d_at_another_clip_is_said_to_have_met_none_at_its_own() -> None:
    """It was compared with X3D and others at the clip that was chosen."""
    others = race(won="nobody", lead=Lead(6.2, 4.9, 2)).networks
    other_clip = Racer("x3d_2", "x3d", X3D.cost, "16x24x24 uniform", (0.9, 0.88), won=True)
    summary = RaceSummary((), (other_clip, *others), 9, Lead(6.2, 4.9, 2))
    told = verdict(report(x3d=None, race=summary))
    assert "X3D is the answer: at the clip that had come second, it did better on the folds than X3D and others" in told
    assert "at 8x40x40 uniform; at its own clip it was raced against none." in told
    assert "not clearly ahead of it" not in told
    own = race(won=YARDSTICK, lead=Lead(4.0, 5.5, 2))
    told = verdict(report(x3d=None, race=own))
    assert "of 1 other network in the race the first was not clearly ahead of it" in told


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_architectures_are_compared_from_three_pairs_on(seeds: int) -> None:
    found, x3d = (replace(one, of_seeds=(0.7, 0.8, 0.75)[:seeds]) for one in (SEARCHED, X3D))
    told = verdict(report(searched=found, x3d=x3d, seeds=tuple(range(seeds))))
    assert ("which architecture is better" in told) == (seeds < 3)
    assert ("standard error" in told) == (seeds == 3)


@pytest.mark.parametrize(("first", "spread"), [((0.75,), "75.0%"), ((0.7, 0.8), "75.0 ± 7.1%"), ((), None)])
def test_random_networks_of_the_race_are_the_third_figure(first: tuple[float, ...], spread: str | None) -> None:
    ended = race(won=FOUND, lead=Lead(4.0, 1.5, 2))
    drawn = tuple(Racer(f"random_{i}", "random", X3D.cost, "8x40x40 uniform", (one,)) for i, one in enumerate(first))
    html = page(report(race=replace(ended, networks=(*ended.networks, *drawn))))
    cards = html[: html.index("<h2>")]
    assert (spread in cards) if spread else ("random network" not in cards)
    assert f'<td>random</td><td class="number">{len(first)}</td>' in html or not first
