"""Copies of a video are found whatever became of them; other videos are not taken for copies."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vidnas.data.decode import probe, read_all
from vidnas.data.encode import SmallForm, write_small
from vidnas.data.formats import load_dataset
from vidnas.data.looks import Look, alike, watch
from vidnas.data.synthetic import write_dataset, write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """24 generated videos of 6 classes, several of them against the same background."""
    root = tmp_path_factory.mktemp("looks")
    classes = ["move_left", "move_right", "grow", "shrink", "turn_clockwise", "slow"]
    write_dataset(root, classes=classes, train_per_class=3, test_per_class=1, size=(96, 128), frames=24, fps=24)
    lists = load_dataset(root)
    assert lists.test is not None
    return [sample.path for sample in (*lists.train.samples, *lists.test.samples)]


def look_of(path: Path) -> Look:
    return watch(probe(path)).look


def remux(source: Path, target: Path) -> None:
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        stream = outside.add_stream_from_template(inside.streams.video[0])
        for packet in inside.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                outside.mux(packet)


def squeeze(source: Path, target: Path) -> None:
    """Another codec, size, shape of picture and grey levels."""
    frames, _, _ = read_all(source)
    with av.open(str(target), "w") as container:
        stream = container.add_stream("mpeg4", Fraction(24))
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 64, "yuv420p", 300_000
        for frame in frames:
            darker = av.VideoFrame.from_ndarray((frame * 0.8 + 10).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(darker.reformat(width=64, height=64)))
        container.mux(stream.encode(None))


def test_copies_are_found_and_nothing_else(videos: list[Path], tmp_path: Path) -> None:
    originals = [look_of(path) for path in videos]
    assert [pair for pair in alike(originals, originals) if pair[0] < pair[1]] == []
    makers = {
        "small.mp4": lambda source, target: write_small(source, target, SmallForm("h264", 48, crf=30)),
        "pictures.mov": lambda source, target: write_small(source, target, SmallForm("jpeg", 64)),
        "other.mkv": remux,
        "squeezed.avi": squeeze,
    }
    for name, make_copy in makers.items():
        for place in (0, 10, 20):
            make_copy(videos[place], tmp_path / name)
            assert list(alike(originals, [look_of(tmp_path / name)])) == [(place, 0)], (name, place)


def test_even_and_still_videos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((24, 24, 1))).astype(np.uint8)
    other = scene.copy()
    other[24:72, 24:72] = scene[48:96, 48:96]
    contents = {"black": np.zeros_like(scene), "grey": np.full_like(scene, 120), "scene": scene, "other": other}
    looks = []
    for name, picture in contents.items():
        # The second is the first encoded anew.
        write_video(tmp_path / f"{name}.mp4", np.stack([picture] * 12), 12)
        write_small(tmp_path / f"{name}.mp4", tmp_path / f"{name}.mov", SmallForm("jpeg", 72))
        looks += [look_of(tmp_path / f"{name}{end}") for end in (".mp4", ".mov")]
    assert [pair for pair in alike(looks, looks) if pair[0] < pair[1]] == [(4, 5), (6, 7)]


def test_a_blank_start_makes_no_pair_and_length_counts(videos: list[Path], tmp_path: Path) -> None:
    looks = []
    for i in (0, 9):
        frames, _, _ = read_all(videos[i])
        black = np.zeros_like(frames)
        write_video(tmp_path / f"{i}.mp4", np.concatenate([black, frames]), 24)
        looks.append(look_of(tmp_path / f"{i}.mp4"))
    assert not list(alike(looks[:1], looks[1:]))
    assert not list(alike(looks[:1], [look_of(videos[0])]))
    assert list(alike([None, looks[0]], [looks[0], None])) == [(1, 0)]
