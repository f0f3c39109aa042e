"""Charts of dots: every dot stands at its value, inside the canvas, and says what it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidnas.report.picture import Dot, Label, Path2D, Picture, to_svg
from vidnas.report.scatter import Panel, front_chart, panels

dots = st.lists(st.tuples(st.floats(1e5, 1e11), st.floats(0, 1), st.text(max_size=6)), min_size=1, max_size=9)


def inside(picture: Picture) -> bool:
    places = [(item.x, item.y) for item in picture.items if isinstance(item, Dot | Label)]
    places += [point for item in picture.items if isinstance(item, Path2D) for point in item.points]
    return all(0 <= x <= picture.width and 0 <= y <= picture.height for x, y in places)


def drawn(picture: Picture, radius: float) -> list[tuple[float, float]]:
    return [(item.x, item.y) for item in picture.items if isinstance(item, Dot) and item.radius == radius]


@settings(max_examples=40, deadline=None)
@given(dots, dots)
def test_any_values_fit(some, others):
    groups = {"judged": others, "front": sorted(some), "derived by the search": some[:1]}
    for metric in ("macs", "params"):
        assert inside(front_chart(groups, metric, "8x96x96", "a note"))
    picture = panels("title", "note", [Panel("left", some, "x", "y"), Panel("right", others, "x", "y")])
    assert inside(picture)
    # Five pixels is also the size of the dots of a legend, of which panels have none.
    assert len(drawn(picture, 5)) == len(some) + len(others)


def test_the_front_is_a_line_of_steps_through_its_dots():
    front = [(1e6, 0.2, "a"), (2e6, 0.5, "b"), (4e6, 0.6, "c")]
    picture = front_chart({"judged": [], "front": front, "derived by the search": []}, "macs", "8x96x96", "")
    placed = drawn(picture, 6)
    xs, ys = zip(*placed, strict=True)
    assert (xs[2] - xs[1]) / (xs[1] - xs[0]) == pytest.approx(2)
    assert (ys[0] - ys[1]) / (ys[1] - ys[2]) == pytest.approx(3)
    line = next(item for item in picture.items if isinstance(item, Path2D) and item.width == 2)
    assert list(line.points) == [placed[0], (xs[1], ys[0]), placed[1], (xs[2], ys[1]), placed[2]]
    assert "MMACs @ 8x96x96" in to_svg(picture)
    assert "judged" not in to_svg(picture), "a legend names what is there"


def test_panels_stand_side_by_side():
    left = Panel("left", [(0.0, 1.0, ""), (1.0, 0.0, "")], "x", "y")
    right = Panel("right", [(5.0, 7.0, ""), (6.0, 8.0, "")], "x", "y")
    picture = panels("both", "", [left, right])
    placed = drawn(picture, 5)
    assert max(x for x, _ in placed[:2]) < picture.width / 2 < min(x for x, _ in placed[2:])
    assert placed[0][1] < placed[1][1]
    assert placed[2][1] > placed[3][1]
