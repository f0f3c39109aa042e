import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from multiprocessing import forkserver, get_all_start_methods
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import resize

from vidnas.arch.pixels import MEAN, STD
from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import LOADER_PROCESS_ENDED, VidnasError
from vidnas.data import clips
from vidnas.data.augment import Augmentation, TrainTransform, Views, ViewTransform, short_sides
from vidnas.data.cache import FrameCache
from vidnas.data.datamodule import DataConfig, make_loader, train_clips, train_reader, view_clips, view_reader
from vidnas.data.dataset import Batch, TrainClips, ViewClips, collate
from vidnas.data.formats import VideoList, load_dataset
from vidnas.data.reader import FileReader
from vidnas.data.sampler import SequentialBatches, StepBatches

CLIP = ClipSpec(frames=4, size=24, stride=2, fps=24)
SIDES = short_sides(24)
AUTO = Augmentation("auto")


@pytest.fixture(scope="module")
def train(synthetic_data: Path) -> VideoList:
    return load_dataset(synthetic_data).train


@pytest.fixture
def damaged(tmp_path: Path, synthetic_data: Path) -> VideoList:
    """A copy of the training list in which the first video of the first class cannot be read."""
    shutil.copytree(synthetic_data, tmp_path / "data")
    videos = load_dataset(tmp_path / "data").train
    videos.samples[0].path.write_bytes(b"")
    return videos


def dataset(videos: VideoList, **options) -> TrainClips:
    return TrainClips(videos, FileReader(SIDES[1]), CLIP, **{"seed": 3, "augmentation": AUTO, **options})


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# ---- training --------------------------------------------------------------------------------------------------


def test_an_item_is_a_function_of_seed_epoch_and_index(train):
    data = dataset(train)
    first = [data[epoch, index] for epoch in (0, 1) for index in (0, 7)]
    again = [data[epoch, index] for epoch in (1, 0) for index in (7, 0)][::-1]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.clip, b.clip)
        assert a[1:] == b[1:]
    assert int(first[1].target) == train.samples[7].label
    assert first[0].clip.shape == (3, 4, 24, 24)
    assert not torch.equal(first[0].clip, first[2].clip)
    assert not torch.equal(first[0].clip, dataset(train, seed=4)[0, 0].clip)


def test_an_item_is_the_clip_and_the_transform_that_it_draws(train):
    data = dataset(train)
    rng = clips.item_rng(3, 5, 11)
    reader, path = FileReader(SIDES[1]), train.samples[11].path
    info = reader.info(path)
    frames = reader.read(path, clips.clip_times(CLIP, info.duration_sec, info.fps, rng))
    transform = TrainTransform(24, augmentation=AUTO)
    assert torch.equal(data[5, 11].clip, transform(frames, transform.draw(*frames.shape[1:3], rng)))


@pytest.mark.parametrize("clip", [CLIP, ClipSpec(frames=4, size=24, sampling="uniform")])
def test_without_augmentation_a_clip_is_a_random_crop_and_nothing_else(train, clip):
    data = TrainClips(train, FileReader(SIDES[1]), clip, seed=3)
    for index in (0, 11):
        reader, path = FileReader(SIDES[1]), train.samples[index].path
        info, rng = reader.info(path), clips.item_rng(3, 5, index)
        if clip.sampling == "uniform":
            times = [(t + within) * info.duration_sec / 4 for t, within in enumerate(rng.random(4))]
        else:
            # 24 frames, of which the window spans 7: it starts at frames 0 to 17.
            start = rng.integers(18)
            times = [(start + 0.5) / info.fps + t * 2 / 24 for t in range(4)]
        frames = reader.read(path, times)
        height, width = frames.shape[1:3]
        side = round(min(height, width) * 24 / rng.integers(SIDES[0], SIDES[1] + 1))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        square = torch.from_numpy(frames[:, top : top + side, left : left + side]).permute(0, 3, 1, 2)
        pixels = resize(square, [24, 24], antialias=True).permute(1, 0, 2, 3)
        assert torch.equal(data[5, index].clip, pixels.float() * (1 / (255 * STD)) - MEAN / STD)


@pytest.mark.parametrize("sampling", ["stride", "uniform"])
def test_tempo_changes_the_moments_of_a_clip(train, sampling):
    clip = CLIP.model_copy(update={"sampling": sampling})
    data = TrainClips(train, FileReader(SIDES[1]), clip, seed=3, tempo=(0.5, 0.9))
    assert data[0, 0].clip.shape == (3, 4, 24, 24)
    assert torch.equal(data[0, 0].clip, data[0, 0].clip)
    assert not torch.equal(data[0, 0].clip, TrainClips(train, FileReader(SIDES[1]), clip, seed=3)[0, 0].clip)


def test_batches_do_not_depend_on_workers_resume_or_cache(train, tmp_path):
    def run(data: TrainClips, workers: int, start: int = 0) -> list[Batch]:
        return list(make_loader(data, StepBatches(len(data), 8, 1, num_steps=9, start_step=start), workers))

    augmented = {"augment": "rand", "tempo": (0.5, 1.5), "aspect": (0.8, 1.2), "rotate": 10, "erase": 0.5, "flip": "on"}
    files = DataConfig(train.root, memory_budget_mib=0, **augmented)
    cached = DataConfig(train.root, cache_dir=tmp_path, **augmented)
    readers = [train_reader(config, train, CLIP) for config in (files, cached)]
    assert isinstance(readers[1], FrameCache)
    data = [train_clips(files, train, reader, CLIP, 0) for reader in readers]
    whole = run(data[0], 0)
    assert_equal(run(data[0], 2), whole)
    assert_equal(run(data[1], 0), whole)
    assert_equal(run(data[1], 2, start=4), whole[4:])
    assert_equal(run(data[0], 0, start=7), whole[7:])
    for batch in whole:
        assert batch.clips.shape == (8, 3, 4, 24, 24)
        assert batch.clips.is_contiguous(memory_format=torch.channels_last_3d)
        assert batch.clips.dtype == torch.float32
        assert batch.targets.dtype == batch.indices.dtype == torch.int64
        assert [train.samples[i].label for i in batch.indices] == batch.targets.tolist()


# Shared memory is files in memory: a limit on their size is a /dev/shm that is too small.
LOAD_WITHOUT_SHARED_MEMORY = """
import resource, sys
from pathlib import Path
from vidnas.arch.spec import ClipSpec
from vidnas.data.datamodule import make_loader
from vidnas.data.dataset import TrainClips
from vidnas.data.formats import load_dataset
from vidnas.data.reader import FileReader
from vidnas.data.sampler import StepBatches
from vidnas.base.errors import VidnasError
if __name__ == "__main__":
    videos = load_dataset(Path(sys.argv[1])).train
    clips = TrainClips(videos, FileReader(32), ClipSpec(frames=4, size=24, stride=2, fps=24), seed=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        list(make_loader(clips, StepBatches(len(clips), 8, 1, num_steps=3), 1))
    except VidnasError as error:
        print(error)
"""


def test_too_little_shared_memory_is_said_in_one_line(synthetic_data, tmp_path):
    pytest.importorskip("resource")
    script = tmp_path / "load.py"
    script.write_text(LOAD_WITHOUT_SHARED_MEMORY)
    said = subprocess.run(
        [sys.executable, str(script), str(synthetic_data)], capture_output=True, text=True, timeout=120, check=True
    )
    assert said.stdout.startswith("no shared memory left for a batch of ")
    assert said.stdout.count("\n") == 1
    assert "--workers 0" in said.stdout
    assert "Traceback" not in said.stderr


def test_a_persistent_loader_gives_the_same_batches_again(train):
    loader = make_loader(dataset(train), StepBatches(len(train), 8, 1, num_steps=3), 1)
    assert_equal(list(loader), list(loader))


@pytest.mark.skipif("forkserver" not in get_all_start_methods(), reason="a server is stopped here")
def test_a_process_that_ends_while_it_hands_over_a_batch_is_named(train):
    """That it has ended is not known until the server that started it says so."""
    loader = make_loader(dataset(train), StepBatches(len(train), 8, 1, num_steps=50), 1)
    batches = iter(loader)
    next(batches)
    (process,) = loader._iterator._workers
    assert loader._iterator._data_queue._reader.poll(60)
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGSTOP)
    resumed = threading.Timer(0.3, os.kill, (server, signal.SIGCONT))
    try:
        os.kill(process.pid, signal.SIGKILL)
        resumed.start()
        with pytest.raises(RuntimeError, match=LOADER_PROCESS_ENDED.pattern) as error:
            list(batches)
        resumed.join()
    finally:
        os.kill(server, signal.SIGCONT)
    assert str(process.pid) in str(error.value)
    assert isinstance(error.value.__cause__, OSError | EOFError)


@pytest.mark.parametrize(
    "clip", [CLIP.model_copy(update={"frames": 40}), ClipSpec(frames=6, size=24, sampling="uniform")]
)
def test_long_and_uniform_clips(train, clip):
    data = TrainClips(train, FileReader(SIDES[1]), clip, seed=0)
    made = data[0, 0].clip
    assert made.shape == (3, clip.frames, 24, 24)
    if clip.sampling == "stride":
        # 40 frames 2 apart of a video of 24: the last frame is repeated.
        assert (made[:, 12:] == made[:, -1:]).all()
        assert not (made[:, 10] == made[:, -1]).all()
    else:
        assert len({made[:, t].sum().item() for t in range(6)}) == 6


def test_a_mirrored_clip_takes_the_label_of_its_pair(train):
    pairs = [("move_left", "move_right")]
    swapped, kept = dataset(train, flip=pairs), dataset(train, flip="on")
    plain = dataset(train, flip="off", augmentation=Augmentation())
    swapped_plain = dataset(train, flip=pairs, augmentation=Augmentation())
    seen = set()
    for epoch in range(12):
        for index in (0, 1, 2):
            label = train.samples[index].label
            flipped = torch.equal(plain[epoch, index].clip.flip(-1), swapped_plain[epoch, index].clip)
            assert flipped != torch.equal(plain[epoch, index].clip, swapped_plain[epoch, index].clip)
            expected = {0: 1, 1: 0, 2: 2}[label] if flipped else label
            assert swapped[epoch, index].target == expected
            assert kept[epoch, index].target == label
            seen.add((label, flipped))
    assert seen == {(label, flipped) for label in (0, 1, 2) for flipped in (True, False)}


def test_a_broken_video_is_replaced_by_its_class_and_counted_once(damaged):
    data = dataset(damaged)
    label = damaged.samples[0].label
    shown = set()
    for epoch in range(30):
        example = data[epoch, 0]
        assert example.target == label == damaged.samples[example.place].label
        assert torch.equal(example.clip, data[epoch, 0].clip)
        shown.add(example.place)
    assert shown == {i for i, sample in enumerate(damaged.samples) if sample.label == label} - {0}
    assert len(data.quarantine) == 1
    assert [str(error) for error in data.quarantine.broken()] == [
        f"{damaged.samples[0].path}: the file is empty (0 bytes)"
    ]
    data.quarantine.check()
    # A replacement is no copy of what the replacing video shows in the same epoch anyway.
    example = data[0, 0]
    assert not torch.equal(example.clip, data[0, example.place].clip)


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_broken_videos_stop_with_the_list(damaged, workers):
    for number in range(1, 8):
        damaged.samples[number].path.write_text("not a video")
    data = dataset(damaged, max_broken=0.05)  # 3 of 60
    loader = make_loader(data, StepBatches(len(data), 10, 0, num_steps=100), workers)
    with pytest.raises(VidnasError) as error:
        list(loader)
    text = str(error.value)
    assert "of 60 videos are broken, 3 tolerated" in text
    assert "--clips.max-broken" in text
    assert "\n" not in text
    named = [sample.path for sample in damaged.samples[:8] if str(sample.path) in text]
    assert 4 <= len(named) <= 5


def test_videos_that_the_cache_knows_to_be_broken_stop_before_training(damaged, tmp_path):
    damaged.samples[1].path.write_bytes(b"")
    config = DataConfig(damaged.root, cache_dir=tmp_path / "cache", max_broken=0.02)
    reader = train_reader(config, damaged, CLIP)
    with pytest.raises(VidnasError, match="2 of 60 videos are broken, 1 tolerated"):
        train_clips(config, damaged, reader, CLIP, 0)


def test_one_broken_video_is_tolerated_in_any_list_unless_none_may_be(damaged):
    short = damaged.subset(range(13))
    assert dataset(short, max_broken=0.01).quarantine.allowed == 1
    assert dataset(short, max_broken=0.5).quarantine.allowed == 6
    strict = dataset(short, max_broken=0.0)
    strict[0, 0]
    with pytest.raises(VidnasError, match="1 of 13 videos are broken, 0 tolerated"):
        strict.quarantine.check()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_class_without_any_readable_video_stops_in_one_line(damaged, workers):
    label = damaged.samples[0].label
    for sample in damaged.samples:
        if sample.label == label:
            sample.path.write_bytes(b"")
    loader = make_loader(dataset(damaged, max_broken=1), StepBatches(60, 30, 0, num_steps=4), workers)
    with pytest.raises(VidnasError, match="class 'move_left': none of its videos can be read") as error:
        list(loader)
    assert "\n" not in str(error.value)


class CountingReader(FileReader):
    """The reader that it extends, with the number of reads."""

    reads = 0

    def read(self, path, times_sec):
        self.reads += 1
        return super().read(path, times_sec)


def test_clips_of_one_video_are_the_same_together_as_one_by_one(train):
    plain = dataset(train, flip="on")
    batches = StepBatches(len(train), 12, 3, num_steps=4, clips_per_video=3)
    for items in batches:
        reader = CountingReader(SIDES[1])
        data = TrainClips(train, reader, CLIP, seed=3, augmentation=AUTO, flip="on")
        together = data.__getitems__(items)
        assert reader.reads == 4  # videos
        for item, example in zip(items, together, strict=True):
            alone = plain[item]
            assert torch.equal(example.clip, alone.clip)
            assert example[1:] == alone[1:]


def test_clips_of_one_broken_video_are_replaced_as_one_by_one(damaged):
    items = [(0, 5), (0, 0), (1, 0), (2, 0), (0, 7), (1, 7)]
    together, plain = dataset(damaged).__getitems__(items), dataset(damaged)
    for item, example in zip(items, together, strict=True):
        alone = plain[item]
        assert torch.equal(example.clip, alone.clip)
        assert example[1:] == alone[1:]
    assert together[1].place != 0


# ---- testing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["stride", "uniform"])
def test_views_are_clips_in_time_and_crops_in_space(synthetic_data, sampling):
    videos = load_dataset(synthetic_data).test
    clip = CLIP.model_copy(update={"sampling": sampling})
    data = ViewClips(videos, FileReader(SIDES[0]), clip, Views(4, 3))
    assert len(data) == 24 * 12
    reader, transform = FileReader(SIDES[0]), ViewTransform(24, 3)
    for video in (0, 17):
        sample = videos.samples[video]
        info = reader.info(sample.path)
        moments = clips.test_times(clip, info.duration_sec, info.fps, 4)
        for view in range(12):
            example = data[0, video * 12 + view]
            assert example[1:] == (sample.label, True, video)
            assert example.clip.shape == (3, 4, SIDES[0], SIDES[0])
            expected = transform(reader.read(sample.path, moments[view // 3]), view % 3)
            assert torch.equal(example.clip, expected)


def test_a_batch_of_views_equals_its_views(synthetic_data, tmp_path):
    videos = load_dataset(synthetic_data).test
    config = DataConfig(synthetic_data, cache_dir=tmp_path)
    data = view_clips(config, videos, view_reader(config, videos, CLIP), CLIP, Views(3, 3))
    one_by_one = [data[0, item] for item in range(60)]
    batches = list(make_loader(data, SequentialBatches(60, 7), 0))
    assert_equal(batches, [collate(one_by_one[start : start + 7]) for start in range(0, 60, 7)])
    assert [len(batch.targets) for batch in batches] == [7] * 8 + [4]
    reader = CountingReader(SIDES[0])
    ViewClips(videos, reader, CLIP, Views(3, 3)).__getitems__([(0, item) for item in range(18)])
    assert reader.reads == 2  # videos, with 9 views each
    shuffled = np.random.default_rng(0).permutation(60).tolist()
    for item, example in zip(shuffled, data.__getitems__([(0, item) for item in shuffled]), strict=True):
        assert torch.equal(example.clip, one_by_one[item].clip)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_video_is_listed_in_testing_and_never_left_out(damaged, workers):
    data = ViewClips(damaged, FileReader(SIDES[0]), CLIP, Views(2, 1))
    batches = list(make_loader(data, SequentialBatches(len(data), 16), workers))
    labels = torch.cat([batch.targets for batch in batches]).tolist()
    assert torch.cat([batch.indices for batch in batches]).tolist() == [item // 2 for item in range(120)]
    assert torch.cat([batch.readable for batch in batches]).tolist() == [False] * 2 + [True] * 118
    assert labels[2:] == [damaged.samples[item // 2].label for item in range(2, 120)]
    assert not batches[0].clips[:2].any()
    assert [error.path for error in data.quarantine.broken()] == [damaged.samples[0].path]


# ---- configuration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"jitter": (0.9, 1.2)},
        {"jitter": (1.3, 1.2)},
        {"augment": "random"},
        {"augment": False},
        {"rand_magnitude": 31},
        {"rand_magnitude": -1},
        {"tempo": (0, 1)},
        {"tempo": (1.2, 1)},
        {"tempo": (1, 11)},
        {"aspect": (float("nan"), 1)},
        {"aspect": (1.5, 1)},
        {"rotate": -1},
        {"rotate": 181},
        {"erase": 1.5},
        {"max_broken": 1.5},
        {"workers": -1},
        {"clips_per_video": 0},
    ],
)
def test_a_bad_configuration_names_its_field(wrong):
    with pytest.raises(VidnasError, match=f"clips.{next(iter(wrong))}") as error:
        DataConfig(Path("data"), **wrong)
    assert "\n" not in str(error.value)


def test_a_resumed_run_must_share_what_makes_its_clips():
    plain = DataConfig(Path("data")).fixed_settings()
    changes = {
        "jitter": (1.0, 1.2),
        "flip": [("left", "right")],
        "augment": "rand",
        "rand_magnitude": 5,
        "tempo": (0.8, 1.25),
        "aspect": (0.8, 1.25),
        "rotate": 10.0,
        "erase": 0.2,
        "clips_per_video": 2,
    }
    assert set(plain) == set(changes)
    for name, value in changes.items():
        changed = DataConfig(Path("data"), **{name: value}).fixed_settings()
        assert [other for other in plain if plain[other] != changed[other]] == [name]
        assert json.loads(json.dumps(changed)) == changed
    elsewhere = DataConfig(Path("other"), workers=0, memory_budget_mib=0, cache_dir=Path("cache"), max_broken=0.5)
    assert elsewhere.fixed_settings() == plain
