"""Look-up in a latency table, and its file."""

import json
import random

import pytest
from latency_examples import planted_table, small_space

from vidnas.arch.latency import Curve, LatencyTable, Point
from vidnas.arch.spec import Kernel
from vidnas.arch.sub_layers import Layer, SubLayer
from vidnas.base.errors import VidnasError

EXPAND = Layer(kind="expand", side=14)
GATED = Layer(kind="depthwise", side=14, kernel=Kernel(t=3, s=3), gates=True)


def bilinear(a: int, b: int) -> float:
    return 0.08 + 1e-3 * a + 5e-4 * b + 3e-5 * a * b


def wedge() -> list[tuple[int, int]]:
    """Channels and 1.5 to 6 times as many, as expansions reach them."""
    return [(c, int(c * e)) for c in range(16, 45, 4) for e in (1.5, 2.25, 3.0, 3.75, 4.5, 5.25, 6.0)]


def curve(shapes: list[tuple[int, int]], ms: dict[tuple[int, int], float] | None = None) -> Curve:
    ms = ms or {}
    return Curve(layer=EXPAND, points=tuple(Point(s, ms.get(s, bilinear(*s))) for s in shapes))


@pytest.mark.parametrize("seed", range(10))
def test_between_measured_shapes_it_is_exact_for_what_is_linear_in_each(seed: int) -> None:
    shapes = wedge()
    few = curve(random.Random(seed).sample(shapes, 8))
    for shape in shapes:
        # Rounding of a least squares of eight points.
        assert few.ms(shape) == pytest.approx(bilinear(*shape), rel=1e-8)


def test_measured_shapes_keep_their_value_and_pull_at_their_neighbours() -> None:
    shapes = wedge()
    grid, odd = shapes[::5], shapes[25]
    assert odd in grid
    plain, pulled = curve(grid), curve(grid, {odd: 1.5 * bilinear(*odd)})
    assert pulled.ms(odd) == 1.5 * bilinear(*odd)
    near, far = shapes[26], shapes[0]
    assert near not in grid
    assert pulled.ms(near) / plain.ms(near) > 1.2
    assert pulled.ms(far) == pytest.approx(plain.ms(far))


def test_noise_is_not_amplified() -> None:
    rng = random.Random(0)
    shapes = wedge()
    noisy = {shape: bilinear(*shape) * rng.uniform(0.97, 1.03) for shape in shapes}
    look_up = curve(rng.sample(shapes, 10), noisy)
    # Errors of 3% may add up where a neighbour is off one way and the fit the other.
    assert all(look_up.ms(shape) == pytest.approx(bilinear(*shape), rel=0.07) for shape in shapes)


def test_squeezed_channels_follow_from_the_hidden_ones() -> None:
    points = [((h, 8 if h < 100 else 16), 0.1 + 1e-3 * h) for h in (24, 60, 96, 180)]
    gated = Curve(layer=GATED, points=tuple(Point(*point) for point in points))
    assert gated.ms((120, 16)) == pytest.approx(0.22)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_points_are_enough_to_begin_with(number: int) -> None:
    """As in a space with few choices: there all is measured, and exact."""
    shapes = [(16, 24), (16, 96), (24, 36)][:number]
    assert [curve(shapes).ms(shape) for shape in shapes] == [bilinear(*shape) for shape in shapes]


def test_it_covers_what_lies_between_and_nothing_else() -> None:
    measured = curve([(16, 24), (44, 264)])
    assert measured.covers((16, 24))
    assert measured.covers((20, 264))
    for channels in ((12, 24), (48, 264), (20, 20), (20, 268), (20,), (20, 60, 8)):
        assert not measured.covers(channels)


def test_a_network_is_its_scaled_sub_layers_and_the_overhead_of_its_blocks() -> None:
    space = small_space()
    table = planted_table(space, overhead_ms=0.0)
    spec = space.decode(space.largest())
    fitted = table.model_copy(update={"scale": 0.5, "overhead_ms": 0.25})
    assert fitted.network_ms(spec) == pytest.approx(0.5 * table.network_ms(spec) + 0.25 * 3)


def test_what_was_not_measured_is_refused() -> None:
    space = small_space()
    table = planted_table(space)
    with pytest.raises(VidnasError, match="measured for small, does not cover what is asked for: no expand at 14x14"):
        table.ms(SubLayer(EXPAND, (16, 24)))
    wider = Layer(kind="expand", side=4)
    with pytest.raises(VidnasError, match="no expand at 4x4 with 16, 2400 channels"):
        table.ms(SubLayer(wider, (16, 2400)))
    other_clip = space.decode(space.smallest()).with_clip(space.clip.resized("2x32"))
    with pytest.raises(VidnasError, match=r"measured at 2x16x16, small_\w+ sees 2x32x32"):
        table.network_ms(other_clip)


def test_a_file_gives_the_table_back(tmp_path) -> None:
    space = small_space()
    table = planted_table(space)
    path = tmp_path / "table.json"
    path.write_text(table.to_json())
    loaded = LatencyTable.load(path)
    assert loaded == table
    spec = space.decode(space.largest())
    assert loaded.network_ms(spec) == table.network_ms(spec)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("device", "tpu", "device"),
        ("format", 2, "format"),
        ("overhead_ms", "much", "overhead_ms"),
        ("curves", [], "curves: .*at least 1"),
        ("threads", 0, "threads"),
        ("extra", 1, "extra"),
    ],
)
def test_a_broken_file_names_the_field(tmp_path, field: str, value: object, message: str) -> None:
    data = json.loads(planted_table(small_space()).to_json())
    data[field] = value
    path = tmp_path / "table.json"
    path.write_text(json.dumps(data))
    with pytest.raises(VidnasError, match=f"table.json, line [0-9]+: .*{message}"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[[8, 12], 0.1], [[8], 0.1]], "different numbers of channels"),
        ([[[8, 12], 0.1], [[8, 12], 0.2]], "twice"),
        ([[[8, 12], -0.1]], "greater than 0"),
        ([[[8, 0], 0.1]], "greater than or equal to 1"),
        ([], "at least 1"),
    ],
)
def test_broken_points_are_refused(points: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Curve.model_validate({"layer": {"kind": "expand", "side": 7}, "points": points})


def test_a_layer_has_one_curve() -> None:
    data = json.loads(planted_table(small_space()).to_json())
    data["curves"].append(data["curves"][0])
    with pytest.raises(VidnasError, match="a layer is there twice"):
        LatencyTable.from_data(data)
