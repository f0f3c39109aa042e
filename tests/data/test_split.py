"""Group-disjoint, balanced parts of lists."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidnas.data.formats import Sample, VideoList
from vidnas.data.split import check_disjoint, check_enough, split
from vidnas.errors import VidnasError

THREE = {"weights": 0.5, "alpha": 0.3, "holdout": 0.2}


def videos(labels_and_groups: Sequence[tuple[int, str | None]], classes: int | None = None) -> VideoList:
    samples = tuple(Sample(Path(f"/r/{i}.mp4"), label, group) for i, (label, group) in enumerate(labels_and_groups))
    count = max(label for label, _ in labels_and_groups) + 1 if classes is None else classes
    return VideoList(Path("/r"), samples, tuple(f"class {label}" for label in range(count)))


def assert_partition(whole: VideoList, parts: dict[str, VideoList]) -> None:
    together = [sample for part in parts.values() for sample in part.samples]
    assert sorted(together, key=lambda s: s.path) == sorted(whole.samples, key=lambda s: s.path)
    groups = [{sample.group or sample.path for sample in part.samples} for part in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
    order = {sample: i for i, sample in enumerate(whole.samples)}
    for part in parts.values():
        assert part.classes == whole.classes
        assert part.root == whole.root
        places = [order[sample] for sample in part.samples]
        assert places == sorted(places)


def test_without_groups_each_class_is_divided_exactly() -> None:
    whole = videos([(label, None) for label in range(5) for _ in range(20)])
    parts = split(whole, THREE, seed=0)
    assert_partition(whole, parts)
    assert {name: set(part.counts) for name, part in parts.items()} == {"weights": {10}, "alpha": {6}, "holdout": {4}}


def test_subjects_who_do_everything_go_whole() -> None:
    # As in a cross-subject protocol: 4 subjects, 27 classes, each class 4 times by each.
    whole = videos([(label, f"s{subject}") for subject in range(4) for label in range(27) for _ in range(4)])
    parts = split(whole, THREE, seed=0)
    assert_partition(whole, parts)
    assert {name: len(part) for name, part in parts.items()} == {"weights": 216, "alpha": 108, "holdout": 108}


def test_groups_of_one_class_balance_each_class() -> None:
    # Sources of 1 to 7 clips each, as film clips have.
    whole = videos([(label, f"{label}/{g}") for label in range(6) for g in range(14) for _ in range(g % 7 + 1)])
    parts = split(whole, THREE, seed=0)
    assert_partition(whole, parts)
    for name, fraction in THREE.items():
        for count, total in zip(parts[name].counts, whole.counts, strict=True):
            assert count == pytest.approx(fraction * total, abs=1)  # there are groups of one to even out with


def test_the_seed_decides_and_nothing_else() -> None:
    whole = videos([(label, None) for label in range(3) for _ in range(30)])
    first = split(whole, THREE, seed=1)
    assert split(whole, THREE, seed=1) == first
    others = [split(whole, THREE, seed=seed)["holdout"].samples for seed in range(8)]
    assert len(set(others)) == 8


def test_each_part_gets_each_class_when_there_are_just_enough_groups() -> None:
    # 3 videos of a class for parts of 90, 5 and 5 percent: balance alone would put all into the first.
    whole = videos([(0, None)] * 3 + [(1, None)] * 60)
    parts = split(whole, {"a": 0.9, "b": 0.05, "c": 0.05}, seed=0)
    assert_partition(whole, parts)
    assert [part.counts[0] for part in parts.values()] == [1, 1, 1]
    assert [part.counts[1] for part in parts.values()] == [54, 3, 3]


def test_classes_that_share_groups() -> None:
    # Six groups in pairs that complement each other: only 3 of the ways to pair them give each part all classes.
    pairs = [("g0", (0, 1)), ("g1", (2, 3)), ("g2", (0, 2)), ("g3", (1, 3)), ("g4", (0, 3)), ("g5", (1, 2))]
    whole = videos([(label, group) for group, labels in pairs for label in labels])
    for seed in range(10):
        parts = split(whole, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, seed=seed)
        assert_partition(whole, parts)
        assert all(part.counts == (1, 1, 1, 1) for part in parts.values())


def test_the_order_of_size_is_given_up_where_it_leads_nowhere() -> None:
    groups = {"g0": "11122", "g1": "22", "g2": "00222", "g3": "00111", "g4": "00112"}  # by size, g4 comes too late
    whole = videos([(int(label), group) for group, labels in groups.items() for label in labels])
    for seed in range(5):
        parts = split(whole, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, seed=seed)
        assert_partition(whole, parts)
        assert all(0 not in part.counts for part in parts.values())


def test_too_few_groups() -> None:
    whole = videos([(0, None)] * 9 + [(1, "one")] * 5 + [(1, "two")] * 5)
    with pytest.raises(
        VidnasError,
        match="'class 1' has 10 videos in 2 groups; each class needs 3 groups, one for each of weights, alpha, h",
    ):
        split(whole, THREE, seed=0)


def test_videos_are_counted_as_the_list_has_them() -> None:
    whole = videos([(0, None)] * 9 + [(1, None)] * 3)
    with pytest.raises(
        VidnasError, match="'class 1' has 3 videos; each class needs 4 videos, one for each of a, b, c, d"
    ):
        check_enough(whole, "abcd")
    check_enough(whole, "abc")


def test_enough_groups_in_number_but_not_in_kind() -> None:
    # Each class has two groups, but part b would need g1 or g2 for class 0 and then part a lacks class 1 or 2.
    whole = videos([(0, "g1"), (1, "g1"), (0, "g2"), (2, "g2"), (1, "g3"), (2, "g3")])
    with pytest.raises(VidnasError, match=r"no division of 3 groups into a, b .* finer groups"):
        split(whole, {"a": 0.5, "b": 0.5}, seed=0)


@pytest.mark.parametrize("fractions", [{"a": 0.5, "b": 0.6}, {"a": 1.0, "b": 0.0}, {"a": 1.2, "b": -0.2}])
def test_fractions_must_make_a_whole(fractions: dict[str, float]) -> None:
    with pytest.raises(VidnasError, match="sum 1"):
        split(videos([(0, None), (1, None)]), fractions, seed=0)


def test_a_class_without_videos_is_no_obstacle() -> None:
    whole = videos([(label, None) for label in (0, 2) for _ in range(10)], classes=3)
    parts = split(whole, {"a": 0.5, "b": 0.5}, seed=0)
    assert [part.counts for part in parts.values()] == [(5, 0, 5), (5, 0, 5)]


@given(
    entries=st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abcdefghij") | st.none()), min_size=1, max_size=80),
    shares=st.lists(st.integers(1, 10), min_size=1, max_size=4),
    seed=st.integers(-5, 2**40),
)
def test_any_list(entries: list[tuple[int, str | None]], shares: list[int], seed: int) -> None:
    whole = videos(entries)
    fractions = {f"part {i}": share / sum(shares) for i, share in enumerate(shares)}
    groups = {(label, group or i) for i, (label, group) in enumerate(entries)}
    scarcest = min(Counter(label for label, _ in groups).values())
    enough = scarcest >= len(shares)
    refusal, parts = "", {}
    try:
        parts = split(whole, fractions, seed)
    except VidnasError as error:
        refusal = str(error)
    if refusal:
        assert ("no division" in refusal) == enough
        assert not enough or any(group for _, group in entries)  # videos without groups can always be divided
        return
    assert enough
    assert_partition(whole, parts)
    for part in parts.values():
        assert {sample.label for sample in part.samples} == {sample.label for sample in whole.samples}


def test_lists_that_share_a_file_or_a_group_are_refused() -> None:
    train = videos([(0, "anna"), (1, "ben"), (1, None)])
    root = Path("/r")
    apart = VideoList(root, (Sample(root / "x.mp4", 0, "carl"), Sample(root / "y.mp4", 1)), train.classes)
    check_disjoint(train, apart)
    file = VideoList(root, (Sample(root / "2.mp4", 1), Sample(root / "x.mp4", 0)), train.classes)
    with pytest.raises(VidnasError, match=r"/r/2.mp4 is in the training list and in the test list \(1 such files\)"):
        check_disjoint(train, file)
    group = VideoList(root, (Sample(root / "x.mp4", 0, "ben"),), train.classes)
    with pytest.raises(VidnasError, match=r"group 'ben' is in the training list and in the test list"):
        check_disjoint(train, group)
