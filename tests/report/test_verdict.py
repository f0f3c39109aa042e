"""What is said of how a race ended: no more than its standard error allows."""

import math

import pytest
from report_example import SEARCHED, X3D

from vidnas.report.data import Lead, Racer, RaceSummary
from vidnas.report.verdict import race_text

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
            "The winner came from the source mutant: +4.0 points against X3D at this clip over 2",
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
