"""Groups by an expression, and names that look like groups."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from lists_of_files import make, refused

from vidnas.data.formats import Sample, VideoList, load_list
from vidnas.data.groups import group_notice, suggest, with_groups
from vidnas.data.split import hold_out


def videos(paths: Iterable[str]) -> VideoList:
    """A list of paths whose first folder is the class."""
    paths = list(paths)
    classes = sorted({path.split("/")[0] for path in paths})
    root = Path("/r")
    return VideoList(root, tuple(Sample(root / p, classes.index(p.split("/")[0])) for p in paths), tuple(classes))


def guess(paths: Iterable[str]) -> str | None:
    whole = videos(paths)
    found = suggest([(whole, sample) for sample in whole.samples])
    return found and found.expression


def test_group_regex(tmp_path: Path) -> None:
    make(tmp_path, "a/s1_t1.mp4", "a/s2_t1.mp4", "b/s1_t2.mp4")
    found = load_list(tmp_path, group_regex=r"(s\d)_t")
    assert [sample.group for sample in found.samples] == ["s1", "s2", "s1"]
    assert [s.group for s in load_list(tmp_path, group_regex=r"^(\w+)/").samples] == ["a", "a", "b"]
    refused(tmp_path, "(x", group_regex="(x")
    refused(tmp_path, "parentheses", group_regex="s1")
    refused(tmp_path, "1 of 3 paths", "a/s2_t1.mp4", group_regex="(s1)")
    refused(tmp_path, "3 of 3 paths", group_regex="(q)")


CLASSES = ("walk", "jump")
UCF = [f"{c}/v_{c}_g{g:02d}_c{k:02d}.avi" for c in CLASSES for g in range(1, 8) for k in range(1, 6)]


@pytest.mark.parametrize(
    ("paths", "group"),
    [
        (UCF, "v_walk_g01"),
        ([f"{c}/a{c}_s{s}_t{t}.mp4" for c in CLASSES for s in range(1, 9) for t in range(1, 5)], "s1"),
        (
            [f"{c}/person{p:02d}_{c}_d{d}_uncomp.avi" for c in CLASSES for p in range(1, 26) for d in range(1, 5)],
            "person01",
        ),
        ([f"{c}/S001C00{k}P0{p}R001A001_rgb.avi" for c in CLASSES for p in range(10, 20) for k in range(3)], "P010"),
        (
            [f"{c}/Film_{n}_{c}_f_cm_np1_fr_med_{k}.avi" for c in CLASSES for n in "abc" for k in range(4)],
            "Film_a_walk",
        ),
        ([f"{c}/My {n} {c}_0{k}.mp4" for c in CLASSES for n in "abcd" for k in range(5)], "My a walk"),
        ([f"{c}/{n}{c}-clip{k}.mp4" for c in CLASSES for n in ("holiday", "party") for k in range(5)], "holidaywalk"),
        ([f"{c}/{n}_{c}_part{k}.mp4" for c in CLASSES for n in ("holiday", "party") for k in range(5)], "holiday_walk"),
        ([f"{c}/{n} ({k}).mp4" for c in CLASSES for n in ("holiday", "party") for k in range(5)], "holiday"),
        ([f"{c}/xyz{n}_{k:06d}_{k + 9:06d}.mp4" for c in CLASSES for n in "abcd" for k in range(0, 50, 10)], "xyza"),
    ],
)
def test_names_that_look_like_groups(paths: list[str], group: str) -> None:
    expression = guess(paths)
    assert expression is not None
    grouped = with_groups(videos(paths), expression)  # the expression does for all names
    assert group in {sample.group for sample in grouped.samples}
    assert len({sample.group for sample in grouped.samples}) <= len(paths) / 2


@pytest.mark.parametrize(
    "paths",
    [
        [f"{c}/{c}_{k:04d}.mp4" for c in CLASSES for k in range(50)],  # as our generator writes
        [f"{c}/clip_{k}.mp4" for c in CLASSES for k in range(50)],
        [f"{c}/{k}.mp4" for c in CLASSES for k in range(50)],
        [f"{c}/IMG_2024{m:02d}{d:02d}_{k}.mp4" for c in CLASSES for m in range(1, 5) for d in (3, 9) for k in range(4)],
        [f"{c}/{1000 * k}{c[0]}_000012_000022.mp4" for c in CLASSES for k in range(50)],  # Kinetics: a clip a source
        [f"{c}/{k}.webm" for k, c in enumerate(CLASSES * 30)],
        [f"{c}/{c}_{n}.mp4" for c in CLASSES for n in "abcdefgh"],
    ],
)
def test_names_that_say_nothing(paths: list[str]) -> None:
    assert guess(paths) is None


def test_a_random_split_of_groups_is_told_with_the_expression_that_mends_it() -> None:
    train, test = hold_out(videos(UCF))
    told = group_notice({"train": train, "test": test})
    assert told is not None
    assert "look like 14 groups of 70 videos" in told
    assert f"{len(test)} of {len(test)} test videos are of groups that train has too" in told
    assert r"--group-regex '([^/]+_g\d+)_c\d+'" in told
    grouped = with_groups(videos(UCF), r"([^/]+_g\d+)_c\d+")
    train, test = hold_out(grouped)
    told = group_notice({"train": train, "test": test})
    assert told is not None
    assert told.startswith(("groups: 11 for train, 3 for test", "groups: 12 for train, 2 for test"))


def test_lists_that_keep_groups_apart_are_no_matter() -> None:
    train, test = videos(p for p in UCF if "_g01" not in p), videos(p for p in UCF if "_g01" in p)
    assert group_notice({"train": train, "test": test}) is None
    mixed = videos(p for p in UCF if "_g01" in p or "_g02_c01" in p)
    told = group_notice({"train": train, "test": mixed})
    assert told is not None
    assert "2 of 12 test videos" in told


def test_a_few_other_names_do_not_hide_groups() -> None:
    whole = videos([*UCF, "walk/other.avi"])
    told = group_notice(dict(zip(("train", "test"), hold_out(whole), strict=True)))
    assert told is not None
    assert "(all but 1 names)" in told
    # The expression that is advised can be given.
    grouped = with_groups(whole, told.split("--group-regex '")[1].split("'")[0])
    assert sum(sample.group is None for sample in grouped.samples) == 1
    assert "no group in 1 of 71 paths, e.g. walk/other.avi; each is a group of its own" in grouped.notices[0]
