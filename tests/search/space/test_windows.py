"""Windows of channels against the papers' examples, their sizes and their coverage."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import scaled_space, tiny_space
from vidnas.search.space.space import Space
from vidnas.search.space.windows import (
    WINDOW_MODES,
    WindowMode,
    channel_coverage,
    channel_window,
    coverage,
    exact,
    hidden_window,
    spacing,
    super_hidden,
)

# AutoX3D Fig. 3 (N = 5) and the supplement's Fig. 1 (N = 7) as parts 1..N of candidates 1..N.
FIGURES = {
    5: ["1", "12", "345", "2345", "12345"],
    7: ["1", "12", "123", "4567", "34567", "234567", "1234567"],
}
# The lists of AutoX3D's Table 2, of Auto-TSNet's sparse and dense streams and a step of 12 in its stage 3, and what the
# tiny space has besides.
PUBLISHED = [
    tuple(range(12, 29, 4)),
    tuple(range(24, 65, 8)),
    tuple(range(48, 133, 12)),
    tuple(range(96, 265, 24)),
    (32, 40, 48),
    tuple(range(72, 97, 8)),
    tuple(range(128, 177, 16)),
    tuple(range(132, 181, 12)),
    tuple(range(248, 345, 24)),
    (8,),
    (8, 16),
    (8, 16, 24),
    tuple(range(24, 49, 8)),
    (8, 12, 16),
    tuple(range(24, 57, 8)),
    tuple(range(48, 113, 16)),
]


@pytest.mark.parametrize("number", FIGURES)
def test_fair_windows_are_those_of_the_figures(number: int) -> None:
    choices = tuple(range(1, number + 1))
    for index, parts in enumerate(FIGURES[number]):
        assert channel_window(choices, index, "fair") == tuple(int(part) - 1 for part in parts)


@pytest.mark.parametrize("number", FIGURES)
@pytest.mark.parametrize("core", [0, 8])
def test_parts_of_several_channels_on_a_core(number: int, core: int) -> None:
    """Each part of the figures is four channels, behind a core that every candidate uses."""
    choices = tuple(core + 4 * i for i in range(1, number + 1))
    for index, parts in enumerate(FIGURES[number]):
        expected = list(range(core)) + [core + 4 * (int(p) - 1) + r for p in parts for r in range(4)]
        assert channel_window(choices, index, "fair") == tuple(expected)


@pytest.mark.parametrize(
    ("number", "covered"), [(3, [2, 2, 2]), (5, [3] * 5), (7, [4] * 7), (9, [5] * 9), (6, [4, 4, 4, 3, 3, 3])]
)
def test_coverage_of_fair_windows(number: int, covered: list[int]) -> None:
    assert list(channel_coverage(tuple(range(1, number + 1)), "fair")) == covered


@given(st.integers(2, 24))
def test_coverage_for_any_number_of_equal_parts(number: int) -> None:
    choices = tuple(range(1, number + 1))
    assert channel_coverage(choices, "naive") == tuple(range(number, 0, -1))
    fair = channel_coverage(choices, "fair")
    assert max(fair) - min(fair) == (0 if number % 2 else 1)
    if number % 2:
        assert set(fair) == {(number + 1) // 2}
    # Complements: candidates i and N - i together use every part once.
    for i in range(number // 2 + 1, number):
        both = channel_window(choices, i - 1, "fair") + channel_window(choices, number - i - 1, "fair")
        assert sorted(both) == list(range(number))


@pytest.mark.parametrize("choices", PUBLISHED, ids=str)
def test_coverage_of_every_published_range(choices: tuple[int, ...]) -> None:
    number = len(choices)
    step = choices[1] - choices[0] if number > 1 else choices[0]
    core = choices[0] - step
    fair = channel_coverage(choices, "fair")
    assert set(fair[:core]) <= {number}
    assert max(fair[core:]) - min(fair[core:]) == (number + 1) % 2 * (number > 1)
    cyclic = channel_coverage(choices, "cyclic")
    assert max(cyclic) - min(cyclic) <= 1
    assert sum(cyclic) == sum(fair) == sum(choices)
    # What the smallest has is in all; each step further is in one fewer, and the last in the largest alone.
    naive = [number] * choices[0] + [number - i for i in range(1, number) for _ in range(step)]
    assert list(channel_coverage(choices, "naive")) == naive
    assert naive[-1] == 1


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True))
def test_cyclic_windows_of_any_sizes(sizes: list[int]) -> None:
    choices = tuple(sorted(sizes))
    windows = [channel_window(choices, i, "cyclic") for i in range(len(choices))]
    for size, window in zip(choices, windows, strict=True):
        assert len(set(window)) == len(window) == size
        assert window == tuple(sorted(window))
    counts = coverage(windows, choices[-1])
    assert max(counts) - min(counts) <= 1


def test_cyclic_windows_lie_end_to_end_largest_first() -> None:
    """Round a circle of 7 units of 4 channels: 7, then 6 from 0, 5 from 6, 4 from 4 (11 - 7), 3 from 1 (8 - 7)."""
    units = [{channel // 4 for channel in channel_window((12, 16, 20, 24, 28), i, "cyclic")} for i in range(5)]
    assert units == [{1, 2, 3}, {4, 5, 6, 0}, {6, 0, 1, 2, 3}, {0, 1, 2, 3, 4, 5}, set(range(7))]


@pytest.mark.parametrize("space", [autox3d_space(), tiny_space()])
def test_the_lists_of_the_published_spaces_are_among_them(space: Space) -> None:
    assert {group.channels for group in space.streams[0].groups} <= set(PUBLISHED)


@pytest.mark.parametrize("mode", WINDOW_MODES)
@pytest.mark.parametrize("choices", PUBLISHED, ids=str)
def test_sizes_are_exact_and_indices_sorted(choices: tuple[int, ...], mode: WindowMode) -> None:
    for index, size in enumerate(choices):
        window = channel_window(choices, index, mode)
        assert len(set(window)) == size
        assert window == tuple(sorted(window))
        assert window[-1] < choices[-1]
    assert channel_window(choices, len(choices) - 1, mode) == tuple(range(choices[-1]))


@pytest.mark.parametrize("mode", WINDOW_MODES)
@pytest.mark.parametrize("space", [autox3d_space(), tiny_space(), scaled_space(autox3d_space().clip, width_factor=0.3)])
def test_hidden_windows_have_exactly_the_product(space: object, mode: WindowMode) -> None:
    stream = space.streams[0]  # type: ignore[attr-defined]
    for g, group in enumerate(stream.groups):
        for channels in stream.bases(g):
            for (e, expansion), (c, width) in product(enumerate(group.expansion), enumerate(channels)):
                window = hidden_window(group.expansion, e, channels, c, mode)
                assert len(set(window)) == len(window) == exact(expansion) * width
                assert window == tuple(sorted(window))
                assert window[-1] < super_hidden(group.expansion, channels)


@pytest.mark.parametrize("mode", WINDOW_MODES)
def test_hidden_windows_are_products_of_both_windows(mode: WindowMode) -> None:
    """A hidden channel is used iff both its expansion part and its channel part are: 7 parts of 3/4 x 5 of 4."""
    expansions, channels = tuple(1.5 + 0.75 * i for i in range(7)), (12, 16, 20, 24, 28)
    scaled = tuple(int(e / 0.75) for e in expansions)
    for (e, _), (c, _) in product(enumerate(expansions), enumerate(channels)):
        parts = set(channel_window(scaled, e, mode))
        blocks = {channel // 4 for channel in channel_window(channels, c, mode)}
        # Expansion parts outermost: 7 blocks of channels per part, 3 hidden channels each.
        expected = {(p * 7 + b) * 3 + r for p in parts for b in blocks for r in range(3)}
        assert set(hidden_window(expansions, e, channels, c, mode)) == expected


def test_hidden_coverage_is_fair_where_both_lists_are_odd() -> None:
    expansions, channels = (1.5, 3.0, 4.5), (4, 8, 12)
    windows = [hidden_window(expansions, e, channels, c, "fair") for e, c in product(range(3), range(3))]
    assert set(coverage(windows, super_hidden(expansions, channels))) == {4}


@pytest.mark.parametrize(
    ("choices", "rule"),
    [
        ((), "empty"),
        ((4, 12, 16), "equal steps"),
        ((16, 12), "rise"),
        ((4, 4), "rise"),
        ((4, 12, 20), "below its step"),
    ],
)
def test_irregular_lists_are_refused(choices: tuple[int, ...], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        spacing(choices)
