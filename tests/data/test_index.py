import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from vidnas.base.log import note_once
from vidnas.cli.main import main
from vidnas.data.cache import FrameCache, open_reader
from vidnas.data.decode import BrokenVideo
from vidnas.data.index import describe_notices, index_videos
from vidnas.data.reader import FileReader
from vidnas.data.stamp import FileStamp
from vidnas.data.synthetic import write_video


@contextmanager
def spare_descriptors(number: int) -> Iterator[None]:
    """Let this process open so many files more."""
    free = [os.dup(0) for _ in range(number + 1)]  # the lowest ones that are free
    for descriptor in free:
        os.close(descriptor)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def videos(tmp_path: Path, synthetic_data: Path) -> list[Path]:
    """A whole video, one cut short, one whose last packet is damaged, and a text."""
    folder = tmp_path / "videos"
    folder.mkdir()
    source = sorted((synthetic_data / "videos/test").iterdir())[0]
    shutil.copy(source, folder / "whole.mp4")
    for name in ("cut.mp4", "damaged.mp4"):
        with (
            av.open(str(source)) as given,
            av.open(str(folder / name), "w", container_options={"movflags": "faststart"}) as target,
        ):
            copy = target.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
        with av.open(str(folder / name)) as container:
            places = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
        data = bytearray((folder / name).read_bytes())
        if name == "cut.mp4":
            del data[places[len(places) // 2] :]
        else:
            data[places[-1] : places[-1] + 4] = b"\xff\xff\xff\xff"
        (folder / name).write_bytes(data)
    (folder / "text.mp4").write_text("no video")
    return sorted(folder.iterdir())


def test_what_is_known_is_not_looked_at_again_until_it_changes(videos: list[Path], tmp_path: Path) -> None:
    stamps = [FileStamp.of(path) for path in videos]
    kept = tmp_path / "kept.json"
    first = index_videos(stamps, kept=kept)
    assert set(first.broken) == {tmp_path / "videos/text.mp4"}
    # Nonsense of the same size and age goes unnoticed, so it was not read.
    whole = tmp_path / "videos/whole.mp4"
    status = whole.stat()
    whole.write_bytes(bytes(status.st_size))
    os.utime(whole, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert index_videos([FileStamp.of(path) for path in videos], kept=kept) == first
    os.utime(whole)
    assert whole in index_videos([FileStamp.of(path) for path in videos], kept=kept).broken
    kept.write_text("{}")
    assert whole in index_videos([FileStamp.of(path) for path in videos], kept=kept).broken


def test_what_could_not_be_opened_is_tried_again(videos: list[Path], tmp_path: Path) -> None:
    kept, stamps = tmp_path / "kept.json", [FileStamp.of(path) for path in videos]
    whole = tmp_path / "videos/whole.mp4"
    with spare_descriptors(0):
        for index in (index_videos(stamps), index_videos(stamps, kept=kept)):
            assert "Too many open files" in index.broken[whole]
    with spare_descriptors(1):  # opens a file, but not once more to look for a second film in it
        index = index_videos(stamps, kept=kept, workers=1)
    assert "Too many open files" in index.broken[whole]
    assert index_videos(stamps, kept=kept) == index_videos(stamps)
    assert whole in index_videos(stamps, kept=kept).infos


def test_a_cache_is_made_anew_when_a_file_can_be_opened_again(videos: list[Path], tmp_path: Path) -> None:
    whole = tmp_path / "videos/whole.mp4"
    content, status = whole.read_bytes(), whole.stat()
    # The size and age of a file stay when a fault keeps it from being read.
    whole.write_bytes(bytes(len(content)))
    os.utime(whole, ns=(status.st_atime_ns, status.st_mtime_ns))
    reader = open_reader(videos, 32, cache_dir=tmp_path / "cache")
    assert isinstance(reader, FrameCache)
    assert whole in reader.broken
    whole.write_bytes(content)
    os.utime(whole, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = open_reader(videos, 32, cache_dir=tmp_path / "cache")
    assert isinstance(again, FrameCache)
    assert set(again.broken) == {tmp_path / "videos/text.mp4"}
    np.testing.assert_array_equal(again.read(whole, [0.5]), FileReader(32).read(whole, [0.5]))
    # What stays broken does not cost a build.
    made = [file.stat().st_mtime_ns for file in (tmp_path / "cache").glob("*/manifest.json")]
    assert isinstance(open_reader(videos, 32, cache_dir=tmp_path / "cache"), FrameCache)
    assert [file.stat().st_mtime_ns for file in (tmp_path / "cache").glob("*/manifest.json")] == made


def test_a_folder_that_cannot_be_written_keeps_nothing(videos: list[Path], tmp_path: Path) -> None:
    index = index_videos([FileStamp.of(path) for path in videos], kept=tmp_path / "none/kept.json")
    assert len(index.infos) == 3


@pytest.mark.parametrize("budget_mib", [2048, 0, 0.001])
def test_what_ends_early_is_named_before_anything_is_read(
    videos: list[Path], tmp_path: Path, budget_mib: float, caplog: pytest.LogCaptureFixture
) -> None:
    note_once.cache_clear()
    reader = open_reader(videos, 32, budget_mib=budget_mib, cache_dir=tmp_path / "cache")
    assert isinstance(reader, FrameCache if budget_mib == 2048 else FileReader)
    assert "cut.mp4: ends early: " in caplog.text
    assert set(reader.broken) == {tmp_path / "videos/text.mp4"}
    with pytest.raises(BrokenVideo, match="not a video"):
        reader.info(tmp_path / "videos/text.mp4")
    cut, whole = (reader.info(tmp_path / "videos" / name) for name in ("cut.mp4", "whole.mp4"))
    assert cut.duration_sec < 0.7 * whole.duration_sec
    # The last frame stands where the damaged one is missing.
    damaged = tmp_path / "videos/damaged.mp4"
    last = reader.read(damaged, [1e6])
    assert "damaged.mp4: decode error after frame" in caplog.text
    assert last.shape == reader.read(damaged, [0.0]).shape


def test_a_check_names_what_it_reads_only_in_part(
    videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    write_video(tmp_path / "set/b/other.mp4", rng.integers(0, 256, (8, 48, 48, 3), dtype=np.uint8), 8)
    for name in ("cut.mp4", "damaged.mp4"):
        shutil.copy(tmp_path / "videos" / name, tmp_path / "set/a" / name)
    assert main(["data", "check", str(tmp_path / "set"), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "read as far as they go (2):" in printed
    assert "a/cut.mp4: ends early: " in printed
    assert "a/damaged.mp4: decode error after frame" in printed


def test_many_notices_are_counted() -> None:
    line = describe_notices({Path(f"{k}.mp4"): "ends early" for k in range(5)})
    assert line.startswith("0.mp4: ends early; 1.mp4: ")
    assert "and 2 more" in line
