"""The median length of a list's videos."""

import dataclasses

import pytest

from vidnas.data.cache import open_reader
from vidnas.data.formats import load_dataset
from vidnas.data.reader import FileReader
from vidnas.engine.evaluate.coverage import median_duration


def test_videos_that_cannot_be_opened_are_passed_over(synthetic_data, tmp_path):
    videos = load_dataset(synthetic_data).test.subset(range(3))
    missing = dataclasses.replace(videos.samples[0], path=tmp_path / "none.mp4")
    some = dataclasses.replace(videos, samples=(missing, *videos.samples))
    paths = [sample.path for sample in some.samples]
    for reader in (FileReader(), open_reader(paths, 32, cache_dir=tmp_path, progress=False)):
        assert median_duration(some, reader) == pytest.approx(1.0)
    assert median_duration(dataclasses.replace(videos, samples=(missing,)), FileReader()) is None
