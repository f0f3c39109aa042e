"""Frames by time, against the order in which they were encoded: files of many kinds, whole, damaged and hostile."""

import io
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidnas.data import decode
from vidnas.data.decode import BrokenVideo, count_frames, probe, read_all, read_frames
from vidnas.data.stream import open_video

WIDTH, HEIGHT = 64, 48


@dataclass(frozen=True)
class Kind:
    """How a test file is encoded; frame k starts at `ticks[k] * unit` seconds."""

    suffix: str
    codec: str = "libx264"
    frames: int = 90
    fps: int = 30
    ticks: tuple[int, ...] | None = None
    unit: Fraction | None = None
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"

    @property
    def starts_sec(self) -> np.ndarray:
        ticks = np.array(self.ticks if self.ticks is not None else range(self.frames))
        return (ticks - ticks[0]) * float(self.unit or Fraction(1, self.fps))


def picture(k: int) -> np.ndarray:
    """A picture that no two frames share: its number in bits across the top, blocks that move below."""
    rng = np.random.default_rng(0)
    blocks = np.roll(rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3)), k, 1)
    image = np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)
    for bit in range(WIDTH // 8):
        image[:8, bit * 8 : bit * 8 + 8] = 255 * (k >> bit & 1)
    return image


def number(image: np.ndarray) -> int:
    """The number that `picture` wrote."""
    return sum(1 << bit for bit in range(WIDTH // 8) if image[2:6, bit * 8 + 2 : bit * 8 + 6].mean() > 127)


def encode(target: Path | io.RawIOBase, kind: Kind, prepare: Callable[..., None] | None = None) -> None:
    """Write a file of this kind; `prepare` gets the stream before the first frame."""
    file = str(target) if isinstance(target, Path) else target
    form = None if isinstance(target, Path) else kind.suffix
    with av.open(file, "w", format=form, options=kind.container) as container:
        fast = {"preset": "ultrafast", "bf": "2"} if kind.codec == "libx264" else {}
        stream = container.add_stream(kind.codec, rate=kind.fps, options=fast | kind.options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, kind.pixels
        unit = kind.unit or Fraction(1, kind.fps)
        stream.time_base = stream.codec_context.time_base = unit
        if prepare is not None:
            prepare(stream)
        for k in range(kind.frames):
            frame = av.VideoFrame.from_ndarray(picture(k), "rgb24")
            frame.pts, frame.time_base = kind.ticks[k] if kind.ticks is not None else k, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def sequential(path: Path) -> np.ndarray:
    """All frames, decoded in order by PyAV alone."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def uneven(frames: int) -> tuple[int, ...]:
    return tuple(int(t) for t in np.cumsum(np.random.default_rng(1).integers(1, 9, frames)))


def gop(size: int, more: str = "") -> dict[str, str]:
    return {"g": str(size), "x264-params": f"keyint={size}:min-keyint={size}:scenecut=0:bframes=2{more}"}


# Longer ones reach over the distance from which the reader seeks (10 s).
KINDS = {
    "long GOP with B-frames": Kind("mp4", options=gop(250)),
    "short GOP, 40 s": Kind("mp4", frames=240, fps=6, options=gop(12)),
    "open GOP": Kind("mp4", options=gop(12, ":open-gop=1")),
    "intra refresh": Kind("mp4", options=gop(15, ":intra-refresh=1:bframes=0")),
    "variable rate": Kind("mp4", ticks=uneven(90), unit=Fraction(1, 50), options=gop(12)),
    "variable rate, Matroska": Kind("mkv", ticks=uneven(90), unit=Fraction(1, 50), options=gop(12)),
    "late start": Kind("mp4", ticks=tuple(range(77, 167)), options=gop(12)),
    "late start, transport stream, 40 s": Kind("ts", frames=240, fps=6, ticks=tuple(range(9, 249)), options=gop(12)),
    "Matroska, 40 s": Kind("mkv", frames=240, fps=6, options=gop(12)),
    "fragmented, 40 s": Kind(
        "mp4", frames=240, fps=6, options=gop(12), container={"movflags": "frag_keyframe+empty_moov"}
    ),
    "FLV": Kind("flv", options=gop(12)),
    "HEVC with open GOP": Kind(
        "mp4", "libx265", 60, options={"preset": "ultrafast", "x265-params": "keyint=12:open-gop=1:log-level=none"}
    ),
    "VP9": Kind("webm", "libvpx-vp9", 60, options={"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    "MPEG-4 with B-frames in AVI": Kind("avi", "mpeg4", options={"bf": "2", "g": "24"}),
    "H.264 in AVI": Kind("avi", options=gop(12)),
    "MPEG-2 program stream, 20 s": Kind("mpg", "mpeg2video", 500, fps=25, options={"bf": "2", "g": "15"}),
    "MJPEG": Kind("mov", "mjpeg", 30, pixels="yuvj420p"),
    "GIF": Kind("gif", "gif", 30, fps=20, pixels="rgb8"),
    "no container": Kind("h264", frames=60, fps=25, options=gop(12)),
    "no container, HEVC": Kind(
        "hevc", "libx265", 30, options={"preset": "ultrafast", "x265-params": "keyint=12:log-level=none"}
    ),
    "no container, MPEG-4": Kind("m4v", "mpeg4", 30, options={"bf": "2", "g": "12"}),
    "no container, MJPEG": Kind("mjpeg", "mjpeg", 30, fps=25, pixels="yuvj420p"),
    "recovery points": Kind("ts", options=gop(12, ":open-gop=1")),
    "intra refresh, transport stream": Kind("ts", frames=60, options=gop(15, ":intra-refresh=1:bframes=0")),
    "pyramid of B-frames": Kind("mkv", options=gop(48, ":bframes=8:b-pyramid=normal:b-adapt=2:ref=8")),
    "HEVC in a transport stream": Kind(
        "ts", "libx265", 30, options={"preset": "ultrafast", "x265-params": "keyint=12:log-level=none"}
    ),
    "MPEG-2 in a transport stream": Kind("ts", "mpeg2video", 60, fps=25, options={"bf": "2", "g": "12"}),
    "DVD": Kind("vob", "mpeg2video", 60, fps=25, options={"bf": "2", "g": "12"}),
    "WTV": Kind("wtv", "mpeg2video", 60, fps=25, options={"bf": "2", "g": "12"}),
    "MXF": Kind("mxf", "mpeg2video", 60, fps=25, options={"bf": "2", "g": "12"}),
    "NUT": Kind("nut", "mpeg4", 60, options={"bf": "2", "g": "12"}),
    "MPEG-4 of a phone": Kind("3gp", "mpeg4", 60, options={"g": "12"}),
    "Windows Media": Kind("asf", "wmv2", 60, options={"g": "12"}),
    "Sorenson in FLV": Kind("flv", "flv", 60, options={"g": "12"}),
    "RealVideo": Kind("rm", "rv20", 60, options={"g": "12"}),
    "VP8": Kind("webm", "libvpx", 30, options={"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    "VP8 in Ogg": Kind("ogv", "libvpx", 30, options={"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    "VP9 in IVF": Kind("ivf", "libvpx-vp9", 30, options={"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    "AV1": Kind("mp4", "libsvtav1", 30, options={"preset": "12", "g": "12", "svtav1-params": "lp=1"}),
    "ProRes": Kind("mov", "prores_ks", 20, pixels="yuv422p10le"),
    "FFV1": Kind("mkv", "ffv1", 30, options={"g": "12"}),
    "MJPEG in AVI": Kind("avi", "mjpeg", 30, pixels="yuvj420p"),
    "APNG": Kind("apng", "apng", 30, pixels="rgb24"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("kinds")
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            kind = KINDS[name]
            try:
                av.Codec(kind.codec, "w")
            except av.error.UnknownCodecError:
                pytest.skip(f"this FFmpeg has no encoder {kind.codec}")
            made[name] = folder / f"{len(made)}.{kind.suffix}"
            # Run by root, SVT-AV1 makes the thread that calls it a real-time one, before which all others have to wait.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(encode, made[name], kind).result()
        return made[name]

    return make


@pytest.mark.parametrize("name", KINDS)
def test_frames_at_random_times_are_those_on_the_screen(files: Callable[[str], Path], name: str) -> None:
    kind, path = KINDS[name], files(name)
    starts = kind.starts_sec
    frames = sequential(path)
    assert [number(frame) for frame in frames] == [k % 256 for k in range(kind.frames)]
    ends = np.append(starts[1:], starts[-1] + 0.1)
    rng = np.random.default_rng(0)
    for _ in range(12):
        wanted = rng.integers(kind.frames, size=rng.integers(1, 6))
        # Off the edges: a frame counts as shown up to a quarter of it early, where ticks are coarse (AVI, GIF).
        times = starts[wanted] + rng.uniform(0.1, 0.7, len(wanted)) * (ends - starts)[wanted]
        np.testing.assert_array_equal(read_frames(path, times), frames[wanted])


@pytest.mark.parametrize("name", KINDS)
def test_all_frames_come_with_their_start_times(files: Callable[[str], Path], name: str) -> None:
    kind, path = KINDS[name], files(name)
    frames, times, _ = read_all(path)
    np.testing.assert_array_equal(frames, sequential(path))
    # Matroska and FLV round to milliseconds, at both ends of a difference.
    np.testing.assert_allclose(times, kind.starts_sec, atol=1.001e-3)
    assert count_frames(path) == kind.frames


@pytest.mark.parametrize("name", KINDS)
def test_each_frame_sought_is_the_one_that_reading_from_the_start_gives(
    files: Callable[[str], Path], name: str
) -> None:
    frames, times, _ = read_all(files(name))
    info = probe(files(name))
    for k in range(0, len(frames), 1 if len(frames) <= 90 else 7):
        np.testing.assert_array_equal(read_frames(info, [times[k] + 1e-4])[0], frames[k])


@pytest.mark.parametrize("name", KINDS)
def test_probe(files: Callable[[str], Path], name: str) -> None:
    kind, path = KINDS[name], files(name)
    info = probe(path)
    assert (info.width, info.height, info.rotation) == (WIDTH, HEIGHT, 0)
    assert info.frames == kind.frames
    assert info.notice is None
    if kind.ticks is None:
        assert info.fps == pytest.approx(kind.fps)
        assert info.duration_sec == pytest.approx(kind.frames / kind.fps, abs=0.002)


@pytest.mark.parametrize(
    ("name", "at_sec"),
    [
        ("short GOP, 40 s", 8.0),
        ("short GOP, 40 s", 35.0),
        ("late start, transport stream, 40 s", 8.0),
        ("late start, transport stream, 40 s", 35.0),
        ("Matroska, 40 s", 8.0),
        ("Matroska, 40 s", 35.0),
        ("open GOP", 2.6),
        ("HEVC with open GOP", 1.9),
        ("VP9", 1.9),
        ("MJPEG", 0.7),
    ],
)
def test_decodes_only_what_is_needed(files: Callable[[str], Path], name: str, at_sec: float) -> None:
    kind = KINDS[name]
    wanted = int(at_sec * kind.fps)
    decoded = {}
    for jump in (True, False):
        with open_video(files(name)) as video:
            got = decode._pick(video, [(wanted + 0.5) / kind.fps], None, jump=jump)
            decoded[jump] = video.decoded
        assert number(got[0]) == wanted
    # The first two frames and what the decoder holds back behind them, then one group of pictures and the same.
    assert decoded[True] <= (1 if name == "MJPEG" else 2 + 12 + 2 * 4)
    assert decoded[False] > wanted


def test_pictures_that_none_leans_on_are_left_out(files: Callable[[str], Path]) -> None:
    name = "long GOP with B-frames"
    wanted = np.arange(5, 90, 8)
    with open_video(files(name)) as video:
        got = decode._pick(video, (wanted + 0.5) / 30, None, jump=True)
        came_out = video.decoded
    assert [number(frame) for frame in got] == wanted.tolist()
    with av.open(str(files(name))) as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        needed = sum(1 for _ in container.decode(video=0))
    # The frames wanted themselves, and up to the last one what others lean on.
    assert came_out <= needed + len(wanted) < 75


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the bytes read from /proc")
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_reads_little_of_a_long_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"long.{suffix}"
    encode(path, Kind(suffix, frames=240, fps=6, options={"g": "12", "qp": "0"}))

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text(encoding="utf-8").split()[1])

    info = probe(path)
    before = bytes_read()
    got = read_frames(info, [30.05])
    # Without a seek it is three quarters of the file. FFmpeg reads 32 KiB at a time and looks ahead on opening.
    assert bytes_read() - before < path.stat().st_size / 2
    assert number(got[0]) == 180


def test_frames_whose_times_go_back_are_counted(tmp_path: Path) -> None:
    whole, swapped = tmp_path / "whole.mp4", tmp_path / "swapped.mkv"
    encode(whole, Kind("mp4", frames=30, fps=25, options={"g": "1", "bf": "0"}))
    with av.open(str(whole)) as source, av.open(str(swapped), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for k, packet in enumerate(p for p in source.demux(stream) if p.dts is not None):
            packet.stream, packet.time_base = copy, Fraction(1, 25)
            packet.pts, packet.dts = {10: 11, 11: 10}.get(k, k), k - 2
            target.mux(packet)
    frames, times, _ = read_all(swapped)
    assert [number(frame) for frame in frames] == list(range(30))
    np.testing.assert_allclose(times * 25, np.arange(30))
    got = read_frames(swapped, [9.5 / 25, 10.5 / 25, 11.5 / 25, 12.5 / 25])
    assert [number(frame) for frame in got] == [9, 10, 11, 12]
    assert "start over or jump" in str(probe(swapped).notice)


def test_order_and_repeats_are_kept_and_times_outside_give_the_ends(files: Callable[[str], Path]) -> None:
    got = read_frames(files("short GOP, 40 s"), [20.25, -1, 0.25, 20.25, 1e6, 39.9])
    assert [number(frame) for frame in got] == [121, 0, 1, 121, 239, 239]


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(30000, 1001)])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_time_computed_from_the_rate_meets_its_frame_though_the_container_rounds(
    tmp_path: Path, rate: Fraction, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    encode(path, Kind(suffix, unit=1 / rate, options=gop(24)))
    got = read_frames(path, [k / float(rate) for k in range(90)])
    assert [number(frame) for frame in got] == list(range(90))


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    key=st.integers(1, 30),
    late=st.integers(0, 200),
    suffix=st.sampled_from(["mp4", "mkv", "ts"]),
    places=st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.1, 0.7)), min_size=1, max_size=6),
)
def test_any_timing(
    tmp_path_factory: pytest.TempPathFactory,
    steps: Sequence[int],
    key: int,
    late: int,
    suffix: str,
    places: Sequence[tuple[int, float]],
) -> None:
    path = tmp_path_factory.mktemp("timing") / f"a.{suffix}"
    ticks = np.cumsum([late, *steps])
    kind = Kind(suffix, frames=len(ticks), ticks=tuple(int(t) for t in ticks), unit=Fraction(1, 25), options=gop(key))
    encode(path, kind)
    wanted = [place % len(ticks) for place, _ in places]
    lengths = np.append(np.diff(kind.starts_sec), 0.04)
    times = [kind.starts_sec[k] + part * lengths[k] for k, (_, part) in zip(wanted, places, strict=True)]
    np.testing.assert_array_equal(read_frames(path, times), sequential(path)[wanted])


COLOURS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}


def corners(image: np.ndarray) -> str:
    spots = [image[6, 6], image[6, -6], image[-6, 6], image[-6, -6]]
    return "".join(min(COLOURS, key=lambda c: np.abs(spot.astype(int) - COLOURS[c]).sum()) for spot in spots)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_stand_upright(tmp_path: Path, degrees: int, flip: bool, suffix: str) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    halves = (slice(None, 24), slice(24, None)), (slice(None, 32), slice(32, None))
    for spot, (row, column) in zip("RGBW", [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        image[halves[0][row], halves[1][column]] = COLOURS[spot]
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.set_display_rotation(degrees, hflip=flip)  # counter-clockwise, then mirrored
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    upright = np.rot90(image, degrees // 90)
    upright = upright[:, ::-1] if flip else upright
    got = read_frames(path, [0.2])[0]
    assert got.shape == upright.shape
    assert corners(got) == corners(upright)
    info = probe(path)
    assert (info.height, info.width) == upright.shape[:2]
    if not flip:
        assert info.rotation == degrees
    scaled = read_frames(path, [0.2], short_side=24)[0]
    assert (min(scaled.shape[:2]), corners(scaled)) == (24, corners(upright))


@pytest.mark.parametrize(("short_side", "shape"), [(24, (24, 32)), (96, (96, 128)), (25, (25, 33)), (1, (1, 1))])
def test_short_side(files: Callable[[str], Path], short_side: int, shape: tuple[int, int]) -> None:
    path = files("long GOP with B-frames")
    got = read_frames(path, [1.0], short_side=short_side)[0]
    assert got.shape == (*shape, 3)
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[30]
    expected = frame.to_ndarray(format="rgb24", width=shape[1], height=shape[0])
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(read_all(path, short_side=short_side)[0][30], got)


class Unseekable(io.RawIOBase):
    """A pipe: headers cannot be completed afterwards."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def test_a_missing_duration_is_measured(tmp_path: Path) -> None:
    pipe = Unseekable()
    encode(pipe, Kind("webm", "libvpx-vp9", 45, options={"deadline": "realtime", "cpu-used": "8"}))
    path = tmp_path / "live.webm"
    path.write_bytes(pipe.data)
    with av.open(str(path)) as container:
        assert container.duration is None
        assert container.streams.video[0].duration is None
    info = probe(path)
    assert info.frames == 45
    assert info.duration_sec == pytest.approx(1.5, abs=0.002)  # Matroska's milliseconds


def test_frames_before_an_edit_list_are_neither_shown_nor_counted_in_time(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    encode(whole, Kind("mp4", options=gop(30)))
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        ticks = round(10 / 30 / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, copy
                target.mux(packet)
    assert probe(cut).duration_sec == pytest.approx(80 / 30, abs=0.001)
    assert [number(frame) for frame in read_frames(cut, [0.01, 1.01, 2.01])] == [10, 40, 70]
    assert count_frames(cut) == 80


def test_times_must_be_finite(files: Callable[[str], Path]) -> None:
    for times in ([], [0.0, float("nan")], [float("inf")]):
        with pytest.raises(ValueError, match="finite"):
            read_frames(files("GIF"), times)


@pytest.fixture
def mp4(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    encode(path, Kind("mp4", options=gop(12), container={"movflags": "faststart"}))
    return path


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def no_pictures(path: Path) -> None:
    """A header that promises frames, cut off where they begin."""
    encode(path, Kind("mp4", container={"movflags": "faststart"}))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "not a file"),
    "empty": (lambda path: path.touch(), "0 bytes"),
    "text": (lambda path: path.write_text("no video " * 200), "not a video"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(20000)), "not a video"),
    "audio": (audio_only, "no video stream"),
    "header": (no_pictures, "no frame"),
    "concat playlist": (lambda path: path.write_text("ffconcat version 1.0\nfile 'other.mp4'\n"), "not supported"),
    "stream playlist": (
        lambda path: path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nother.ts\n#EXT-X-ENDLIST\n"),
        "not a video",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_files_are_named_with_their_cause(tmp_path: Path, name: str) -> None:
    make, cause = UNUSABLE[name]
    for other in ("other.mp4", "other.ts"):  # what the playlists lead to is there
        encode(tmp_path / other, Kind(other[6:], frames=90))
    path = tmp_path / "bad.mp4"
    make(path)
    for use in (probe, count_frames, read_all, lambda path: read_frames(path, [0.0, 1.0])):
        with pytest.raises(BrokenVideo) as raised:
            use(path)
        assert cause in raised.value.cause
        assert raised.value.path == path
        assert str(raised.value) == f"{path}: {raised.value.cause}"


def test_a_path_is_never_taken_for_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Callable[[str], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", "http:x.mp4", "-", "pipe:0", "é %03d.mp4"):
        Path(name).write_bytes(files("long GOP with B-frames").read_bytes())
        assert number(read_frames(name, [1.0])[0]) == 30


def damage_packet(path: Path, place: int) -> int:
    """Make the length field of a packet nonsense; returns the number of frames shown before it."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos is not None]
        shown = sum(packet.pts < packets[place].pts for packet in packets[:place])
        position = packets[place].pos
    data = bytearray(path.read_bytes())
    data[position : position + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    return shown


def test_a_decode_error_tells_how_far_it_came(mp4: Path) -> None:
    before = sequential(mp4)
    damage_packet(mp4, 40)
    with pytest.raises(BrokenVideo, match=r"decode error after frame \d+ \(Invalid data") as raised:
        count_frames(mp4)
    good = int(raised.value.cause.split()[4])
    assert 34 <= good <= 40  # what comes out before packet 40, some frames being held back for B-frames
    with pytest.raises(BrokenVideo, match=f"after frame {good} "):
        read_frames(mp4, [1.4])
    with pytest.raises(BrokenVideo, match=f"after frame {good} "):
        read_all(mp4)
    np.testing.assert_array_equal(read_frames(mp4, [0.5, 1.0]), before[[15, 30]])


def test_frames_after_a_damaged_group_need_not_know_of_it(mp4: Path) -> None:
    before = sequential(mp4)
    damage_packet(mp4, 40)
    np.testing.assert_array_equal(read_frames(mp4, [2.51]), before[[75]])


def test_broken_video_passes_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BrokenVideo("a/b.mp4", "no frame")))
    assert (error.path, error.cause, str(error)) == (Path("a/b.mp4"), "no frame", "a/b.mp4: no frame")


@pytest.mark.parametrize("name", ["short GOP, 40 s", "VP9", "FLV", "GIF", "MPEG-4 with B-frames in AVI"])
def test_random_damage_gives_frames_or_broken_video(files: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    whole = files(name).read_bytes()
    path = tmp_path / f"bad.{KINDS[name].suffix}"
    outcomes = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = bytearray(whole[: rng.integers(1, len(whole))] if seed % 3 == 0 else whole)
        for _ in range(rng.integers(1, 20)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data)
        for use in (probe, count_frames, lambda path: read_frames(path, [0.3, 1.7, 30.0])):
            try:
                use(path)
                outcomes.add("good")
            except BrokenVideo:
                outcomes.add("broken")
    assert outcomes == {"good", "broken"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts open files in /proc")
def test_no_file_stays_open(files: Callable[[str], Path], mp4: Path, tmp_path: Path) -> None:
    damage_packet(mp4, 40)
    text = tmp_path / "text.mp4"
    text.write_text("no video " * 200)
    before = len(os.listdir("/proc/self/fd"))
    for path in (files("intra refresh"), files("Matroska, 40 s"), mp4, text):
        for use in (probe, count_frames, lambda path: read_frames(path, [1.9])):
            try:
                use(path)
            except BrokenVideo:
                continue
    assert len(os.listdir("/proc/self/fd")) == before
