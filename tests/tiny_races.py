"""Races of three classes that take a second or two."""

from dataclasses import replace
from pathlib import Path

from tiny_training import tiny_config, tiny_data

from vidnas.arch.spec import ClipSpec
from vidnas.base.log import notes_only
from vidnas.data.formats import load_dataset
from vidnas.engine.trials.executors import QUIETLY
from vidnas.pipeline.lists import Holding
from vidnas.pipeline.race.config import RaceConfig
from vidnas.pipeline.race.course import Course
from vidnas.pipeline.race.race import Race
from vidnas.pipeline.race.result import RaceResult
from vidnas.search.limits import Limits

HELD = Holding(frames=24, short_side=48, duration_sec=1.0)
CLIP = ClipSpec(frames=4, size=24, sampling="uniform")
LIMITS = Limits({"macs": 2.5e6})


def course(data: Path, clip: ClipSpec | None = CLIP, limits: Limits = LIMITS, classes: int = 3) -> Course:
    """A race of three classes of `synthetic_data`."""
    train = load_dataset(data).train
    kept = replace(train, classes=train.classes[:classes]).subset(
        i for i, sample in enumerate(train.samples) if sample.labels[0] < classes
    )
    return Course(kept, HELD, limits, clip)


def race_on(one: Course, data: Path, folder: Path, *, trials: int = 8, resume: bool = False, **settings) -> RaceResult:
    """Trainings of two steps, two folds, all in this process."""
    config = tiny_config(steps=2, batch_size=6, threads=1, checkpoint_every_steps=1, **settings)
    with notes_only():
        return run(Race(one, tiny_data(data), config, RaceConfig(trials, folds=2), folder, QUIETLY, resume=resume))


def run(race: Race) -> RaceResult:
    """The clip, then the networks."""
    race.choose_clip()
    return race.choose_network()
