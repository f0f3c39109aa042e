from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidnas.arch.pixels import MEAN, STD
from vidnas.base.errors import VidnasError
from vidnas.data.augment import (
    Augmentation,
    TrainTransform,
    Views,
    ViewTransform,
    flip_map,
    normalise,
    short_sides,
)

EVERYTHING = Augmentation("rand", aspect=(0.7, 1.5), rotate=20, erase=0.5)


def ramp(height: int, width: int, frames: int = 2) -> np.ndarray:
    """Red says the column, green the row, blue the frame."""
    clip = np.zeros((frames, height, width, 3), np.uint8)
    clip[..., 0] = np.arange(width)
    clip[..., 1] = np.arange(height)[:, None]
    clip[..., 2] = np.arange(frames)[:, None, None]
    return clip


def pixels(clip: torch.Tensor) -> np.ndarray:
    """A normalised clip (C, T, H, W) back to (T, H, W, C) grey levels."""
    return ((clip * STD + MEAN) * 255).round().permute(1, 2, 3, 0).numpy().astype(int)


def test_scales_are_those_of_the_papers():
    # X3D sec. 4: 160 from [182, 228], 224 from [256, 320], 312 from [356, 446]; tested at 182, 256, 356.
    assert [short_sides(size) for size in (160, 224, 312)] == [(182, 228), (256, 320), (356, 446)]
    assert short_sides(15, (1.0, 1.0)) == (16, 16)
    assert short_sides(17, (1.0, 1.0)) == (18, 18)
    assert short_sides(21, (1.0, 1.0)) == (22, 22)


@given(size=st.integers(1, 400), low=st.floats(1, 2), more=st.floats(0, 1))
def test_a_scaled_frame_always_holds_the_crop(size, low, more):
    smallest, largest = short_sides(size, (low, low + more))
    assert size <= smallest <= largest


def test_normalisation_matches_its_definition_and_keeps_channels_last():
    clip = torch.randint(0, 256, (3, 3, 5, 7), dtype=torch.uint8)
    out = normalise(clip)
    expected = (clip.permute(1, 0, 2, 3).double() / 255 - 0.45) / 0.225
    # float32 rounding of values up to 2.5.
    torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=0)
    assert out.unsqueeze(0).is_contiguous(memory_format=torch.channels_last_3d)


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size=st.integers(1, 200),
    seed=st.integers(0, 1000),
    top_ratio=st.floats(1, 2),
)
def test_every_draw_lies_in_the_frame(height, width, size, seed, top_ratio):
    draw = TrainTransform(size, jitter=(1, top_ratio)).draw(height, width, np.random.default_rng(seed))
    assert 0 <= draw.part.top <= height - draw.part.height
    assert 0 <= draw.part.left <= width - draw.part.width
    assert 1 <= draw.part.height == draw.part.width <= min(height, width)
    assert not draw.flip


def test_draws_reach_all_scales_and_corners():
    transform = TrainTransform(160, flip=True)
    draws = [transform.draw(228, 300, np.random.default_rng(seed)) for seed in range(4000)]
    parts = [draw.part for draw in draws]
    sides = {part.height for part in parts}
    # 228 source pixels at a short side of 228 give 160 of them, at 182 they give 228 * 160 / 182 = 200.4.
    assert (min(sides), max(sides)) == (160, 200)
    assert min(part.left for part in parts) == min(part.top for part in parts) == 0
    assert max(part.left + part.width for part in parts) == 300
    assert max(part.top + part.height for part in parts) == 228
    # 4000 fair coins: 2000 +- 4 x 31.6.
    assert abs(sum(draw.flip for draw in draws) - 2000) < 127


def test_a_crop_at_scale_one_is_exact_and_flips_are_mirrors():
    transform = TrainTransform(24, jitter=(1.0, 1.0), flip=True)
    clip = ramp(24, 50)
    flips = set()
    for seed in range(20):
        draw = transform.draw(24, 50, np.random.default_rng(seed))
        assert (draw.part.height, draw.part.width) == (24, 24)
        expected = clip[:, :, draw.part.left : draw.part.left + 24]
        np.testing.assert_array_equal(pixels(transform(clip, draw)), expected[:, :, ::-1] if draw.flip else expected)
        flips.add(draw.flip)
    assert flips == {True, False}


def test_a_scaled_crop_covers_the_square_it_drew():
    transform = TrainTransform(32)
    clip = ramp(100, 140)
    for seed in range(10):
        draw = transform.draw(100, 140, np.random.default_rng(seed))
        out = pixels(transform(clip, draw))
        # Pixel centres of the output, mapped into the source; away from the border, where the antialiasing kernel is
        # cut off. One grey level for the two roundings to whole numbers.
        centres = (np.arange(32) + 0.5) * draw.part.width / 32 - 0.5
        np.testing.assert_allclose(out[0, 16, 4:-4, 0], (draw.part.left + centres)[4:-4], atol=1)
        np.testing.assert_allclose(out[0, 4:-4, 16, 1], (draw.part.top + centres)[4:-4], atol=1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (7, 5), (12, 12)])
def test_frames_smaller_than_the_crop_are_scaled_up(shape):
    frames = np.full((4, *shape, 3), 77, np.uint8)
    transform = TrainTransform(16, flip=True, augmentation=EVERYTHING)
    assert transform(frames, transform.draw(*shape, np.random.default_rng(0))).shape == (3, 4, 16, 16)
    for spatial, side in ((1, 16), (3, 18)):
        out = ViewTransform(16, spatial)(frames, spatial - 1)
        assert out.shape == (3, 4, side, side)
        assert (pixels(out) == 77).all()


def noise(frames: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("policy", ["auto", "rand"])
def test_a_policy_draws_once_per_clip(policy):
    transform = TrainTransform(24, augmentation=Augmentation(policy))
    still = np.repeat(noise(1), 5, axis=0)
    changed = 0
    for seed in range(40):
        draw = transform.draw(40, 60, np.random.default_rng(seed))
        out = transform(still, draw)
        assert (out == out[:, :1]).all()
        changed += not torch.equal(out, TrainTransform(24)(still, draw))
    assert changed > 20


@pytest.mark.parametrize("policy", ["auto", "rand"])
def test_a_policy_depends_on_the_item_alone_and_leaves_the_global_generator(policy):
    transform = TrainTransform(24, augmentation=Augmentation(policy))
    clip = noise(3)
    draws = [transform.draw(40, 60, np.random.default_rng(seed)) for seed in range(20)]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [transform(clip, draw) for draw in draws]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = [transform(clip, draw) for draw in reversed(draws)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({clip.sum().item() for clip in first}) > 10


def test_the_magnitude_is_that_of_randaugment():
    clip = noise(2)
    weak, strong = (TrainTransform(24, augmentation=Augmentation("rand", magnitude)) for magnitude in (0, 30))
    moved = dict.fromkeys((weak, strong), 0.0)
    for seed in range(30):
        draw = weak.draw(40, 60, np.random.default_rng(seed))
        for transform in moved:
            moved[transform] += float((transform(clip, draw) - TrainTransform(24)(clip, draw)).abs().mean())
    assert moved[strong] > 1.5 * moved[weak]


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation("auto"),
        Augmentation("rand"),
        Augmentation(aspect=(0.5, 2)),
        Augmentation(rotate=30),
        Augmentation(erase=1),
        EVERYTHING,
    ],
)
def test_every_frame_of_a_clip_undergoes_the_same(augmentation):
    transform = TrainTransform(24, flip=True, augmentation=augmentation)
    clip = noise(4)
    for seed in range(20):
        draw = transform.draw(40, 60, np.random.default_rng(seed))
        together = transform(clip, draw)
        alone = torch.cat([transform(clip[t : t + 1], draw) for t in range(4)], dim=1)
        # One grey level: contrast is set against the mean of a frame, a sum in another order.
        torch.testing.assert_close(together, alone, atol=1.01 / (255 * STD), rtol=0)


def test_no_option_changes_what_another_draws():
    single = {"policy": "auto", "aspect": (0.7, 1.5), "rotate": 20, "erase": 0.5}
    for seed in range(30):
        plain, everything = (
            TrainTransform(24, flip=True, augmentation=augmentation).draw(40, 60, np.random.default_rng(seed))
            for augmentation in (Augmentation(), EVERYTHING)
        )
        assert (plain.flip, plain.policy_seed) == (everything.flip, everything.policy_seed)
        assert (plain.angle, plain.erased) == (0, None)
        drawn = {"policy": "policy_seed", "aspect": "part", "rotate": "angle", "erase": "erased"}
        for option, value in single.items():
            transform = TrainTransform(24, augmentation=Augmentation(**{option: value}))
            draw = transform.draw(40, 60, np.random.default_rng(seed))
            assert getattr(draw, drawn[option]) == getattr(everything, drawn[option])


def test_cut_out_parts_have_the_aspect_ratios_asked_for_and_reach_all_of_the_square():
    transform = TrainTransform(160, jitter=(1, 1), augmentation=Augmentation(aspect=(0.5, 1.6)))
    parts = [transform.draw(160, 160, np.random.default_rng(seed)).part for seed in range(2000)]
    ratios = np.array([part.width / part.height for part in parts])
    # The smallest is half of a side; a pixel of 80 is what rounding makes.
    assert ratios.min() == pytest.approx(0.5, abs=0.01)
    assert ratios.max() == pytest.approx(1.6, abs=0.02)
    # Uniform in the logarithm: the middle of log 0.5 and log 1.6.
    assert np.log(ratios).mean() == pytest.approx((np.log(0.5) + np.log(1.6)) / 2, abs=0.03)
    assert all(max(part.height, part.width) == 160 for part in parts)
    assert min(part.top for part in parts) == min(part.left for part in parts) == 0
    narrow = [part for part in parts if part.width < 100]
    assert max(part.left + part.width for part in narrow) == 160
    # The part is what is seen: the ramp of columns runs over its width.
    out = pixels(transform(ramp(160, 160), transform.draw(160, 160, np.random.default_rng(3))))
    part = parts[3]
    assert out[0, 80, 156, 0] - out[0, 80, 4, 0] == pytest.approx(152 * part.width / 160, abs=1)
    assert out[0, 156, 80, 1] - out[0, 4, 80, 1] == pytest.approx(152 * part.height / 160, abs=1)


def test_angles_fill_their_range():
    transform = TrainTransform(24, augmentation=Augmentation(rotate=15))
    angles = [transform.draw(40, 60, np.random.default_rng(seed)).angle for seed in range(1000)]
    assert -15 <= min(angles) < -14.5
    assert 14.5 < max(angles) <= 15
    # Uniform: standard deviation 15 / sqrt(3), 4 standard errors.
    assert abs(np.mean(angles)) < 4 * 15 / np.sqrt(3 * 1000)


def test_a_box_is_erased_from_the_share_of_clips_asked_for():
    transform = TrainTransform(112, augmentation=Augmentation(erase=0.25))
    boxes = [transform.draw(128, 128, np.random.default_rng(seed)).erased for seed in range(4000)]
    boxes = [box for box in boxes if box is not None]
    assert len(boxes) == pytest.approx(1000, abs=4 * np.sqrt(4000 * 0.25 * 0.75))
    areas = np.array([box.height * box.width / 112**2 for box in boxes])
    ratios = np.array([box.height / box.width for box in boxes])
    # torchvision's ranges, up to rounding to pixels of a side of 9 or more and to boxes as long as the crop.
    assert 0.018 < areas.min() < 0.03
    assert 0.3 < areas.max() < 0.34
    assert 0.27 < ratios.min() < 0.35
    assert 2.9 < ratios.max() < 3.6
    for box in boxes:
        assert 0 <= box.top <= 112 - box.height
        assert 0 <= box.left <= 112 - box.width


def test_an_erased_box_is_the_mean_in_all_frames_and_nothing_else_changes():
    clip = noise(3)
    transform = TrainTransform(24, augmentation=Augmentation(erase=1))
    for seed in range(10):
        draw = transform.draw(40, 60, np.random.default_rng(seed))
        expected = transform(clip, replace(draw, erased=None))
        top, left, height, width = draw.erased
        expected[:, :, top : top + height, left : left + width] = 0
        assert torch.equal(transform(clip, draw), expected)


def test_three_crops_are_the_ends_and_the_middle_of_the_longer_side():
    size, short = 14, 16  # 14 * 8 / 7 = 16, so a 16-pixel short side is not scaled
    assert short_sides(size)[0] == short
    for clip, axis in ((ramp(16, 41), 0), (ramp(41, 16), 1)):
        for view, first in enumerate((0, 12, 25)):
            out = pixels(ViewTransform(size, 3)(clip, view))
            assert out.shape == (2, 16, 16, 3)
            expected = clip[:, :, first : first + 16] if axis == 0 else clip[:, first : first + 16]
            np.testing.assert_array_equal(out, expected)


def test_one_crop_is_the_centre_at_the_training_size():
    out = pixels(ViewTransform(14, 1)(ramp(16, 41), 0))
    assert out.shape == (2, 14, 14, 3)
    np.testing.assert_array_equal(out[0, 0, :, 0], np.arange(13, 27))
    np.testing.assert_array_equal(out[0, :, 0, 1], np.arange(1, 15))


def test_views_are_written_as_clips_x_crops():
    assert Views.parse("10x3") == Views(10, 3)
    assert len(Views.parse(" 4x1 ")) == 4
    assert str(Views(10, 3)) == "10x3"
    for text in ("10", "0x1", "1x2", "x", "10x3x1", "-1x1", "axb", ""):
        with pytest.raises(VidnasError, match="10x3"):
            Views.parse(text)


def test_flips_may_exchange_labels():
    classes = ("left", "right", "nod")
    assert flip_map("off", classes) is None
    assert flip_map("on", classes) == (0, 1, 2)
    assert flip_map([("left", "right")], classes) == (1, 0, 2)
    assert flip_map([("right", "left")], classes) == (1, 0, 2)
    for pairs in ([("left", "up")], [("left", "left")], [("left", "right"), ("nod", "left")], [("left",)]):
        with pytest.raises(VidnasError, match="classes are left, right, nod"):
            flip_map(pairs, classes)
