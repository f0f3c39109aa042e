"""Videos written small, read back by the decoder: the same frames at the same times, in one thread."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vidnas.data import decode
from vidnas.data.decode import BrokenVideo, count_frames, probe, read_all, read_frames
from vidnas.data.encode import SmallForm, write_small
from vidnas.data.stream import open_video
from vidnas.data.synthetic import texture, write_video
from vidnas.errors import VidnasError

FORMS = {"jpeg": SmallForm("jpeg", 48), "h264": SmallForm("h264", 48)}
# Mean difference of a channel of 0 to 255: chroma at half the resolution, quantisation, two conversions between RGB
# and YCbCr. At most 3.5 here; the frame before differs by 10 and more.
TOLERANCE = 5.0


def scene(frames: int, size: tuple[int, int]) -> np.ndarray:
    """A smooth texture that moves by a ninth of the width per frame, less a little."""
    image = (255 * texture(size, np.random.default_rng(0))).astype(np.uint8)
    return np.stack([np.roll(image, k * (size[1] // 9), 1) for k in range(frames)])


def write(
    path: Path,
    *,
    codec: str = "libx264",
    steps: tuple[int, int] | None = None,
    start: int = 0,
    size: tuple[int, int] = (60, 90),
    rotation: int = 0,
) -> None:
    """40 frames, 25 a second; or `steps` draws the ticks of 1/50 s from one frame to the next."""
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "bf": "2", "g": "30", "qp": "12"} if codec == "libx264" else {"qscale": "2"}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        unit = Fraction(1, 25) if steps is None else Fraction(1, 50)
        stream.time_base = stream.codec_context.time_base = unit
        if rotation:
            stream.set_display_rotation(rotation)
        tick = start
        for pixels in scene(40, size):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = tick, unit
            container.mux(stream.encode(frame))
            tick += 1 if steps is None else int(rng.integers(*steps))
        container.mux(stream.encode(None))


SOURCES = {
    "constant rate, B-frames": ("mp4", {}),
    "variable rate": ("mp4", {"steps": (1, 9)}),
    "variable rate, Matroska": ("mkv", {"steps": (1, 9)}),
    "late start": ("mp4", {"start": 77}),
    "transport stream": ("ts", {"start": 9}),
    "AVI": ("avi", {"codec": "mpeg4"}),
    "turned left": ("mp4", {"rotation": 90}),
    "upside down": ("mp4", {"rotation": 180}),
    "smaller": ("mp4", {"size": (40, 50)}),
    "odd when scaled": ("mp4", {"size": (64, 90)}),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    paths = {}
    for name, (suffix, options) in SOURCES.items():
        paths[name] = folder / f"{len(paths)}.{suffix}"
        write(paths[name], **options)
    return paths


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SOURCES)
def test_frames_and_times_are_those_of_the_source(
    sources: dict[str, Path], tmp_path: Path, name: str, form: str
) -> None:
    source, target = sources[name], tmp_path / f"small{FORMS[form].suffix}"
    write_small(source, target, FORMS[form])
    info, small = probe(source), probe(target)
    short = min(48, info.width, info.height)
    frames, starts, _ = read_all(source, short_side=short)
    written, times, _ = read_all(target)
    np.testing.assert_allclose(times, starts, rtol=1e-12)
    height, width = frames.shape[1:3]
    if form == "h264":
        height, width = height // 2 * 2, width // 2 * 2
    assert written.shape == (40, height, width, 3)
    difference = np.abs(written.astype(float) - frames[:, :height, :width]).mean((1, 2, 3))
    assert difference.max() < TOLERANCE
    other = np.abs(written[1:].astype(float) - frames[:-1, :height, :width]).mean((1, 2, 3))
    assert other.min() > 2 * TOLERANCE
    assert (small.width, small.height, small.frames, small.rotation) == (width, height, 40, 0)
    # Matroska knows the duration to the millisecond.
    assert small.duration_sec == pytest.approx(info.duration_sec, abs=0.0011)
    # A variable rate is the average, and the source's header says what it likes.
    if "variable" not in name:
        assert small.fps == pytest.approx(info.fps, rel=1e-3)
    # Anywhere, before and after, and on every start: the frame that the source shows.
    rng = np.random.default_rng(2)
    asked = np.concatenate([rng.uniform(-0.5, info.duration_sec + 0.5, 20), starts, starts + 1e-9])
    got = read_frames(target, asked)
    shown = read_frames(source, asked, short_side=short)[:, :height, :width]
    assert np.abs(got.astype(float) - shown).mean((1, 2, 3)).max() < TOLERANCE


TICKS = {
    "one frame": [0],
    "two frames": [0, 3],
    "constant": list(range(0, 80, 2)),
    # Groups of a P-frame and three B-frames, and what is left of one at the end.
    "variable": [0, 3, 14, 20, 31, 32, 50, 77, 78, 93, 95, 120],
    "left over": [0, 35, 43, 46, 61, 88],
    "long first": [0, 500, 502, 530, 535, 559, 563, 570, 571, 590],
}


@pytest.mark.parametrize("size", [(48, 64), (47, 63)], ids=["even", "odd"])
@pytest.mark.parametrize("hold", [1, 2, 13, 300])
@pytest.mark.parametrize("ticks", TICKS.values(), ids=TICKS)
def test_the_last_frame_stays_as_long_as_in_the_source(
    tmp_path: Path, ticks: list[int], hold: int, size: tuple[int, int]
) -> None:
    source, target, unit = tmp_path / "source.mov", tmp_path / "small", Fraction(1, 50)
    with av.open(str(source), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "rgb24"
        stream.time_base = stream.codec_context.time_base = unit
        for tick, following, pixels in zip(ticks, [*ticks[1:], ticks[-1] + hold], scene(len(ticks), size), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = tick, unit
            for packet in stream.encode(frame):
                packet.duration = following - tick
                container.mux(packet)
    end = (ticks[-1] + hold) / 50
    assert probe(source).duration_sec == pytest.approx(end, rel=1e-9)
    for form in FORMS.values():
        write_small(source, target, form)
        assert probe(target).duration_sec == pytest.approx(end, rel=1e-9)
        np.testing.assert_allclose(read_all(target)[1], np.array(ticks) / 50, rtol=1e-9)
        with av.open(str(target)) as container:
            (stream,) = container.streams
            assert stream.start_time == 0
            assert stream.duration * stream.time_base == Fraction(ticks[-1] + hold, 50)
            assert container.duration / 1e6 == pytest.approx(end, abs=0.001)


def test_h264_gives_the_same_bytes_every_time(tmp_path: Path) -> None:
    write_video(tmp_path / "source.mp4", scene(30, (360, 640)), 25)
    targets = [tmp_path / f"{i}.mp4" for i in range(4)]
    for target in targets:
        write_small(tmp_path / "source.mp4", target, SmallForm("h264", 182))
    assert len({target.read_bytes() for target in targets}) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (2, 90), (5, 4)])
def test_tiny_pictures(tmp_path: Path, size: tuple[int, int]) -> None:
    source, target = tmp_path / "source.gif", tmp_path / "small"
    pictures = [Image.new("RGB", size[::-1], (level, level, level)) for level in (40, 120, 200)]
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=100)
    frames, starts, _ = read_all(source)
    for form in FORMS.values():
        if form.format == "h264" and min(size) == 1:
            with pytest.raises(BrokenVideo, match=rf"encoded \({size[1]} x {size[0]} pixels; H.264 needs 2 x 2"):
                write_small(source, target, form)
            continue
        write_small(source, target, form)
        written, times, _ = read_all(target)
        np.testing.assert_allclose(times, starts)
        height, width = written.shape[1:3]
        assert (height, width) == (size if form.format == "jpeg" else (size[0] // 2 * 2, size[1] // 2 * 2))
        assert np.abs(written.astype(float) - frames[:, :height, :width]).mean() < TOLERANCE


def test_quality_and_rate_factor_count(sources: dict[str, Path], tmp_path: Path) -> None:
    source = sources["constant rate, B-frames"]
    sizes = {}
    for form in (
        SmallForm("jpeg", 48, quality=95),
        SmallForm("jpeg", 48, quality=50),
        SmallForm("h264", 48, crf=12),
        SmallForm("h264", 48, crf=35),
        SmallForm("h264", 48, crf=12, gop=4),
    ):
        target = tmp_path / "small"
        write_small(source, target, form)
        sizes[form.format, form.quality, form.crf, form.gop] = target.stat().st_size
        if form.format == "h264":
            with av.open(str(target)) as container:
                keys = [i for i, p in enumerate(container.demux(video=0)) if p.is_keyframe and p.size]
            assert keys == list(range(0, 40, form.gop))
    assert sizes["jpeg", 50, 18, 24] < 0.6 * sizes["jpeg", 95, 18, 24]
    assert sizes["h264", 90, 35, 24] < 0.6 * sizes["h264", 90, 12, 24] < 0.8 * sizes["h264", 90, 12, 4]


def test_a_clip_decodes_its_own_frames_and_little_more(sources: dict[str, Path], tmp_path: Path) -> None:
    decoded = {}
    for name, form in FORMS.items():
        write_small(sources["constant rate, B-frames"], tmp_path / "small", form)
        with open_video(tmp_path / "small") as video:
            decode._pick(video, (np.arange(8, 40, 8) + 0.5) / 25, None, jump=True)
            decoded[name] = video.decoded
    assert decoded["jpeg"] == 4
    # Of every four frames one that others lean on, and the four of the clip.
    assert decoded["h264"] <= 40 / 4 + 4 + 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.parametrize("form", FORMS)
def test_decoding_and_encoding_take_one_thread(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    convert, threads = decode.Converter.__call__, []

    def counting(self: decode.Converter, frame: av.VideoFrame) -> np.ndarray:
        threads.append(len(os.listdir("/proc/self/task")))
        return convert(self, frame)

    before = len(os.listdir("/proc/self/task"))
    monkeypatch.setattr(decode.Converter, "__call__", counting)
    write_small(sources["constant rate, B-frames"], tmp_path / "small", FORMS[form])
    read_frames(tmp_path / "small", [0.1, 1.1])
    read_frames(sources["constant rate, B-frames"], [0.1, 1.1], short_side=48)
    assert len(threads) == 40 + 2 + 2
    assert set(threads) == {before}


@pytest.mark.parametrize("form", FORMS)
def test_unusable_sources_are_named_as_a_check_names_them(tmp_path: Path, form: str) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for path in (text, tmp_path / "missing.mp4"):
        with pytest.raises(BrokenVideo) as checked:
            count_frames(path)
        with pytest.raises(BrokenVideo) as written:
            write_small(path, tmp_path / "small", FORMS[form])
        assert str(written.value) == str(checked.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "h264", "short_side": 181}, "even"),
        ({"format": "jpeg", "short_side": 4}, "short_side 4: give a number from 16"),
        ({"format": "jpeg", "quality": 101}, "quality 101: give a number from 1 to 100"),
        ({"format": "h264", "crf": 52}, "crf 52"),
        ({"format": "h264", "gop": 0}, "gop 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(VidnasError, match=message):
        SmallForm(**settings)


def test_settings_are_those_that_make_a_difference() -> None:
    assert SmallForm("jpeg").settings() == {"format": "jpeg", "short_side": 182, "quality": 90}
    assert SmallForm("h264").settings() == {"format": "h264", "short_side": 182, "crf": 18, "gop": 24}
