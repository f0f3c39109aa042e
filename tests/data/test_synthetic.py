import csv
from dataclasses import replace

import av
import numpy as np
import pytest

from vidnas.base.errors import VidnasError
from vidnas.data.synthetic import (
    CLASSES,
    MOTIONS,
    Scene,
    draw_scene,
    drift,
    render,
    texture,
    write_dataset,
    write_video,
)


def scene(name: str, number: int, frames: int = 24, size: tuple[int, int] = (48, 48)):
    rng = np.random.default_rng((9, number, CLASSES.index(name)))
    return draw_scene(drift(MOTIONS[name], frames, rng), size, np.random.default_rng((number, 1)), rng)


def decode(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


# ---- what a single frame can say -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_the_state_is_uniform_in_every_frame_of_every_class(name):
    draws = 1500
    states = np.stack([drift(MOTIONS[name], 24, np.random.default_rng((3, n)), objects=1)[:, 0] for n in range(draws)])
    assert states.min() >= 0
    assert states.max() < 1
    ranks = (np.arange(draws) + 0.5) / draws
    for frame in (0, 11, 23):
        for phase in range(5):
            distance = np.abs(np.sort(states[:, frame, phase]) - ranks).max()
            # Kolmogorov-Smirnov: 2 exp(-2 * 2.4^2) = 2e-5 each for the 180 comparisons of all classes.
            assert distance < 2.4 / np.sqrt(draws)
        # Position, angle, size and kind say nothing about each other either: |r| < 4 / sqrt(n).
        correlation = np.corrcoef(states[:, frame].T) - np.eye(5)
        assert np.abs(correlation).max() < 4 / np.sqrt(draws)


@pytest.mark.parametrize("name", CLASSES)
def test_a_reversed_drift_is_one_of_the_opposite_class(name):
    opposite = MOTIONS[MOTIONS[name].opposite]
    assert opposite.opposite == name
    for number in range(20):
        states = drift(MOTIONS[name], 24, np.random.default_rng(number))[::-1]
        steps = (np.diff(states, axis=0) + 0.5) % 1 - 0.5
        np.testing.assert_allclose(steps, np.broadcast_to(steps[0, 0], steps.shape), atol=1e-9)
        matches = 0
        for direction in np.asarray(opposite.directions):
            speed = steps[0, 0] @ direction / (direction @ direction)
            inside = opposite.speeds[0] - 1e-9 <= speed <= opposite.speeds[1] + 1e-9
            matches += inside and np.allclose(steps[0, 0], speed * direction, atol=1e-9)
        assert matches == 1


def test_frames_are_rendered_without_their_neighbours():
    for name in ("move_left", "turn_clockwise", "disc_ring_bar"):
        whole = scene(name, 1)
        np.testing.assert_array_equal(render(whole.reversed()), render(whole)[::-1])


def test_frames_are_coded_without_their_neighbours(tmp_path):
    frames = render(scene("fast", 2))
    order = np.random.default_rng(0).permutation(len(frames))
    write_video(tmp_path / "a.mp4", frames, 24)
    write_video(tmp_path / "b.mp4", frames[order], 24)
    np.testing.assert_array_equal(decode(tmp_path / "a.mp4")[order], decode(tmp_path / "b.mp4"))


def single_frames(first: int, per_class: int = 50, leak: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Features of one frame of each of many clips, and labels: mean and deviation of the colours of 16 blocks.

    With `leak`, objects of even classes keep to the left half and those of odd ones to the right.
    """
    features, labels = [], []
    for label, name in enumerate(CLASSES):
        for number in range(first, first + per_class):
            rng = np.random.default_rng((number, label))
            state = drift(MOTIONS[name], 24, rng)[[number % 24]]
            if leak:
                state[..., 0] = (state[..., 0] + label % 2) / 2
            image = render(draw_scene(state, (24, 24), np.random.default_rng((number, 99)), rng))[0] / 255
            blocks = image.reshape(4, 6, 4, 6, 3)
            features.append(np.concatenate([blocks.mean((1, 3)).ravel(), blocks.std((1, 3)).ravel(), [1.0]]))
            labels.append(label)
    return np.stack(features), np.array(labels)


def linear_accuracy(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    """Ridge regression on one-hot labels."""
    x, y = train
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ np.eye(len(CLASSES))[y])
    return float(((test[0] @ weights).argmax(1) == test[1]).mean())


def test_a_classifier_of_single_frames_stays_at_chance_and_would_notice_a_leak():
    # 12 classes x 50 clips each side: chance 1/12, binomial deviation sqrt(1/12 * 11/12 / 600) = .0113.
    chance, deviation = 1 / 12, 0.0113
    assert abs(linear_accuracy(single_frames(0), single_frames(50)) - chance) < 3 * deviation
    # A leak that tells six classes from the other six: at most 1/6.
    assert linear_accuracy(single_frames(0, leak=True), single_frames(50, leak=True)) > chance + 3 * deviation


# ---- what motion can say ---------------------------------------------------------------------------------------


def box(image: np.ndarray, radius: int) -> np.ndarray:
    for axis in (1, 2):
        image = sum(np.roll(image, step, axis) for step in range(-radius, radius + 1)) / (2 * radius + 1)
    return image


def slope(image: np.ndarray, axis: int) -> np.ndarray:
    return (np.roll(image, -1, axis) - np.roll(image, 1, axis)) / 2


def motion(frames: np.ndarray) -> dict[str, float]:
    """Weighted means over the optical flow of Lucas and Kanade, and the skewness of the change of covered area."""
    grey = box(frames.astype(np.float32).mean(-1), 1)
    middle, change = (grey[1:] + grey[:-1]) / 2, grey[1:] - grey[:-1]
    ix, iy = slope(middle, 2), slope(middle, 1)
    xx, yy, xy, xt, yt = (box(v, 3) for v in (ix * ix, iy * iy, ix * iy, ix * change, iy * change))
    determinant = xx * yy - xy * xy + 50.0
    flow = np.stack([xy * yt - yy * xt, xy * xt - xx * yt]) / determinant
    # The camera's shake moves everything alike.
    u, v = np.clip(flow - np.median(flow, axis=(2, 3), keepdims=True), -4, 4)
    weight = np.minimum(xx + yy, 4000)
    weight = weight / weight.sum()
    bright = frames.astype(np.float32)
    area = np.diff((np.abs(bright - np.median(bright, axis=(0, 1, 2))).max(-1) > 70).mean((1, 2)))
    return {
        "right": float((weight * u).sum()),
        "down": float((weight * v).sum()),
        "clockwise": float((weight * (slope(v, 2) - slope(u, 1))).sum()),
        "spread": float((weight * (slope(u, 2) + slope(v, 1))).sum()),
        "speed": float((weight * np.hypot(u, v)).sum()),
        "skewness": float((area**3).mean() / area.std() ** 3),
    }


@pytest.mark.parametrize(
    ("more", "less", "measure"),
    [
        ("move_right", "move_left", "right"),
        ("move_down", "move_up", "down"),
        ("turn_clockwise", "turn_counter", "clockwise"),
        ("grow", "shrink", "spread"),
        ("fast", "slow", "speed"),
        # From disc to ring to bar the area falls twice and jumps once.
        ("disc_ring_bar", "bar_ring_disc", "skewness"),
    ],
)
def test_a_simple_measure_of_motion_tells_the_classes_apart(more, less, measure):
    high = np.array([motion(render(scene(more, number)))[measure] for number in range(16)])
    low = np.array([motion(render(scene(less, number)))[measure] for number in range(16)])
    # Chance that one of `more` exceeds one of `less`; it is .5 +- .10 for a measure that says nothing.
    assert (high[:, None] > low).mean() > 0.8


# ---- pictures --------------------------------------------------------------------------------------------------


def test_textures_are_smooth_random_and_mid_grey():
    images = np.stack([texture((40, 60), np.random.default_rng(seed)) for seed in range(20)])
    assert images.shape == (20, 40, 60, 3)
    assert images.min() >= 0.2
    assert images.max() <= 0.8
    assert np.abs(np.diff(images, axis=2)).max() < 0.15
    assert images.std(axis=0).min() > 0.02


def plain(states: np.ndarray, **fields) -> Scene:
    """A dressed scene without shake, changes of brightness and noise, except as given."""
    dressed = draw_scene(states, (48, 48), np.random.default_rng(0), np.random.default_rng(0))
    still = {"shake": dressed.shake * 0, "gain": dressed.gain * 0 + 1, "noise": dressed.noise * 0}
    return replace(dressed, **(still | fields))


def test_an_object_that_leaves_on_one_side_comes_back_on_the_other():
    # A disc of radius .3 * 48 = 14.4 pixels around column 0: seen on both edges, not in the middle.
    image = render(plain(np.array([[[0.0, 0.5, 0.0, 0.999, 0.0]]])))[0].astype(int)
    contrast = np.abs(image[24] - image[0]).sum(-1)
    at_the_edges = contrast[[0, 5, 42, 47]]
    assert (at_the_edges > 60).all()
    assert contrast[20:28].max() < at_the_edges.min()


def test_the_camera_shakes_background_and_objects_together():
    states = np.tile([[[0.5, 0.5, 0.1, 0.2, 0.4]]], (2, 1, 1))
    still, moved = render(plain(states, shake=np.array([[0, 0], [1, -1]])))
    np.testing.assert_array_equal(moved[1:-1, 1:-1], still[2:, :-2])


def test_a_place_has_one_background_and_no_other_place_has_it(synthetic_data):
    def background(split: str, place: int, names: tuple[str, ...]) -> np.ndarray:
        files = [synthetic_data / f"videos/{split}/{name}_{place:04d}.mp4" for name in names]
        return np.median(np.concatenate([decode(file) for file in files]), axis=0).ravel()

    def likeness(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.corrcoef(first, second)[0, 1])

    # Moving objects leave the background the most frequent sight.
    halves = (CLASSES[::2], CLASSES[1::2])
    places = [("train", 0), ("train", 1), ("test", 0), ("test", 1)]
    for place in places:
        assert likeness(background(*place, halves[0]), background(*place, halves[1])) > 0.85
        for other in set(places) - {place}:
            assert likeness(background(*place, halves[0]), background(*other, halves[1])) < 0.7


# ---- files -----------------------------------------------------------------------------------------------------


def test_files_are_close_to_the_frames_and_equal_bytes_twice(tmp_path):
    # Colours are stored at half resolution and quantised: 12 of 255 is typical, nothing near a lost frame's 50.
    frames = render(scene("grow", 3))
    for path, gop in (("a.mp4", 1), ("b.mp4", 1), ("c.mp4", 12)):
        write_video(tmp_path / path, frames, 24, gop=gop)
        decoded = decode(tmp_path / path)
        assert decoded.shape == frames.shape
        assert np.abs(decoded.astype(float) - frames).mean((1, 2, 3)).max() < 12
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with av.open(str(tmp_path / "c.mp4")) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert [i for i, key in enumerate(keys) if key] == [0, 12]


def test_a_data_set_is_a_function_of_its_seed(tmp_path):
    chosen = {"classes": ["grow", "move_left"], "test_per_class": 1, "size": (32, 40), "frames": 6}
    write_dataset(tmp_path / "a", train_per_class=2, seed=4, **chosen)
    write_dataset(tmp_path / "b", train_per_class=3, seed=4, **chosen)
    write_dataset(tmp_path / "c", train_per_class=2, seed=5, **chosen)
    files = {root: sorted(p.relative_to(tmp_path / root) for p in (tmp_path / root).rglob("*.mp4")) for root in "abc"}
    assert (len(files["a"]), len(files["b"])) == (6, 8)
    for file in files["a"]:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()
    assert len({(tmp_path / "b" / file).read_bytes() for file in files["b"]}) == 8


def test_lists_name_every_file_once_and_places_are_not_shared(synthetic_data):
    names = (synthetic_data / "classes.txt").read_text().split()
    assert names == list(CLASSES)
    groups = {}
    for split, places in (("train", 5), ("test", 2)):
        with (synthetic_data / f"{split}.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == len({row["path"] for row in rows}) == 12 * places
        assert all((synthetic_data / row["path"]).is_file() for row in rows)
        groups[split] = {row["group"] for row in rows}
        for group in groups[split]:
            assert sorted(row["label"] for row in rows if row["group"] == group) == sorted(CLASSES)
    assert not groups["train"] & groups["test"]


def test_bad_requests_name_the_mend(tmp_path):
    with pytest.raises(VidnasError, match="out of move_left"):
        write_dataset(tmp_path, classes=["move_left", "dance"], train_per_class=1, test_per_class=1)
    with pytest.raises(VidnasError, match="different"):
        write_dataset(tmp_path, classes=["grow", "grow"], train_per_class=1, test_per_class=1)
    with pytest.raises(VidnasError, match="even"):
        write_dataset(tmp_path, train_per_class=1, test_per_class=1, size=(33, 32))
