"""Folds of lists."""

from pathlib import Path

import pytest

from vidnas.base.errors import VidnasError
from vidnas.data.folds import make_folds
from vidnas.data.video_list import Sample, VideoList


def people(groups: int, classes: int = 3, each: int = 2) -> VideoList:
    """Every person shows every class twice."""
    root = Path("/videos")
    samples = tuple(
        Sample(root / f"p{person}_c{label}_{take}.mp4", label, f"p{person}")
        for person in range(groups)
        for label in range(classes)
        for take in range(each)
    )
    return VideoList(root, samples, tuple("abc"[:classes]))


@pytest.mark.parametrize(("groups", "folds"), [(2, 2), (4, 4), (5, 5), (13, 5)])
def test_each_video_is_held_out_once_and_groups_stay_whole(groups, folds):
    videos = people(groups)
    found = make_folds(videos, 0)
    assert len(found) == folds
    held_out = [sample for fold in found for sample in fold.held_out.samples]
    assert sorted(held_out, key=lambda sample: sample.path) == sorted(videos.samples, key=lambda sample: sample.path)
    for fold in found:
        assert not {s.group for s in fold.train.samples} & {s.group for s in fold.held_out.samples}
        assert set(fold.train.samples) | set(fold.held_out.samples) == set(videos.samples)
        assert set(fold.held_out.labels) == {0, 1, 2}
        assert fold.train.samples == tuple(s for s in videos.samples if s in set(fold.train.samples))  # in their order


def test_number_is_as_asked_for():
    assert len(make_folds(people(6), 0, 3)) == 3


def test_too_few_groups():
    message = r"class 'a' has 2 videos in 1 group; each class needs 2 groups.*--folds-within-groups"
    with pytest.raises(VidnasError, match=message):
        make_folds(people(1), 0)
    found = make_folds(people(1), 0, within_groups=True)
    assert len(found) == 2
    assert {s.group for fold in found for s in fold.train.samples} == {"p0"}


def test_more_folds_than_groups():
    with pytest.raises(
        VidnasError, match=r"has 6 videos in 3 groups; each class needs 4 groups, one for each of fold 1"
    ):
        make_folds(people(3, each=2), 0, 4)
