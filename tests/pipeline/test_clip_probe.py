"""The probe of single frames against their order, on real video files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vidnas.data.datamodule import DataConfig
from vidnas.data.synthetic import CLASSES, MOTIONS, draw_scene, drift, render, write_dataset, write_video
from vidnas.data.video_list import Sample, VideoList
from vidnas.pipeline.clip_prior import FEW, MANY, prior_of
from vidnas.pipeline.clip_probe import FRAMES, Probe, compare, probe_videos, sampled, standard_error
from vidnas.pipeline.lists import holding, load_lists

GROUPS = 8


def looked_at(videos: VideoList, seed: int = 0) -> Probe:
    return probe_videos(videos, holding(videos), seed)


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> VideoList:
    """Classes that no single frame tells apart, by construction."""
    root = tmp_path_factory.mktemp("motions")
    classes = ("move_left", "move_right", "move_up", "move_down")
    write_dataset(root, classes=classes, train_per_class=12, test_per_class=1, size=(48, 64), frames=20, fps=20)
    return load_lists(DataConfig(root)).train


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> VideoList:
    """The same movements in each class; red, green and blue light."""
    root = tmp_path_factory.mktemp("looks")
    samples = []
    for place in range(GROUPS):
        for label in range(3):
            rng = np.random.default_rng((place, label))
            states = drift(MOTIONS[CLASSES[place % 4]], 16, rng)
            frames = render(draw_scene(states, (32, 32), np.random.default_rng(place), rng))
            light = np.full(3, 0.6)
            light[label] = 1
            path = root / f"{label}_{place}.mp4"
            write_video(path, (frames * light).astype(np.uint8), fps=16)
            samples.append(Sample(path, label, f"place {place}"))
    return VideoList(root, tuple(samples), ("red", "green", "blue"))


def test_motions_need_their_order(motions: VideoList) -> None:
    found = looked_at(motions)
    assert (found.videos, found.classes, found.chance, found.failure) == (48, 4, 0.25, None)
    assert abs(found.single - 0.25) < 3 * found.single_error
    assert found.ordered > 0.6
    assert prior_of(found).frames == MANY
    assert replace(looked_at(motions), sec=0) == replace(found, sec=0)


def test_looks_need_one_frame(looks: VideoList) -> None:
    found = looked_at(looks)
    assert found.single > 0.9
    assert found.share > 0.9
    assert prior_of(found).frames == FEW


def test_several_classes_to_a_video(looks: VideoList) -> None:
    """Half of the videos are of a second class too, the light of the next one; some are of none."""
    samples = []
    for sample in looks.samples:
        place, label = int(sample.path.stem[2:]), int(sample.path.stem[0])
        labels = () if place == 0 else (label,) if place % 2 else tuple(sorted((label, (label + 1) % 3)))
        samples.append(replace(sample, label=labels))
    found = looked_at(replace(looks, samples=tuple(samples), multi_label=True))
    assert found.videos == 3 * (GROUPS - 1)
    assert found.chance == pytest.approx(10 / 21)
    assert found.single > 0.9


def test_one_group_cannot_be_divided(looks: VideoList) -> None:
    one = replace(looks, samples=tuple(replace(sample, group="all") for sample in looks.samples))
    found = looked_at(one)
    assert found == Probe(failure="fewer than two classes have videos of 3 groups")
    assert prior_of(found).frames == 16


def test_broken_videos_are_passed_over(looks: VideoList, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(looks.samples[0].path.read_bytes()[:200])
    samples = (*looks.samples, Sample(broken, 1, "place 99"))
    found = looked_at(replace(looks, root=Path("/"), samples=samples))
    assert found.videos == len(looks)
    assert found.single > 0.9


def planted(single: float, ordered: float, seed: int = 0) -> Probe:
    """Pictures of noise; in shares of the videos the class is a bright column of the middle one, or of the first."""
    rng = np.random.default_rng(seed)
    videos, classes = 120, 4
    label = np.arange(videos) % classes
    pictures = rng.integers(100, 140, (videos, FRAMES, 20, 24, 3), dtype=np.uint8)
    shown = (np.arange(videos) // classes * 0.618) % 1
    for i in range(videos):
        column = slice(6 * label[i], 6 * label[i] + 3)
        if shown[i] < single:
            pictures[i, FRAMES // 2, :, column] = 250
        if shown[i] < ordered:
            pictures[i, 0, :, column] = 250
    group = np.arange(videos) // classes
    return compare(pictures, np.eye(classes)[label], group % 5, group.tolist())


def test_planted_shares_are_measured() -> None:
    for single, ordered in ((0.0, 1.0), (0.3, 0.9), (0.8, 0.8)):
        found = planted(single, ordered)
        # What does not show the class is right by chance in a quarter.
        assert found.single == pytest.approx(single + 0.25 * (1 - single), abs=0.12)
        assert found.ordered == pytest.approx(ordered + 0.25 * (1 - ordered), abs=0.12)
        assert found.share == pytest.approx(single / ordered, abs=3 * found.share_error + 0.02)
    nothing = planted(0.0, 0.0)
    assert abs(nothing.ordered - 0.25) < 3 * nothing.ordered_error


def test_errors_are_of_groups() -> None:
    right = np.repeat([1.0, 0.0, 1.0, 0.0], 10)
    alone = standard_error(right, range(40))
    assert alone == pytest.approx(0.5 / np.sqrt(39), rel=1e-6)
    assert standard_error(right, np.repeat(range(4), 10).tolist()) == pytest.approx(0.5 / np.sqrt(3))
    # Groups that differ less than chance would have them do not make it surer.
    assert standard_error(right, (np.arange(40) % 10).tolist()) == pytest.approx(0.5 / np.sqrt(40))


def test_videos_are_chosen_evenly() -> None:
    """100 classes of 3 groups of 5 videos, a class of one group, and as many videos as 10 classes need."""
    samples = [
        Sample(Path(f"/v/{label}_{group}_{take}.mp4"), label, f"{group}" if label < 100 else "0")
        for label in range(101)
        for group in range(3)
        for take in range(5)
    ]
    videos = VideoList(Path("/v"), tuple(samples), tuple(f"class {i}" for i in range(101)))
    chosen = sampled(videos, 80, seed=0)
    counts = {label: count for label, count in enumerate(chosen.counts) if count}
    assert list(counts) == list(range(0, 100, 10))
    assert set(counts.values()) == {8}
    for label in counts:
        groups = [sample.group for sample in chosen.samples if sample.label == label]
        assert sorted(map(groups.count, set(groups))) == [2, 3, 3]
    assert sampled(videos, 80, seed=0) == chosen != sampled(videos, 80, seed=1)
