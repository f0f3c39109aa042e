"""What is said of a race in which X3D, or everything, failed on the way."""

from dataclasses import replace

import pytest
from tiny_races import CLIP, course, race_on

from vidnas.arch.spec import ClipSpec
from vidnas.arch.zoo.x3d import x3d
from vidnas.base.errors import VidnasError
from vidnas.pipeline.race.archive import TrialArchive, read_trials
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


def test_a_race_in_which_everything_failed_in_the_end(synthetic_data, tmp_path):
    """Files say that those who went on failed in the second round, and the others in the first."""
    race_on(course(synthetic_data), synthetic_data, tmp_path)
    path = tmp_path / "trials.jsonl"
    entries = list(read_trials(path))
    went_on = {entry.network for entry in entries if entry.fold == 1}
    path.unlink()
    archive = TrialArchive(path)
    for entry in entries:
        ended_well = entry.network in went_on and entry.fold == 0
        archive.add(entry if ended_well else replace(entry, headline=None, failure="step 2: the loss is nan"))
    with pytest.raises(VidnasError, match=r"a training of each of the \d networks failed, as: step 2: the loss is nan"):
        race_on(course(synthetic_data), synthetic_data, tmp_path, resume=True)
    assert len(list(read_trials(path))) == len(entries)
