"""Small copies of data sets: equal lists, kill and resume, nothing stale in silence, nothing else touched."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file
from vidnas.data import small_copy
from vidnas.data.augment import Views
from vidnas.data.dataset import ViewClips
from vidnas.data.decode import read_all
from vidnas.data.encode import SmallForm
from vidnas.data.formats import VideoList, load_dataset, load_list
from vidnas.data.manifest import MANIFEST, load_manifest
from vidnas.data.processes import CRASHED
from vidnas.data.reader import FileReader
from vidnas.data.small_copy import CopyReport, make_copy
from vidnas.data.synthetic import write_dataset, write_video

JPEG, H264 = SmallForm("jpeg", 32), SmallForm("h264", 32)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes x (3 training and 1 test videos), with groups; read-only."""
    root = tmp_path_factory.mktemp("original")
    classes = ["move_right", "move_left", "grow"]  # not sorted: classes.txt counts
    write_dataset(root, classes=classes, train_per_class=3, test_per_class=1, size=(48, 64), frames=12, gop=6)
    return root


@pytest.fixture
def data(tmp_path: Path, original: Path) -> Path:
    """The same, for a test that changes it."""
    return shutil.copytree(original, tmp_path / "data")


def copy(data: Path, out: Path, form: SmallForm = JPEG, **options) -> CopyReport:
    lists = load_dataset(data)
    parts = {"train": lists.train} | ({} if lists.test is None else {"test": lists.test})
    return make_copy(parts, data, out, form, workers=1, progress=False, **options)


def rows(videos: VideoList, suffix: str = "") -> list[tuple[str, str, str | None]]:
    return [(videos.relative(s) + suffix, videos.classes[s.label], s.group) for s in videos.samples]


def contents(folder: Path) -> dict[str, int]:
    """Names and times of change of all files but the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize("form", [JPEG, H264], ids=["jpeg", "h264"])
def test_a_copy_is_a_data_set_with_the_same_lists_and_frames(original: Path, tmp_path: Path, form: SmallForm) -> None:
    report = copy(original, tmp_path / "out", form)
    assert (len(report.entries), len(report.made), report.unreadable) == (12, 12, ())
    source, small = load_dataset(original), load_dataset(tmp_path / "out")
    assert source.test is not None
    assert small.test is not None
    assert small.train.classes == source.train.classes == ("move_right", "move_left", "grow")
    assert rows(small.train) == rows(source.train, form.suffix)
    assert rows(small.test) == rows(source.test, form.suffix)
    assert (small.train.notices, small.test.notices) == ((), ())
    clip = ClipSpec(frames=4, size=28, stride=2, fps=24)
    before, after = (ViewClips(videos, FileReader(32), clip, Views(2, 1)) for videos in (source.test, small.test))
    for item in range(6):
        was, now = before[0, item], after[0, item]
        assert was[1:] == now[1:]
        # A deviation of 1 is 57 of 256 levels; quantisation and halved chroma make a tenth of that.
        assert (was.clip - now.clip).abs().mean() < 0.15


def test_one_list_or_folder_of_classes_is_copied_as_what_it_is(original: Path, tmp_path: Path) -> None:
    folders = tmp_path / "folders"
    for name in ("grow", "move_left"):
        (folders / "deep" / name).mkdir(parents=True)
        shutil.copy(original / f"videos/train/{name}_0000.mp4", folders / "deep" / name / "a.mp4")
        shutil.copy(original / f"videos/train/{name}_0001.mp4", folders / "deep" / name / "a.avi")
    copy(folders / "deep", tmp_path / "a")
    small = load_dataset(tmp_path / "a")
    assert small.test is None
    assert rows(small.train) == [
        (f"{name}/a.{end}.mov", name, None) for name in ("grow", "move_left") for end in ("avi", "mp4")
    ]
    listed = folders / "some.csv"
    listed.write_text("deep/move_left/a.mp4,1,g\ndeep/grow/a.mp4,0,h\n")
    copy(listed, tmp_path / "b")
    assert rows(load_dataset(tmp_path / "b").train) == [
        ("deep/move_left/a.mp4.mov", "1", "g"),
        ("deep/grow/a.mp4.mov", "0", "h"),
    ]


def test_a_killed_build_goes_on_and_redoes_nothing(synthetic_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = f"""
from pathlib import Path
from vidnas.data.decode import read_all
from vidnas.data.encode import SmallForm
from vidnas.data.formats import load_dataset
from vidnas.data.small_copy import make_copy
if __name__ == "__main__":
    lists = load_dataset({str(synthetic_data)!r})
    make_copy({{"train": lists.train, "test": lists.test}}, Path({str(synthetic_data)!r}), Path({str(out)!r}),
              SmallForm("jpeg", 32), workers=1)
"""
    script = tmp_path / "build.py"
    script.write_text(program)
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    manifest = out / MANIFEST
    deadline = time.monotonic() + 60
    while not (manifest.exists() and manifest.read_text().count("\n") >= 5):  # the head and four videos
        assert time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = [json.loads(line) for line in manifest.read_text().split("\n")[1:-1]]
    assert 4 <= len(finished) < 84
    with pytest.raises(VidnasError, match="unfinished copy of a data set; call the same `vidnas data cache`"):
        load_dataset(out)
    # As if the kill had come in the middle of a line, and of a video.
    with manifest.open("a") as stream:
        stream.write('{"path": "videos/tr')
    (out / ".unfinished").mkdir(exist_ok=True)
    (out / ".unfinished" / "half").write_bytes(b"half")
    before = contents(out)
    report = copy(synthetic_data, out)
    assert len(report.made) == 84 - len(finished)
    assert not {entry["path"] for entry in finished} & set(report.made)
    after = contents(out)
    for entry in finished:
        assert after[entry["file"]] == before[entry["file"]]
    assert not (out / ".unfinished").exists()
    copy(synthetic_data, tmp_path / "whole")
    assert set(after) == set(contents(tmp_path / "whole"))
    for name in after:
        if name != MANIFEST:  # whose lines come in the order of completion
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_what_changed_is_made_again_and_nothing_else(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy(data, out)
    first, test = data / "videos/train/grow_0000.mp4", load_list(data / "test.csv").samples[0].path
    shutil.copy(data / "videos/train/grow_0001.mp4", first)
    test.unlink()
    lines = (data / "train.csv").read_text().split("\n")
    gone = next(line for line in lines if "grow_0002" in line)
    (data / "train.csv").write_text("\n".join(line for line in lines if line != gone))
    damaged = out / "videos/train/move_left_0000.mp4.mov"
    os.truncate(damaged, 500)
    (notice,) = load_dataset(out).train.notices
    assert f"{out}: out of date: videos/train/grow_0000.mp4, train.csv changed in {data} since" in notice
    assert "call the same `vidnas data cache` again" in notice
    before = contents(out)

    report = copy(data, out)
    changed = {"videos/train/grow_0000.mp4", test.relative_to(data).as_posix()}
    assert set(report.made) == {*changed, "videos/train/move_left_0000.mp4"}
    assert set(report.changed) == changed
    assert report.removed == ("videos/train/grow_0002.mp4",)
    assert [(e.path, e.cause) for e in report.unreadable] == [(test.relative_to(data).as_posix(), "no such file")]
    after = contents(out)
    assert set(before) - set(after) == {
        "videos/train/grow_0002.mp4.mov",
        test.relative_to(data).as_posix() + ".mov",
    }
    untouched = [n for n in after if n.endswith(".mov") and n.removesuffix(".mov") not in report.made]
    assert len(untouched) == 12 - 1 - 3
    assert all(after[name] == before[name] for name in untouched)
    lists = load_dataset(out)
    assert (len(lists.train), lists.train.notices) == (8, ())
    same = [FileReader(32).read(out / f"videos/train/grow_000{k}.mp4.mov", [0.1]) for k in (0, 1)]
    np.testing.assert_array_equal(*same)
    assert copy(data, out).made == ()


def test_a_source_that_is_not_at_hand_is_not_missed(data: Path, tmp_path: Path) -> None:
    copy(data, tmp_path / "out")
    os.utime(data / "videos/test/grow_0000.mp4", ns=(0, 1))
    assert load_dataset(tmp_path / "out").train.notices == ()
    test = load_dataset(tmp_path / "out").test
    assert test is not None
    assert "videos/test/grow_0000.mp4 changed" in test.notices[0]
    data.rename(tmp_path / "elsewhere")
    test = load_dataset(tmp_path / "out").test
    assert test is not None
    assert test.notices == ()
    # The data set may move: what is unchanged counts on.
    report = copy(tmp_path / "elsewhere", tmp_path / "out")
    assert report.made == report.changed == ("videos/test/grow_0000.mp4",)


@pytest.fixture
def folders(tmp_path: Path, original: Path) -> Path:
    """A data set without lists: train/ and test/ with two classes of two videos and one."""
    root = tmp_path / "folders"
    for part, numbers in (("train", (0, 1)), ("test", (0,))):
        for name in ("grow", "move_left"):
            (root / part / name).mkdir(parents=True)
            for k in numbers:
                shutil.copy(original / f"videos/{part}/{name}_000{k}.mp4", root / part / name / f"{k}.mp4")
    return root


def notices(out: Path) -> list[tuple[str, ...]]:
    lists = load_dataset(out)
    assert lists.test is not None
    return [lists.train.notices, lists.test.notices]


def test_a_video_added_to_class_folders_is_noticed(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy(folders, out)
    # What the data set would not read is no change of it.
    for name in ("train/grow/notes.txt", "train/grow/.hidden.mp4", "validation/grow/0.mp4"):
        (folders / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(folders / "train/grow/0.mp4", folders / name)
    assert notices(out) == [(), ()]
    shutil.copy(folders / "train/grow/1.mp4", folders / "train/grow/2.mp4")
    (folders / "test/grow/deeper").mkdir()
    shutil.copy(folders / "train/grow/1.mp4", folders / "test/grow/deeper/1.mp4")
    told = f"{out}: out of date: test/grow/deeper/1.mp4, train/grow/2.mp4 added in {folders} since; call the same"
    for (notice,) in notices(out):
        assert told in notice
    assert set(copy(folders, out).made) == {"test/grow/deeper/1.mp4", "train/grow/2.mp4"}
    assert notices(out) == [(), ()]
    (folders / "train/new").mkdir()
    for (notice,) in notices(out):
        assert f"{out}: out of date: {folders / 'train/new'}: no video in this class folder" in notice


def test_a_video_removed_from_the_source_is_noticed_while_others_are_at_hand(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy(folders, out)
    (folders / "train/grow/1.mp4").unlink()
    (train,), test = notices(out)
    assert f"out of date: train/grow/1.mp4 removed in {folders} since" in train
    assert test == ()
    assert copy(folders, out).removed == ("train/grow/1.mp4",)
    assert notices(out) == [(), ()]
    for video in folders.rglob("*.mp4"):
        video.unlink()
    assert notices(out) == [(), ()]


def test_a_list_added_to_the_source_is_noticed(data: Path, tmp_path: Path) -> None:
    (data / "test.csv").rename(tmp_path / "test.csv")
    copy(data, tmp_path / "out")
    assert load_dataset(tmp_path / "out").train.notices == ()
    (tmp_path / "test.csv").rename(data / "test.csv")
    (notice,) = load_dataset(tmp_path / "out").train.notices
    assert f"out of date: test.csv added in {data} since" in notice
    assert len(copy(data, tmp_path / "out").made) == 3
    assert notices(tmp_path / "out") == [(), ()]


def test_a_change_of_a_list_in_another_spelling_is_noticed(data: Path, tmp_path: Path) -> None:
    (data / "train.csv").rename(data / "Training.csv")
    (data / "test.csv").rename(data / "val.csv")
    copy(data, tmp_path / "out")
    assert notices(tmp_path / "out") == [(), ()]
    for name in ("Training.csv", "val.csv"):
        (data / name).write_text((data / name).read_text() + "\n")
    for (notice,) in notices(tmp_path / "out"):
        assert f"out of date: Training.csv, val.csv changed in {data} since" in notice


def test_a_video_that_was_mended_is_noticed(data: Path, tmp_path: Path) -> None:
    bad, missing = (data / f"videos/train/grow_000{k}.mp4" for k in (0, 1))
    bad.write_bytes(b"")
    missing.rename(tmp_path / "elsewhere.mp4")
    copy(data, tmp_path / "out")
    shutil.copy(data / "videos/train/grow_0002.mp4", bad)
    (tmp_path / "elsewhere.mp4").rename(missing)
    (notice,) = load_dataset(tmp_path / "out").train.notices
    assert "out of date: videos/train/grow_0000.mp4 changed, videos/train/grow_0001.mp4 added in" in notice


def test_unreadable_videos_are_left_out_and_kept_in_mind(data: Path, tmp_path: Path) -> None:
    (data / "videos/train/grow_0000.mp4").write_bytes(b"")
    (data / "videos/train/grow_0001.mp4").write_text("no video")
    out = tmp_path / "out"
    report = copy(data, out)
    causes = {entry.path: entry.cause for entry in report.unreadable}
    assert causes.pop("videos/train/grow_0000.mp4") == "the file is empty (0 bytes)"
    assert "not a video" in causes.pop("videos/train/grow_0001.mp4")
    assert not causes
    assert len(load_dataset(out).train) == 7
    again = copy(data, out)
    assert (again.made, again.unreadable) == ((), report.unreadable)
    shutil.copy(data / "videos/train/grow_0002.mp4", data / "videos/train/grow_0000.mp4")
    assert copy(data, out).made == ("videos/train/grow_0000.mp4",)
    assert len(load_dataset(out).train) == 8


def test_a_video_that_took_its_process_down_is_tried_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy(data, out)
    manifest = load_manifest(out)
    assert manifest is not None
    name = "videos/train/grow_0000.mp4"
    crashed = replace(manifest.entries[name], file=None, bytes=0, cause=CRASHED)
    replace(manifest, entries={**manifest.entries, name: crashed}).save(out)
    assert copy(data, out).made == (name,)
    assert len(load_dataset(out).train) == 9


@pytest.mark.parametrize("form", [JPEG, H264], ids=["jpeg", "h264"])
def test_joined_recordings_are_written_whole_and_what_ends_early_is_named(
    data: Path, tmp_path: Path, form: SmallForm
) -> None:
    joined, cut = data / "videos/train/grow_0000.mp4", data / "videos/train/grow_0001.mp4"
    frames = {level: np.full((25, 48, 64, 3), level, np.uint8) for level in (40, 200)}
    parts = []
    for pictures in frames.values():
        write_video(tmp_path / "part.mp4", pictures, 25)
        remux(tmp_path / "part.mp4", tmp_path / "part.ts")
        parts.append((tmp_path / "part.ts").read_bytes())
    joined.write_bytes(b"".join(parts))
    write_video(tmp_path / "whole.mp4", np.concatenate(list(frames.values())), 25)
    remux(tmp_path / "whole.mp4", cut, movflags="faststart")
    with av.open(str(cut)) as container:
        end = [packet.pos for packet in container.demux(video=0) if packet.pos is not None][30]
    os.truncate(cut, end)

    report = copy(data, tmp_path / "out", form)
    notices = {entry.path: str(entry.notice) for entry in report.entries if entry.notice is not None}
    assert "times start over" in notices.pop("videos/train/grow_0000.mp4")
    assert notices.pop("videos/train/grow_0001.mp4") == "ends early: 30 of 50 frames are there"
    assert not notices
    written, times, _ = read_all(tmp_path / f"out/videos/train/grow_0000.mp4{form.suffix}")
    assert [round(float(frame.mean()) / 40) for frame in written] == [1] * 25 + [5] * 25
    np.testing.assert_allclose(times, np.arange(50) / 25)
    assert len(read_all(tmp_path / f"out/videos/train/grow_0001.mp4{form.suffix}")[0]) == 30
    # Called again, it says so again.
    assert copy(data, tmp_path / "out", form).entries == report.entries


def remux(source: Path, target: Path, **options: str) -> None:
    """The same packets in another container."""
    with av.open(str(source)) as given, av.open(str(target), "w", container_options=options) as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)


@pytest.mark.parametrize("form", [JPEG, H264], ids=["jpeg", "h264"])
def test_a_video_that_cannot_be_encoded_is_set_aside_and_the_others_are_written(
    data: Path, tmp_path: Path, form: SmallForm
) -> None:
    tiny, wide = data / "videos/train/grow_0000.mp4", data / "videos/train/grow_0001.mp4"
    pictures = [Image.new("L", (1, 1), level) for level in (0, 255)]
    pictures[0].save(tiny, "GIF", save_all=True, append_images=pictures[1:])
    with av.open(str(wide), "w", format="nut") as container:  # wider than either encoder takes
        stream = container.add_stream("rawvideo", rate=25)
        stream.height, stream.width, stream.pix_fmt = 2, 66_000, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((2, 66_000, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    report = copy(data, tmp_path / "out", form)
    causes = {entry.path: entry.cause for entry in report.unreadable}
    if form is H264:
        assert causes.pop("videos/train/grow_0000.mp4") == "cannot be encoded (1 x 1 pixels; H.264 needs 2 x 2)"
    cause = causes.pop("videos/train/grow_0001.mp4")
    assert cause is not None
    assert re.fullmatch(r"cannot be encoded \([^\n]+\)", cause)
    assert not causes
    assert len(load_dataset(tmp_path / "out").train) == 9 - len(report.unreadable)
    manifest = load_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest.entries["videos/train/grow_0001.mp4"].cause == cause


def test_other_settings_are_refused_until_a_rebuild(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy(data, out)
    for form in (SmallForm("jpeg", 34), SmallForm("jpeg", 32, quality=80), H264):
        with pytest.raises(VidnasError, match=r"made with format jpeg, short_side 32, quality 90, not .*--rebuild"):
            copy(data, out, form)
    assert len(copy(data, out, H264, rebuild=True).made) == 12
    assert {Path(name).suffix for name in contents(out)} == {".mp4", ".csv", ".txt", ".jsonl"}
    assert len(load_dataset(out).train) == 9


def test_a_copy_of_another_data_set_is_refused(data: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", classes=["grow", "shrink"], train_per_class=1, test_per_class=1, size=(32, 32))
    copy(data, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(VidnasError, match=r"a copy of \.\./data, not of .*other; make it anew with --rebuild"):
        copy(tmp_path / "other", tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_folders_that_will_not_do(data: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(data)
    before = contents(data)
    for out, message in (
        (data, "lies in the data set"),
        (data / "videos" / "small", "lies in the data set"),
        (tmp_path / "link" / "small", "lies in the data set"),
        (tmp_path, "holds other things"),
        (tmp_path / "full", "holds other things"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "out", "cannot be written"),
    ):
        with pytest.raises(VidnasError, match=message) as error:
            copy(data, out, rebuild=True)
        assert "\n" not in str(error.value)
    assert contents(data) == before
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_manifest_leads_nowhere_else(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy(data, out)
    precious = tmp_path / "precious.mov"
    precious.write_text("precious")
    for file in ("../precious.mov", str(precious)):
        line = {"path": "gone.mp4", "size": 1, "mtime_ns": 1, "file": file, "bytes": 8}
        with (out / MANIFEST).open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        for use in (lambda: copy(data, out), lambda: load_dataset(out)):
            with pytest.raises(VidnasError, match="leads out of the folder"):
                use()
        copy(data, out, rebuild=True)
        assert precious.read_text() == "precious"


@pytest.mark.parametrize("text", ['{"vidnas_copy": 2}\n', '{"vidnas_copy": 99}\n', '{"vidnas_copy": 2}\nno json\n'])
def test_a_damaged_manifest_is_one_line(data: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text(text)
    with pytest.raises(VidnasError, match="make the copy anew with --rebuild") as error:
        load_manifest(tmp_path / "out")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "no json\n", "[]\n", '{"file_name": "x/grow_0000.mp4"}\n', "\xff\n"])
def test_a_manifest_of_somebody_else_is_no_concern_of_ours(data: Path, tmp_path: Path, text: str) -> None:
    (data / MANIFEST).write_text(text, encoding="latin-1")
    assert load_manifest(data) is None
    lists = load_dataset(data)
    assert (len(lists.train), lists.train.notices) == (9, ())
    for name in ("a", "b"):
        (tmp_path / "folders" / name).mkdir(parents=True)
        shutil.copy(data / "videos/train/grow_0000.mp4", tmp_path / "folders" / name)
    shutil.copy(data / MANIFEST, tmp_path / "folders")
    assert len(load_dataset(tmp_path / "folders").train) == 2
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
    for rebuild in (False, True):
        with pytest.raises(VidnasError, match="holds other things than a copy"):
            copy(tmp_path / "folders", data, rebuild=rebuild)
    assert {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("name", ["train.csv", "classes.txt"])
def test_lists_in_a_copy_that_the_user_wrote_are_kept(data: Path, tmp_path: Path, name: str, rebuild: bool) -> None:
    out = tmp_path / "out"
    copy(data, out)
    own = (out / name).read_text() + "\n"
    (out / name).write_text(own)
    before = contents(out)
    with pytest.raises(VidnasError, match=f"{name}: not as `vidnas data cache` wrote it; move it away"):
        copy(data, out, rebuild=rebuild)
    assert contents(out) == before
    (out / name).rename(tmp_path / "mine")
    copy(data, out, rebuild=rebuild)
    assert (tmp_path / "mine").read_text() == own
    assert len(load_dataset(out).train) == 9


def test_a_build_killed_while_it_writes_its_lists_knows_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def killed_after_the_first(path: Path, text: str, **settings: str) -> None:
        replace_file(path, text, **settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(small_copy, "replace_file", killed_after_the_first)
        with pytest.raises(KeyboardInterrupt):
            copy(data, out)
    assert sum((out / name).exists() for name in ("train.csv", "test.csv", "classes.txt")) == 1
    assert copy(data, out).made == ()
    assert len(load_dataset(out).train) == 9


def test_an_unfinished_copy_of_train_and_test_folders_is_refused(folders: Path, tmp_path: Path) -> None:
    copy(folders, tmp_path / "out")
    for name in ("train.csv", "test.csv"):
        (tmp_path / "out" / name).unlink()
    with pytest.raises(VidnasError, match="unfinished copy"):
        load_dataset(tmp_path / "out")


def test_two_builds_do_not_meet(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(VidnasError, match=r"another .* is at work there"):
        copy(data, tmp_path / "out")


def test_a_disk_that_takes_no_more_is_no_fault_of_the_videos(data: Path, tmp_path: Path) -> None:
    # A limit on files, which fails as a full disk does, from the start: all processes have it. A video takes 20 kB.
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000)); "
    limited += "from vidnas.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", limited, "data", "cache", str(data), "--out", str(tmp_path / "out")]
    words += ["--format", JPEG.format, "--short-side", str(JPEG.short_side), "--quality", str(JPEG.quality)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot be written (File too large): free some space" in line
    assert len(copy(data, tmp_path / "out").made) == 12
