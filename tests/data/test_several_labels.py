"""Lists in which a video may have several labels."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.cli.main import main
from vidnas.data.augment import Views, short_sides
from vidnas.data.datamodule import make_loader
from vidnas.data.dataset import TrainClips, ViewClips
from vidnas.data.formats import KnownClasses, load_dataset, load_list, save_list
from vidnas.data.reader import FileReader
from vidnas.data.sampler import SequentialBatches
from vidnas.data.split import split
from vidnas.data.video_list import Sample, VideoList
from vidnas.engine.evaluate.evaluate import with_classes

NAMES = ("jump", "run", "walk")


def write(folder: Path, *labels: str, name: str = "list.csv", separator: str = ",") -> Path:
    for number in range(len(labels)):
        (folder / f"{number}.mp4").touch()
    lines = [f"{number}.mp4{separator}{label}\n" for number, label in enumerate(labels)]
    (folder / name).write_text("".join(lines))
    return folder / name


@pytest.mark.parametrize("separator", [",", "\t", " ", "|"])
def test_labels_are_separated_by_a_semicolon(tmp_path: Path, separator: str) -> None:
    videos = load_list(write(tmp_path, "run;jump", "walk;", ";", "run;run", separator=separator))
    assert videos.multi_label
    assert videos.classes == NAMES
    assert videos.labels == ((0, 1), (2,), (), (1,))
    assert videos.counts == (1, 2, 1)
    assert videos.targets.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert videos.targets.dtype == np.float32


def test_semicolons_between_fields_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('0.mp4;run\n1 a.mp4;"jump;run"\n2.mp4;walk;group\n')
    for name in ("0.mp4", "1 a.mp4", "2.mp4"):
        (tmp_path / name).touch()
    videos = load_list(tmp_path / "list.csv")
    assert videos.labels == ((1,), (0, 1), (2,))
    assert videos.samples[2].group == "group"


def test_numbers_name_classes_as_ever(tmp_path: Path) -> None:
    file = write(tmp_path, "1;0", "2;", "0;2")
    assert load_list(file).classes == ("0", "1", "2")
    (tmp_path / "classes.txt").write_text("run\njump\nwalk\n")
    videos = load_list(file)
    assert [videos.label_text(label) for label in videos.labels] == ["run;jump", "walk", "run;walk"]
    with pytest.raises(VidnasError, match="line 2: label '1' among names"):
        load_list(write(tmp_path, "a;b", "a;1"))


def test_one_label_in_every_line_is_no_such_list(tmp_path: Path) -> None:
    videos = load_list(write(tmp_path, "run", "jump"))
    assert not videos.multi_label
    assert videos.targets.tolist() == [1, 0]
    # A name of classes.txt with the separator in it is one class.
    (tmp_path / "classes.txt").write_text("run;jump\nwalk\n")
    videos = load_list(write(tmp_path, "run;jump", "walk"))
    assert (videos.labels, videos.multi_label) == ((0, 1), False)


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VidnasError, match="no video has a label"):
        load_list(write(tmp_path, ";", ";"))
    (tmp_path / "twice.csv").write_text("0.mp4,run;\n0.mp4,jump;\n1.mp4,run;jump\n")
    with pytest.raises(VidnasError, match=r"line 2: .* has another label in line 1; .* write all labels in one line"):
        load_list(tmp_path / "twice.csv")
    several = write(tmp_path, "run;jump", "walk", name="several.csv")
    one = write(tmp_path, "run", "walk", name="one.csv")
    with pytest.raises(VidnasError, match=r"one\.csv: has one label per video, and train several; .*`a.mp4,run;jump`"):
        load_list(one, classes=KnownClasses(NAMES, "train", multi_label=True))
    with pytest.raises(VidnasError, match=r"several\.csv: has several labels per video .*, and train one; leave one"):
        load_list(several, classes=KnownClasses(NAMES, "train"))


@pytest.mark.parametrize("names", [NAMES, ("1 a", "2;3", "c"), ("10", "2", "3")])
def test_a_saved_list_is_read_again(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = tmp_path.resolve()
    labels = ((0, 1), (2,), (), (0, 1, 2))
    for places in (range(4), [1, 1], [3]):
        used = [labels[place] for place in places]
        samples = tuple(Sample(root / f"{number}.mp4", label) for number, label in enumerate(used))
        for sample in samples:
            sample.path.touch()
        file = root / f"{len(used)}" / "list.csv"
        for old in (root / "list.csv", root / "classes.txt"):
            old.unlink(missing_ok=True)
        file = root / "list.csv"
        videos = VideoList(root, samples, names, multi_label=True)
        if any(";" in name for name in names):
            with pytest.raises(VidnasError, match="class '2;3' has a ';' in it"):
                save_list(videos, file)
            continue
        save_list(videos, file)
        again = load_list(file)
        assert (again.samples, again.classes, again.multi_label) == (samples, names, True)


def test_a_split_divides_classes_and_videos_of_none_in_proportion() -> None:
    rng = np.random.default_rng(0)
    samples = []
    for number in range(400):
        labels = tuple(np.flatnonzero(rng.random(3) < (0.5, 0.3, 0.2)).tolist())
        samples.append(Sample(Path(f"/r/{number}.mp4"), labels))
    videos = VideoList(Path("/r"), tuple(samples), NAMES, multi_label=True)
    parts = split(videos, {"a": 0.75, "b": 0.25}, 0)
    assert all(part.multi_label for part in parts.values())
    assert sorted(s.path for part in parts.values() for s in part.samples) == sorted(s.path for s in samples)
    for whole, share in zip(videos.counts, parts["b"].counts, strict=True):
        assert share == pytest.approx(whole / 4, abs=3)
    of_none = [sum(not s.labels for s in part.samples) for part in (videos, parts["b"])]
    assert of_none[1] == pytest.approx(of_none[0] / 4, abs=3)


def test_check_counts_each_class_of_a_video(tmp_path: Path, synthetic_data: Path, capsys) -> None:
    source = load_dataset(synthetic_data).test.samples
    rows = ["run;jump", "run;", ";"]
    for number, sample in enumerate(source[:3]):
        (tmp_path / f"{number}.mp4").write_bytes(sample.path.read_bytes())
    write_rows = [f"{number}.mp4,{label}\n" for number, label in enumerate(rows)]
    (tmp_path / "list.csv").write_text("".join(write_rows))
    assert main(["data", "check", str(tmp_path / "list.csv"), "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "3 videos, 2 classes (a video may be of several)" in told
    assert "jump  1 of 1" in told
    assert "run   2 of 2" in told
    assert "of no class: 1" in told


@pytest.fixture
def several(tmp_path: Path, synthetic_data: Path) -> VideoList:
    """Five videos of which the first cannot be read, with labels that some of them share."""
    labels = ("left;grow", "left;", "right;", ";", "right;grow")
    for number, sample in enumerate(load_dataset(synthetic_data).test.samples[:5]):
        (tmp_path / f"{number}.mp4").write_bytes(sample.path.read_bytes() if number else b"")
    lines = [f"{number}.mp4,{label}\n" for number, label in enumerate(labels)]
    (tmp_path / "list.csv").write_text("".join(lines))
    return load_list(tmp_path / "list.csv")


CLIP = ClipSpec(frames=2, size=16, sampling="uniform")


def test_a_mirrored_clip_has_the_mirrored_labels(several: VideoList) -> None:
    reader = FileReader(short_sides(16)[1])
    clips = TrainClips(several, reader, CLIP, seed=0, flip=[("left", "right")], max_broken=1.0)
    plain = TrainClips(several, reader, CLIP, seed=0, max_broken=1.0)
    seen = set()
    for epoch in range(12):
        flipped, kept = clips[epoch, 4], plain[epoch, 4]
        mirrored = not torch.equal(flipped.clip, kept.clip)
        # grow, left, right
        assert kept.target.tolist() == [1, 0, 1]
        assert flipped.target.tolist() == ([1, 1, 0] if mirrored else [1, 0, 1])
        seen.add(mirrored)
    assert seen == {True, False}


def test_a_broken_video_is_replaced_by_one_that_shares_a_class(several: VideoList) -> None:
    clips = TrainClips(several, FileReader(short_sides(16)[1]), CLIP, seed=0, max_broken=1.0)
    shown = [clips[epoch, 0] for epoch in range(12)]
    assert {example.place for example in shown} == {1, 4}
    for example in shown:
        assert example.target.tolist() == several.targets[example.place].tolist()


def test_batches_of_a_test_hold_all_labels(several: VideoList) -> None:
    clips = ViewClips(several, FileReader(short_sides(16)[0]), CLIP, Views(1, 1))
    (batch,) = make_loader(clips, SequentialBatches(5, 5))
    assert batch.readable.tolist() == [False, True, True, True, True]
    assert batch.targets.tolist() == [[0, 0, 0], *several.targets[1:].tolist()]
    assert batch.targets.dtype == torch.float32


def test_a_small_copy_keeps_all_labels(several: VideoList, tmp_path: Path) -> None:
    copy = tmp_path.parent / f"{tmp_path.name}_copy"
    words = ["--format", "jpeg", "--short-side", "16", "--workers", "1"]
    assert main(["data", "cache", str(tmp_path / "list.csv"), "-o", str(copy), *words]) in (0, 1)
    videos = load_dataset(copy).train
    assert (videos.labels, videos.classes, videos.multi_label) == (several.labels[1:], several.classes, True)


def test_labels_are_renumbered_to_the_classes_of_a_network(several: VideoList) -> None:
    names = ("right", "other", "left", "grow")
    turned = with_classes(several, names)
    assert turned.multi_label
    for before, after in zip(several.labels, turned.labels, strict=True):
        assert sorted(several.label_text(before).split(";")) == sorted(turned.label_text(after).split(";"))
    assert turned.targets[4].tolist() == [1, 0, 0, 1]
