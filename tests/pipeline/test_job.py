"""What a run was asked to do comes back from its folder as it was."""

from pathlib import Path

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
