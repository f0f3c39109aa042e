import os
import pickle
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from full_disk import no_file_beyond

from vidnas.base.errors import VidnasError
from vidnas.data.cache import FrameCache, default_cache_dir, open_reader
from vidnas.data.decode import BrokenVideo, probe, read_all
from vidnas.data.reader import FileReader
from vidnas.data.synthetic import write_video


def write_uneven(path: Path, seed: int = 0) -> None:
    """30 frames at uneven times from 5 s on, with B-frames, in Matroska (ticks of 1 ms)."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "10", "bf": "2", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 80, 60, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        time_ms = 5000
        for level in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((60, 80, 3), 8 * level, np.uint8), "rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
            time_ms += int(rng.integers(10, 120))
        container.mux(stream.encode(None))


@pytest.fixture
def videos(tmp_path: Path, synthetic_data: Path) -> list[Path]:
    """Videos of two shapes and two containers, in a folder that a test may change."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for file in sorted((synthetic_data / "videos/test").iterdir())[:6]:
        shutil.copy(file, folder / file.name)
    write_uneven(folder / "uneven.mkv")
    tall = np.random.default_rng(0).integers(0, 256, (7, 90, 50, 3), dtype=np.uint8)
    write_video(folder / "tall.mp4", tall, 10)
    return sorted(folder.iterdir())


def open_cache(videos: list[Path], folder: Path, short_side: int = 32, **options) -> FrameCache:
    reader = open_reader(videos, short_side, cache_dir=folder, **options)
    assert isinstance(reader, FrameCache)
    return reader


@pytest.mark.parametrize("short_side", [32, 55, 400])
def test_the_cache_gives_the_frames_that_the_files_give(videos, tmp_path, short_side):
    cache, files = open_cache(videos, tmp_path / "cache", short_side), FileReader(short_side)
    rng = np.random.default_rng(1)
    for path in videos:
        info = cache.info(path)
        assert info == files.info(path) == probe(path)
        stamps = read_all(path)[1]
        # Anywhere, before and after the video, on every stamp and a rounding to either side of it.
        times = np.concatenate(
            [rng.uniform(-1, info.duration_sec + 1, 20), stamps, stamps - 1e-9, stamps + 1e-9, stamps - 4e-4]
        )
        frames = files.read(path, times)
        assert min(frames.shape[1:3]) == min(short_side, info.width, info.height)
        np.testing.assert_array_equal(cache.read(path, times), frames)


def test_a_built_cache_is_used_again_even_without_the_decoder(videos, tmp_path, monkeypatch):
    first = open_cache(videos, tmp_path / "cache")
    monkeypatch.setattr("vidnas.data.cache._decode", None)
    monkeypatch.setattr("vidnas.data.index.probe", None)
    second = open_cache(videos[::-1] + videos[:2], tmp_path / "cache")
    np.testing.assert_array_equal(first.read(videos[0], [0.3, 0.1]), second.read(videos[0], [0.3, 0.1]))
    assert sorted(entry.suffix for entry in (tmp_path / "cache").iterdir()) == ["", ".json", ".lock"]


@pytest.mark.parametrize("part", ["PyAV", "FFmpeg"])
def test_another_decoder_makes_another_cache(videos, tmp_path, monkeypatch, part):
    open_cache(videos[:1], tmp_path / "cache")
    if part == "PyAV":
        monkeypatch.setattr(av, "__version__", "0.1")
    else:
        monkeypatch.setattr(av, "library_versions", av.library_versions | {"libavcodec": (1, 2, 3)})
    for _ in range(2):
        open_cache(videos[:1], tmp_path / "cache")
    # The frames, and what the videos hold.
    assert [len(list((tmp_path / "cache").glob(name))) for name in ("*/frames.bin", "*.json")] == [2, 2]


def test_a_changed_file_is_never_served_from_the_cache(videos, tmp_path):
    before = open_cache(videos, tmp_path / "cache").read(videos[0], [0.5])
    shutil.copy(videos[1], videos[0])
    changed = open_cache(videos, tmp_path / "cache")
    np.testing.assert_array_equal(changed.read(videos[0], [0.5]), FileReader(32).read(videos[1], [0.5]))
    assert not np.array_equal(changed.read(videos[0], [0.5]), before)
    # A new time of change is enough, whatever the size.
    status = videos[0].stat()
    os.utime(videos[0], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    manifest = next((tmp_path / "cache").glob("*/manifest.json"))
    made = manifest.stat().st_mtime_ns
    open_cache(videos, tmp_path / "cache")
    assert manifest.stat().st_mtime_ns > made


@pytest.mark.parametrize("damage", ["frames.bin", "manifest.json", "times.npy"])
def test_a_damaged_cache_is_built_again(videos, tmp_path, damage):
    first = open_cache(videos, tmp_path / "cache")
    expected = [first.read(path, [0.5]) for path in videos]
    file = next((tmp_path / "cache").glob(f"*/{damage}"))
    os.truncate(file, file.stat().st_size // 2)
    again = open_cache(videos, tmp_path / "cache")
    for path, frames in zip(videos, expected, strict=True):
        np.testing.assert_array_equal(again.read(path, [0.5]), frames)


def test_broken_files_are_kept_with_their_cause(videos, tmp_path):
    videos[0].write_bytes(b"")
    videos[1].write_text("not a video")
    missing = tmp_path / "videos" / "missing.mp4"
    cache = open_cache([*videos, missing], tmp_path / "cache")
    files = FileReader(32)
    assert set(cache.broken) == {videos[0], videos[1], missing}
    for path, cause in cache.broken.items():
        with pytest.raises(BrokenVideo) as direct:
            files.info(path)
        assert direct.value.cause == cause
        for ask in (cache.info, lambda path: cache.read(path, [0.0])):
            with pytest.raises(BrokenVideo) as cached:
                ask(path)
            assert str(cached.value) == str(direct.value)
    assert cache.read(videos[2], [0.0]).shape[0] == 1
    # A list of which nothing can be read has a cache too.
    assert set(open_cache(videos[:2], tmp_path / "cache").broken) == set(videos[:2])


def test_a_damaged_video_gives_the_same_with_a_cache_and_without(videos, tmp_path):
    damaged = tmp_path / "videos" / "damaged.mov"
    rng = np.random.default_rng(0)
    with av.open(str(damaged), "w") as container:
        stream = container.add_stream("mjpeg", rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for _ in range(50):
            picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(damaged)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][40]
    content = bytearray(damaged.read_bytes())
    content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    damaged.write_bytes(content)
    cache, files = open_cache([*videos, damaged], tmp_path / "cache"), FileReader(32)
    assert cache.broken == {}
    assert cache.info(damaged) == files.info(damaged)
    for times in ([0.1, 0.3, 0.5], [0.79], [0.85, 0.97], [-1.0, 2.0]):
        for reader in (cache, pickle.loads(pickle.dumps(cache))):
            np.testing.assert_array_equal(reader.read(damaged, times), files.read(damaged, times))
    for reader in (cache, files):
        with pytest.raises(BrokenVideo, match="decode error after frame 40"):
            reader.read(damaged, [0.1, 0.81])


def test_frames_that_do_not_fit_are_decoded_from_the_files(videos, tmp_path):
    # 6 clips of 24 x 32 x 43, one of 30 x 32 x 43 and one of 7 x 58 x 32 pixels, 3 bytes each.
    exact = (6 * 24 * 32 * 43 + 30 * 32 * 43 + 7 * 58 * 32) * 3 / 2**20
    assert isinstance(open_reader(videos, 32, budget_mib=exact * 0.99, cache_dir=tmp_path), FileReader)
    assert not list(tmp_path.glob("*.tmp"))
    assert isinstance(open_reader(videos, 32, budget_mib=0, cache_dir=tmp_path / "none"), FileReader)
    assert not (tmp_path / "none").exists()
    assert isinstance(open_reader(videos, 32, budget_mib=exact * 1.01, cache_dir=tmp_path), FrameCache)


def test_a_killed_build_leaves_nothing_that_counts(videos, tmp_path):
    program = f"""
import os
from pathlib import Path
import vidnas.data.cache as cache
decode, calls = cache._decode, []
def dying(*arguments):
    calls.append(arguments)
    if len(calls) == 4:
        os.kill(os.getpid(), {int(signal.SIGKILL)})
    return decode(*arguments)
cache._decode = dying
videos = sorted(Path({str(tmp_path / "videos")!r}).iterdir())
cache.open_reader(videos, 32, cache_dir=Path({str(tmp_path / "cache")!r}), workers=1)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert result.returncode == -signal.SIGKILL
    left = sorted(entry.suffix for entry in (tmp_path / "cache").iterdir())
    assert left == [".json", ".lock", ".tmp"]
    cache = open_cache(videos, tmp_path / "cache")
    assert sorted(entry.suffix for entry in (tmp_path / "cache").iterdir()) == ["", ".json", ".lock"]
    for path in videos:
        np.testing.assert_array_equal(cache.read(path, [0.2]), FileReader(32).read(path, [0.2]))


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing(videos, tmp_path):
    message = r"cannot write the frame cache \(File too large\): free some"
    with no_file_beyond(100_000), pytest.raises(VidnasError, match=message) as error:
        open_reader(videos, 32, cache_dir=tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert sorted(entry.suffix for entry in (tmp_path / "cache").iterdir()) == [".json", ".lock"]


def test_a_cache_folder_that_cannot_be_made_is_one_line(videos, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VidnasError, match="another --cache-dir"):
        open_reader(videos, 32, cache_dir=tmp_path / "file" / "cache")


def test_processes_that_start_together_build_once(videos, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        caches = list(pool.map(lambda _: open_cache(videos, tmp_path / "cache"), range(3)))
    for path in videos:
        frames = [cache.read(path, [0.1, 0.4]) for cache in caches]
        np.testing.assert_array_equal(frames[0], frames[1])
        np.testing.assert_array_equal(frames[0], frames[2])


def test_a_pickled_cache_carries_no_frames(videos, tmp_path):
    cache = open_cache(videos, tmp_path / "cache")
    expected = cache.read(videos[0], [0.5])
    size = next((tmp_path / "cache").glob("*/frames.bin")).stat().st_size
    packed = pickle.dumps(cache)
    assert len(packed) < size / 10
    np.testing.assert_array_equal(pickle.loads(packed).read(videos[0], [0.5]), expected)


needs_maps = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into /proc")


def mapped(folder: Path) -> list[str]:
    """Files of caches in a folder that this process maps."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [line.split(maxsplit=5)[5] for line in lines if str(folder) in line]


@needs_maps
def test_frames_are_mapped_once_and_let_go_with_the_last_reader(videos, tmp_path):
    folder = tmp_path / "cache"
    readers = [open_cache(videos, folder) for _ in range(3)]
    readers.append(pickle.loads(pickle.dumps(readers[0])))
    for reader in readers:
        reader.read(videos[0], [0.1])
    assert len(mapped(folder)) == 1
    readers[0].release()
    del readers[1:], reader
    assert mapped(folder) == []
    assert readers[0].read(videos[0], [0.1]).shape[0] == 1
    assert len(mapped(folder)) == 1
    # One that is made anew is another file; who reads the old one goes on with it.
    before = readers[0].read(videos[1], [0.1])
    videos[0].touch()
    readers.append(open_cache(videos, folder))
    np.testing.assert_array_equal(readers[1].read(videos[1], [0.1]), before)
    np.testing.assert_array_equal(readers[0].read(videos[1], [0.1]), before)
    assert [name.endswith("(deleted)") for name in sorted(mapped(folder))] == [False, True]
    del readers[0]
    assert len(mapped(folder)) == 1


def test_a_worker_never_reads_a_cache_that_was_replaced(videos, tmp_path):
    packed = pickle.dumps(open_cache(videos, tmp_path / "cache"))
    write_uneven(videos[0], seed=3)
    open_cache(videos, tmp_path / "cache")
    with pytest.raises(VidnasError, match="was removed or replaced while it was in use; give the same command again"):
        pickle.loads(packed).read(videos[1], [0.1])
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(VidnasError, match="was removed or replaced"):
        pickle.loads(packed).read(videos[1], [0.1])


def test_two_processes_that_start_together_build_once(videos, tmp_path):
    program = f"""
import sys
from pathlib import Path
import vidnas.data.cache as cache
decode, calls = cache._decode, []
def counting(*arguments):
    calls.append(arguments)
    return decode(*arguments)
cache._decode = counting
videos = sorted(Path({str(videos[0].parent)!r}).iterdir())
print("ready", flush=True)
sys.stdin.readline()
reader = cache.open_reader(videos, 32, cache_dir=Path({str(tmp_path / "cache")!r}), workers=1)
print(len(calls), reader.read(videos[0], [0.2]).sum())
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    counts, sums = zip(*(process.communicate(timeout=60)[0].split() for process in both), strict=True)
    assert sorted(map(int, counts)) == [0, len(videos)]
    assert len(set(sums)) == 1


def test_a_cache_folder_by_default(videos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/folder")
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "vidnas"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "vidnas"
    assert isinstance(open_reader(videos, 32), FrameCache)
    shutil.rmtree(tmp_path / "xdg" / "vidnas")
    (tmp_path / "xdg" / "vidnas").touch()  # nothing can be written there
    assert isinstance(open_reader(videos, 32), FileReader)
