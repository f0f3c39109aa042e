"""Parts of frames, scaled and turned: each pixel says where it comes from."""

import numpy as np
import pytest
import torch

from vidnas.data.crop import Box, scaled_crop, turned_crop

SIZE = 32
FILL = 255


def ramp(side: int, frames: int = 2) -> np.ndarray:
    """Red says the column, green the row, blue the frame."""
    clip = np.zeros((frames, side, side, 3), np.uint8)
    clip[..., 0] = np.arange(side)
    clip[..., 1] = np.arange(side)[:, None]
    clip[..., 2] = np.arange(frames)[:, None, None]
    return clip


def sources(part: Box, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the frame that each pixel of a crop shows when the picture is turned counter-clockwise."""
    y, x = np.meshgrid(*[(np.arange(SIZE) + 0.5) / SIZE - 0.5] * 2, indexing="ij")
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    # Upwards is less: against the clock takes what lies to the right of the middle up.
    right, down = x * cosine - y * sine, x * sine + y * cosine
    rows = part.top + part.height * (down + 0.5) - 0.5
    return rows, part.left + part.width * (right + 0.5) - 0.5


@pytest.mark.parametrize("part", [Box(80, 70, 32, 32), Box(70, 60, 48, 48), Box(80, 60, 40, 64)])
@pytest.mark.parametrize("angle", [-30.0, -5.0, 0.5, 12.0, 45.0, 90.0, 180.0])
def test_a_turned_crop_shows_the_turned_part(part, angle):
    out = turned_crop(ramp(200), part, SIZE, angle, FILL)
    assert (out.shape, out.dtype) == ((2, 3, SIZE, SIZE), torch.uint8)
    rows, columns = sources(part, angle)
    # Scaled to whole pixels, then two roundings; at the border the kernel of the antialiasing is cut off.
    inner = slice(1, -1)
    for frame in out.numpy().astype(int):
        np.testing.assert_allclose(frame[0, inner, inner], columns[inner, inner], atol=1)
        np.testing.assert_allclose(frame[1, inner, inner], rows[inner, inner], atol=1)
    assert [frame[2].unique().tolist() for frame in out] == [[0], [1]]


def test_a_turn_by_nearly_nothing_is_the_plain_crop():
    clip = np.random.default_rng(0).integers(0, 256, (3, 60, 60, 3), dtype=np.uint8)
    plain = scaled_crop(clip, Box(10, 20, SIZE, SIZE), SIZE)
    assert torch.equal(plain, torch.from_numpy(clip[:, 10:42, 20:52]).permute(0, 3, 1, 2))
    assert torch.equal(turned_crop(clip, Box(10, 20, SIZE, SIZE), SIZE, 1e-5, FILL), plain)


def test_what_lies_beyond_the_frame_is_filled():
    clip = np.full((2, 64, 64, 3), 10, np.uint8)
    part = Box(0, 0, 40, 40)
    out = turned_crop(clip, part, SIZE, 30.0, FILL).numpy()
    rows, columns = sources(part, 30.0)
    beyond = np.maximum.reduce([-rows, -columns, rows - 63, columns - 63])
    assert (out[..., beyond > 2] == FILL).all()
    assert (out[..., beyond < -2] == 10).all()
    assert (beyond > 2).sum() > 30


def test_parts_of_the_smallest_frames_can_be_turned():
    for shape in ((1, 1), (1, 9), (7, 2)):
        clip = np.full((2, *shape, 3), 10, np.uint8)
        out = turned_crop(clip, Box(0, 0, 1, 1), SIZE, 40.0, 10)
        assert (out == 10).all()
