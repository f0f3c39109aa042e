"""What a run was asked to do comes back from its folder as it was."""

from pathlib import Path

import pytest

from vidnas.base.errors import VidnasError
from vidnas.data.datamodule import DataConfig
from vidnas.engine.train.config import TrainConfig
from vidnas.pipeline.job import Job, keep_job, load_job


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    data = DataConfig(
        tmp_path,
        jitter=(1.0, 1.2),
        augment="rand",
        rand_magnitude=7,
        tempo=(0.7, 1.3),
        aspect=(0.8, 1.25),
        rotate=10,
        erase=0.2,
    )
    job = Job("search", data, TrainConfig(epochs=3), "2x1", {"training list": "0123", "test list": "4567"})
    keep_job(job, tmp_path)
    assert load_job(tmp_path) == job


def test_another_job_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    lists = {"training list": "0123", "test list": "4567"}
    keep_job(Job("search", DataConfig(tmp_path), TrainConfig(epochs=3), "1x1", lists), tmp_path)
    before = (tmp_path / "job.json").read_bytes()
    with pytest.raises(VidnasError, match=r"job\.json: cannot go on from this: clips\.augment None then, rand now"):
        keep_job(Job("search", DataConfig(tmp_path, augment="rand"), TrainConfig(epochs=3), "1x1", lists), tmp_path)
    assert (tmp_path / "job.json").read_bytes() == before
    keep_job(Job("search", DataConfig(tmp_path, workers=7), TrainConfig(epochs=3), "1x1", lists), tmp_path)
    assert load_job(tmp_path).data.workers == 7
