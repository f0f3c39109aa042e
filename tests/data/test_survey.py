"""How long a film is and which of its streams is the film, where header, clock and index say something else."""

import io
import re
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from vidnas.data.decode import BrokenVideo, probe, read_all, read_frames, read_through
from vidnas.data.stream import open_video

SIDE = 48
RED, BLUE = (255, 0, 0), (0, 0, 255)


def add_film(container: av.container.OutputContainer, codec: str = "libx264", size: int = SIDE, **options: str):
    stream = container.add_stream(codec, rate=25, options={"g": "12", **options})
    stream.width = stream.height = size
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return stream


def encoded(stream, colours: Iterable[tuple[int, int, int]], ticks: Iterable[int] | None = None) -> list[av.Packet]:
    """Packets of frames of one colour each."""
    packets = []
    places = iter(ticks) if ticks is not None else iter(range(10**6))
    for colour, tick in zip(colours, places, strict=False):
        image = np.full((stream.height, stream.width, 3), colour, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts, frame.time_base = tick, Fraction(1, 25)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def halves(frames: int) -> list[tuple[int, int, int]]:
    return [RED] * (frames // 2) + [BLUE] * (frames - frames // 2)


def write(path: Path, frames: int = 50, codec: str = "libx264", ticks=None, **options: str) -> Path:
    """A film, red and then blue."""
    with av.open(str(path), "w", container_options=options) as container:
        stream = add_film(container, codec)
        for packet in encoded(stream, halves(frames), ticks):
            container.mux(packet)
    return path


def seen(path: Path, number: int = 8) -> str:
    """The colours of frames spread over a film."""
    info = probe(path)
    times = [(k + 0.5) * info.duration_sec / number for k in range(number)]
    return "".join("RGB"[int(image.mean((0, 1)).argmax())] for image in read_frames(info, times))


def add_sound(container: av.container.OutputContainer, codec: str, seconds: int) -> list[av.Packet]:
    stream = container.add_stream(codec, rate=44100, layout="mono")
    stream.bit_rate = 64_000
    packets = []
    for k in range(seconds * 44100 // 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 44100, 1024 * k, Fraction(1, 44100)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [("wmv", "wmv2", "wmav2"), ("mkv", "libx264", "aac"), ("flv", "flv", "aac"), ("ts", "libx264", "aac")],
)
def test_a_sound_that_goes_on_adds_nothing_to_the_film(tmp_path: Path, suffix: str, codec: str, sound: str) -> None:
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = add_film(container, codec)
        heard = add_sound(container, sound, 9)
        for packet in [*encoded(stream, halves(50)), *heard]:
            container.mux(packet)
    info = probe(path)
    assert info.duration_sec == pytest.approx(2, abs=0.05)
    assert (info.frames, info.notice, seen(path)) == (50, None, "RRRRBBBB")


def cut_at(path: Path, frames: int) -> None:
    """Leave so many frames of a file whose header lies at its start."""
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    with path.open("r+b") as stream:
        stream.truncate(places[frames])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_file_cut_short_is_as_long_as_what_is_there_and_says_so(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", 100, **({"movflags": "faststart"} if suffix == "mp4" else {}))
    whole = probe(path)
    assert (whole.frames, whole.notice) == (100, None)
    cut_at(path, 60)
    info = probe(path)
    assert info.frames == len(read_all(path)[0]) == 60
    assert info.duration_sec == pytest.approx(
        2.4, abs=0.1
    )  # the last frames there may be shown after some that are not
    assert info.notice == ("ends early: 60 of 100 frames are there" if suffix == "mp4" else info.notice)
    assert str(info.notice).startswith("ends early: ")
    assert read_through(path) == (60, info.notice)
    assert set(seen(path)) == {"R", "B"}


def test_an_index_that_lists_every_frame_saves_reading_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 500)
    data = path.read_bytes()
    # What the packets hold is not looked at, but for the first.
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.pos is not None][40]
    path.write_bytes(data[:place] + bytes(1000) + data[place + 1000 :])
    assert (probe(path).frames, probe(path).duration_sec) == (500, 20)


def test_a_segment_out_of_the_middle_starts_with_its_first_frame(tmp_path: Path) -> None:
    fragmented = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = write(tmp_path / "a.mp4", 100, ticks=range(140, 240), **fragmented)
    info = probe(path)
    assert (info.frames, info.duration_sec, info.notice) == (100, 4, None)
    assert seen(path) == "RRRRBBBB"


@pytest.mark.parametrize("suffix", ["ts", "wtv", "mpg"])
def test_a_lead_that_cannot_be_decoded_is_no_part_of_the_film(tmp_path: Path, suffix: str) -> None:
    codec = "libx264" if suffix == "ts" else "mpeg2video"
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = add_film(container, codec)
        # Without the key frame that the first eleven lean on.
        for packet in encoded(stream, [(0, 255, 0)] * 12 + halves(50))[1:]:
            container.mux(packet)
    info = probe(path)
    frames, times, _ = read_all(path)
    assert len(frames) == info.frames == 50
    assert info.duration_sec == pytest.approx(times[-1] + 0.04, abs=0.005)
    assert seen(path) == "RRRRBBBB"


@pytest.mark.parametrize(("form", "codec"), [("mpeg1video", "mpeg1video"), ("h264", "libx264"), ("m4v", "mpeg4")])
def test_an_elementary_stream_is_as_long_as_its_frames(tmp_path: Path, form: str, codec: str) -> None:
    path = tmp_path / "a.mpg"
    with av.open(str(path), "w", format=form) as container:
        for packet in encoded(add_film(container, codec), halves(50)):
            container.mux(packet)
    info = probe(path)
    assert info.frames == 50
    assert info.duration_sec == pytest.approx(2, abs=0.001)
    assert info.notice is None
    assert seen(path) == "RRRRBBBB"


def test_the_last_frame_is_held_as_long_as_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = add_film(container, bf="0")
        packets = encoded(stream, halves(50))
        packets[-1].duration = Fraction(3) / packets[-1].time_base
        for packet in packets:
            container.mux(packet)
    assert probe(path).duration_sec == pytest.approx(49 / 25 + 3)


@pytest.mark.parametrize("suffix", ["ts", "mpg", "mkv"])
def test_recordings_joined_end_to_end_are_seen_one_after_another(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg2video" if suffix == "mpg" else "libx264"
    parts = []
    for colour in (RED, BLUE):
        with av.open(str(tmp_path / f"part.{suffix}"), "w") as container:
            for packet in encoded(add_film(container, codec), [colour] * 25):
                container.mux(packet)
        parts.append((tmp_path / f"part.{suffix}").read_bytes())
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(b"".join(parts))
    info = probe(path)
    assert (info.frames, info.fps) == (50, pytest.approx(25))
    assert info.duration_sec == pytest.approx(2)
    assert "start over" in str(info.notice)
    assert seen(path) == "RRRRBBBB"
    _, times, _ = read_all(path)
    np.testing.assert_allclose(times, np.arange(50) / 25)


def test_a_file_that_goes_on_after_its_last_packet_says_so(tmp_path: Path) -> None:
    """FFmpeg stops where the second of two FLV files begins."""
    path = tmp_path / "a.flv"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = add_film(container, "flv", b="8000000")
        for k in range(50):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), "rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(path).notice is None
    path.write_bytes(path.read_bytes() * 3)
    assert re.match(r"the last \d\d% of the file cannot be read", str(probe(path).notice))


def small_film(path: Path, form: str, codec: str, pixels: str = "yuv420p") -> bytes:
    """Ten frames in a container, which FFmpeg knows by its name."""
    with av.open(str(path), "w", format=form, container_options={"live": "1"} if form == "webm" else {}) as container:
        stream = container.add_stream(codec, rate=10, width=SIDE, height=SIDE, pix_fmt=pixels)
        for k in range(10):
            picture = np.full((SIDE, SIDE, 3), 20 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("form", "codec", "pixels"),
    [
        ("asf", "wmv2", "yuv420p"),
        ("webm", "libvpx", "yuv420p"),
        ("flv", "flv", "yuv420p"),
        ("ivf", "libvpx", "yuv420p"),
        ("nut", "mpeg4", "yuv420p"),
        ("rm", "rv20", "yuv420p"),
        ("wtv", "mpeg2video", "yuv420p"),
        ("apng", "apng", "rgb24"),
        ("yuv4mpegpipe", "wrapped_avframe", "yuv420p"),
    ],
)
def test_a_small_file_of_which_the_second_part_is_not_read_says_so(
    tmp_path: Path, form: str, codec: str, pixels: str
) -> None:
    path = tmp_path / "a"
    part = small_film(path, form, codec, pixels)
    assert "joined" not in str(probe(path).notice)
    # A file of another kind of WebM, one that knows its length, follows where FFmpeg would read on after its like.
    path.write_bytes(part + (small_film(tmp_path / "b", "matroska", codec) if form == "webm" else part))
    assert re.search(r"the last \d\d% of the file cannot be read, as where files were joined", str(probe(path).notice))


def test_joined_files_of_other_tracks_may_be_read_in_part(tmp_path: Path) -> None:
    parts = []
    for sound in (False, True):
        path = tmp_path / "part.mkv"
        with av.open(str(path), "w") as container:
            film = add_film(container)
            heard = add_sound(container, "mp3", 1) if sound else []
            for packet in [*encoded(film, [RED] * 25), *heard]:
                container.mux(packet)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    assert "not all of what follows the first may be read" in str(probe(path).notice)


def test_two_films_in_one_file_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 50)
    assert probe(path).notice is None
    path.write_bytes(path.read_bytes() * 2)
    assert "only the first of its films" in str(probe(path).notice)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "mjpeg"])
def test_an_avi_cut_short_says_so_whatever_its_length_seems(tmp_path: Path, codec: str) -> None:
    """FFmpeg guesses the length of an AVI from the size of the file."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = add_film(container, codec)
        heard = add_sound(container, "mp3", 8)
        pictures = encoded(stream, halves(200))
        for k, packet in enumerate(heard):  # interleaved
            for picture in pictures[k * len(pictures) // len(heard) : (k + 1) * len(pictures) // len(heard)]:
                container.mux(picture)
            container.mux(packet)
    assert probe(path).notice is None
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 6 // 10)
    assert re.search(r"ends early: \d+ of 20\d frames are there", str(probe(path).notice))


def test_b_frames_with_the_times_of_their_decoding_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    shades = [(k * 4, 255 - k * 4, k * 7 % 256) for k in range(60)]
    with av.open(str(path), "w") as container:
        stream = add_film(container, bf="2", sc_threshold="0")
        for k, packet in enumerate(encoded(stream, shades)):
            packet.pts = packet.dts = k
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    info = probe(path)
    frames, times, notice = read_all(info)
    assert (len(frames), notice) == (60, None)
    np.testing.assert_allclose(times, np.arange(60) / 25, atol=2e-3)
    levels = frames.mean((1, 2))[:, 0]
    assert (np.diff(levels) > 0).all()
    for k in range(0, 60, 7):
        np.testing.assert_array_equal(read_frames(info, [times[k] + 0.01])[0], frames[k])


def test_shots_joined_with_the_frames_before_their_first_are_counted(tmp_path: Path) -> None:
    """What a joint of copied cuts leaves: times that go back by three frames, in a file whose index goes forward."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = add_film(container, bf="2", sc_threshold="0")
        latest = -(10**6)
        for place, packet in enumerate(encoded(stream, halves(60))):
            late = 3 * int(Fraction(1, 25) / packet.time_base) if place >= 24 else 0
            packet.dts = latest = max(packet.dts - late, latest + 1)
            packet.pts = max(packet.pts - late, packet.dts)
            container.mux(packet)
    info = probe(path)
    assert info.frames == len(read_all(info)[0]) == 60
    assert "start over or jump" in str(info.notice)
    assert read_all(info)[1][-1] == pytest.approx(59 / 25)


def test_a_stream_that_holds_nothing_is_not_the_film(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        empty, film = add_film(container, size=96), add_film(container)
        empty.disposition = Disposition.default
        for packet in encoded(film, [BLUE] * 20):
            container.mux(packet)
    assert (probe(path).width, seen(path, 2)) == (SIDE, "BB")


def colour_film(path: Path, colour: tuple[int, int, int], start_sec: int) -> bytes:
    """One second of a colour, its clock at `start_sec` at first."""
    with av.open(str(path), "w", container_options={"mpegts_copyts": "1"}) as container:
        for packet in encoded(add_film(container, bf="0"), [colour] * 25, range(25 * start_sec, 25 * start_sec + 25)):
            container.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize("starts_sec", [(0, 60), (60, 0), (0, 90_000), (90_000, 0), (90_000, 89_999)])
def test_a_clock_that_jumps_in_a_transport_stream_leaves_no_hole(tmp_path: Path, starts_sec: tuple[int, int]) -> None:
    path = tmp_path / "joined.ts"
    parts = [colour_film(tmp_path / "part.ts", *part) for part in zip((RED, BLUE), starts_sec, strict=True)]
    path.write_bytes(b"".join(parts))
    info = probe(path)
    assert (info.frames, info.duration_sec) == (50, pytest.approx(2))
    assert "jump" in str(info.notice)
    assert seen(path) == "RRRRBBBB"


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_clock_that_jumps_by_a_day_leaves_no_hole(tmp_path: Path, suffix: str) -> None:
    ticks = [*range(25), *range(25 * 90_000, 25 * 90_000 + 25)]
    path = write(tmp_path / f"a.{suffix}", 50, ticks=ticks)
    info = probe(path)
    assert (info.frames, info.duration_sec) == (50, pytest.approx(2, abs=0.05))
    assert "jump" in str(info.notice)
    assert seen(path) == "RRRRBBBB"


def test_a_picture_that_stands_for_minutes_is_no_jump(tmp_path: Path) -> None:
    path = write(tmp_path / "slides.mp4", 4, ticks=[0, 25 * 300, 25 * 600, 25 * 900])
    info = probe(path)
    assert info.duration_sec == pytest.approx(900, rel=0.35)
    assert info.notice is None
    np.testing.assert_allclose(read_all(path)[1], [0, 300, 600, 900])


def test_a_cover_or_a_preview_is_not_the_film(tmp_path: Path) -> None:
    for kind in ("cover", "preview", "larger"):
        path = tmp_path / f"{kind}.mkv"
        with av.open(str(path), "w") as container:
            beside = add_film(container, "mjpeg" if kind == "cover" else "libx264", size=96 if kind == "cover" else 16)
            film = add_film(container)
            if kind == "cover":
                beside.disposition = Disposition.attached_pic
            film.disposition = Disposition.default if kind != "larger" else 0
            for packet in [*encoded(beside, [RED] * (1 if kind == "cover" else 30)), *encoded(film, [BLUE] * 30)]:
                container.mux(packet)
        assert (probe(path).width, seen(path, 4)) == (SIDE, "BBBB"), kind


def test_a_stream_put_forward_is_the_film_though_another_is_larger(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        large, film = add_film(container, size=96), add_film(container)
        large.disposition, film.disposition = 0, Disposition.default
        for packet in [*encoded(large, [RED] * 20), *encoded(film, [BLUE] * 20)]:
            container.mux(packet)
    assert seen(path, 2) == "BB"


def test_a_song_with_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = add_sound(container, "aac", 1)
        cover = add_film(container, "mjpeg")
        cover.disposition = Disposition.attached_pic
        for packet in [*encoded(cover, [RED]), *sound]:
            container.mux(packet)
    with pytest.raises(BrokenVideo, match="no video stream"):
        probe(path)


def test_pictures_marked_as_key_frames_that_are_none_are_not_started_from(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = add_film(container, "mpeg4", g="300")
        rng = np.random.default_rng(0)
        for k in range(300):
            image = np.full((SIDE, SIDE, 3), 128, np.uint8)
            image[k % 40 : k % 40 + 8, 8:40] = rng.integers(0, 256, 3)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = k
            for packet in stream.encode(frame):
                packet.is_keyframe = True
                container.mux(packet)
        container.mux(stream.encode(None))
    frames, times, _ = read_all(path)
    for k in range(0, 300, 23):
        np.testing.assert_array_equal(read_frames(path, [times[k] + 0.01])[0], frames[k])


def edit_list(path: Path, edits: list[tuple[int, int]]) -> None:
    """Give an MP4 whose header lies at its end other edits: (length in movie ticks, start in media ticks) each."""
    data = bytearray(path.read_bytes())
    box = struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">IiI", *edit, 0x10000) for edit in edits)
    new = struct.pack(">I4s", len(box) + 8, b"elst") + box
    at = data.index(b"elst") - 4
    old = struct.unpack_from(">I", data, at)[0]
    data[at : at + old] = new
    for name in (b"moov", b"trak", b"edts"):
        place = data.index(name) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(new) - old)
    path.write_bytes(data)


@pytest.mark.parametrize("edits", [[(480, 2), (480, 14), (960, 26)], [(600, 2), (800, 30), (600, 12)]])
def test_frames_of_several_edits_are_those_that_decoding_in_order_gives(
    tmp_path: Path, edits: list[tuple[int, int]]
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = add_film(container, bf="2", sc_threshold="0")
        for packet in encoded(stream, [(k * 4, 255 - k * 4, k * 7 % 256) for k in range(60)]):
            container.mux(packet)
        tick = round(Fraction(1, 25) / stream.time_base)
    # Milliseconds, and frames of the medium, which starts at the third; the second list goes back.
    edit_list(path, [(length, frame * tick) for length, frame in edits])
    frames, times, _ = read_all(path)
    assert len(frames) > 40
    info = probe(path)
    for k in range(len(frames)):
        np.testing.assert_array_equal(read_frames(info, [times[k] + 0.01])[0], frames[k])


@pytest.mark.parametrize("orientation", [1, 2, 3, 6])
def test_side_data_that_pyav_does_not_know_is_passed_over_and_the_picture_upright(
    tmp_path: Path, orientation: int
) -> None:
    """FFmpeg makes frame side data of an EXIF block, of a kind newer than PyAV's list."""
    image = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    image[: SIDE // 2, :SIDE] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = add_film(container, "mjpeg")
        stream.width = 2 * SIDE
        for k in range(5):
            data = io.BytesIO()
            Image.fromarray(image).save(data, "JPEG", exif=exif)
            packet = av.Packet(data.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = k
            packet.duration = 1
            container.mux(packet)
    upright = {1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 6: np.rot90(image, -1)}[orientation]
    got = read_frames(path, [0.1])[0]
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).mean() < 10


def damage(path: Path, place: int) -> None:
    with av.open(str(path)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.pos is not None][place]
    data = bytearray(path.read_bytes())
    data[position : position + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)


def test_a_damaged_last_packet_costs_its_frame_and_a_notice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 50)
    damage(path, -1)
    frames, notice = read_through(path)
    assert frames == 49
    assert "decode error after frame" in str(notice)
    assert seen(path) == "RRRRBBBB"
    assert len(read_all(path)[0]) == 49
    damage(path, 20)
    with pytest.raises(BrokenVideo, match="decode error after frame"):
        read_through(path)


def test_whatever_a_file_provokes_is_told_of_that_file(tmp_path: Path) -> None:
    """PyAV raises plain Python errors where it meets what it does not know."""
    path = write(tmp_path / "a.mp4", 10)
    for error in (ValueError("31 is not a valid Type"), IndexError("gone"), MemoryError(), OverflowError("large")):
        with pytest.raises(BrokenVideo, match=type(error).__name__), open_video(path):
            raise error
    with pytest.raises(KeyboardInterrupt), open_video(path):
        raise KeyboardInterrupt
