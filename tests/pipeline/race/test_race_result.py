"""What is said of a race in which X3D failed on the way, or another clip than the one chosen came first."""

from tiny_races import CLIP

from vidnas.arch.spec import ClipSpec
from vidnas.arch.zoo.x3d import x3d
from vidnas.pipeline.race.result import RaceResult, describe
from vidnas.search.proposals import Proposal
from vidnas.search.race import Score, Standing, ranked


def standing(width: float, *scores: float, clip: ClipSpec = CLIP, failed: bool = False) -> Standing:
    results = {number: Score(score, -1.0) for number, score in enumerate(scores)}
    return Standing(Proposal(x3d(f"n{width}", clip, width_factor=width), "test"), results, failed)


def told(*standings: Standing, yardstick: Standing) -> str:
    return describe(RaceResult((), tuple(ranked([*standings, yardstick])), yardstick, 9))


def test_x3d_that_failed_after_a_round():
    other = standing(1.0, 0.7, 0.8)
    text = told(other, yardstick=standing(2.0, 0.75, failed=True))
    assert "-5.0 points against X3D at its clip over 1 round, before a training of X3D failed" in text
    assert text.startswith("winner: n1.0")


def test_x3d_at_another_clip_is_no_lead_at_its_own():
    other = standing(1.0, 0.8, 0.9, clip=ClipSpec(frames=8, size=24, sampling="uniform"))
    text = told(other, standing(3.0, 0.7, 0.75), yardstick=standing(2.0, 0.7, 0.7))
    assert "+15.0 points against X3D at 4x24x24 over 2 rounds" in text
