"""Charts: marks stand at their values, inside the canvas."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidnas.report.charts import MOST_POINTS, Axis, Series, accuracy_chart, line_chart
from vidnas.report.class_charts import class_chart, confusion_chart, heat
from vidnas.report.data import AccuracyPoint
from vidnas.report.picture import Dot, Label, Path2D, Picture, Rect, to_svg

shares = st.floats(0, 1)
macs = st.floats(1e5, 1e12)
accuracies = st.lists(
    st.builds(
        AccuracyPoint, st.text(max_size=9), st.sampled_from(["searched", "x3d", "random", "other"]), macs, shares
    ),
    min_size=1,
    max_size=8,
)


def marks(picture: Picture) -> list[tuple[float, float]]:
    for item in picture.items:
        match item:
            case Dot() | Label():
                yield item.x, item.y
            case Rect():
                yield item.x, item.y
                yield item.x + item.width, item.y + item.height
            case Path2D():
                yield from item.points


def inside(picture: Picture) -> bool:
    return all(0 <= x <= picture.width and 0 <= y <= picture.height for x, y in marks(picture))


@settings(max_examples=80, deadline=None)
@given(accuracies)
def test_any_accuracies_fit(points):
    picture = accuracy_chart(points, 0.1, "8x96x96")
    assert inside(picture)
    hints = [item.hint for item in picture.items if isinstance(item, Dot) and item.hint]
    assert len(hints) == len(points)


def test_accuracy_markers_keep_order_and_names_do_not_touch():
    points = [
        AccuracyPoint("searched", "searched", 48.2e6, 0.80, 0.76, 0.84),
        AccuracyPoint("X3D", "x3d", 48.4e6, 0.801, 0.75, 0.85),
    ]
    picture = accuracy_chart(points, 0.04, "8x96x96")
    by_name = {item.hint.split(":")[0]: item for item in picture.items if isinstance(item, Dot) and item.hint}
    assert by_name["searched"].x < by_name["X3D"].x
    assert by_name["searched"].y > by_name["X3D"].y
    # 0.4% of difference in cost must not look like the width of the chart.
    assert by_name["X3D"].x - by_name["searched"].x < 0.1 * picture.width
    labels = [item.y for item in picture.items if isinstance(item, Label) and item.bold]
    assert abs(labels[0] - labels[1]) >= 14
    texts = [item.text for item in picture.items if isinstance(item, Label)]
    assert "MMACs @ 8x96x96" in texts
    assert not any("guessing" in text for text in texts)  # far below the axis


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(3, 10))
def test_ticks_are_few_round_and_inside(low, span, parts):
    axis = Axis(low, low + span, 0, 100, "", parts)
    ticks = axis.ticks
    assert int(parts / 2.5) <= len(ticks) <= parts + 1  # steps of 1, 2, 2.5, 5 leap by 2.5 at most
    slack = 1e-6 * span + 1e-9 * abs(low)
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)


def test_tick_labels_share_their_decimals():
    axis = Axis(1.94, 2.19, 0, 100, "", 5)
    assert [axis.show(tick) for tick in axis.ticks] == ["1.95", "2.00", "2.05", "2.10", "2.15"]
    axis = Axis(0, 400, 0, 100, "")
    assert [axis.show(tick) for tick in axis.ticks] == ["0", "100", "200", "300", "400"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e9, 1e9)), max_size=40))
def test_any_line_fits(points):
    series = [Series("a", sorted(points), "#000000"), Series("b", [], "#111111")]
    picture = line_chart("t", series, "step", level=(0.5, "target"), shaded_until=10)
    assert inside(picture)
    assert "nan" not in to_svg(picture)


def test_lines_run_through_their_values():
    picture = line_chart("t", [Series("a", [(0, 0.0), (10, 1.0), (20, 0.5)], "#abcdef")], "step", low=0.0, high=1.0)
    (line,) = [item for item in picture.items if isinstance(item, Path2D) and item.stroke == "#abcdef"]
    (x0, y0), (x1, y1), (x2, y2) = line.points
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y2 == pytest.approx((y0 + y1) / 2)
    assert y1 < y0


def test_a_long_line_is_averaged_not_cut():
    points = [(step, float(step % 2)) for step in range(100_000)]
    picture = line_chart("t", [Series("a", points, "#abcdef")], "step", low=0.0, high=1.0)
    (line,) = [item for item in picture.items if isinstance(item, Path2D) and item.stroke == "#abcdef"]
    assert len(line.points) <= MOST_POINTS
    ys = [y for _, y in line.points]
    assert max(ys) - min(ys) < 1  # the mean of zeros and ones is flat


def test_confusion_cells_are_shares_of_their_row():
    picture = confusion_chart(((3, 1), (0, 0)), ("a", "b"))
    cells = [item for item in picture.items if isinstance(item, Rect)]
    assert [cell.fill for cell in cells] == [heat(0.75), heat(0.25), heat(0), heat(0)]
    assert [cell.hint for cell in cells] == ["a taken for a: 3 of 4", "a taken for b: 1 of 4", "", ""]
    assert heat(0) != heat(1)
    assert re.fullmatch("#[0-9a-f]{6}", heat(0.5))


@pytest.mark.parametrize("classes", [2, 8, 27, 60])
def test_class_charts_fit(classes):
    names = [f"a rather long name of a class, number {i}" for i in range(classes)]
    confusion = [[1] * classes for _ in names]
    assert inside(confusion_chart(confusion, names))
    picture = class_chart(names, [("searched", "searched", [i / classes for i in range(classes)])])
    assert inside(picture)
    bars = [item.width for item in picture.items if isinstance(item, Rect)]
    assert bars == sorted(bars)


def test_a_class_without_videos_has_no_bar():
    picture = class_chart(["a", "b"], [("searched", "searched", [None, 0.5])])
    assert len([item for item in picture.items if isinstance(item, Rect)]) == 1
