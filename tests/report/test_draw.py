"""Pictures of networks: what is drawn is what the spec says, inside the canvas, as well-formed SVG."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from random_specs import random_two_streams

from vidnas.arch.plan import stream_units
from vidnas.arch.registry import get_spec, list_models
from vidnas.arch.spec import ATTENTION_KINDS, ArchSpec, ClipSpec, GroupSpec, Kernel, NonLocalSpec, StemSpec, StreamSpec
from vidnas.arch.units import BlockPlan, GloRePlan
from vidnas.report.draw import FOLDED_STEP, UNIT, draw
from vidnas.report.draw_streams import FUSIONS, LEAST_HEIGHT
from vidnas.report.draw_streams import UNIT as UNIT_OF_HEIGHT
from vidnas.report.network_parts import STARS, kernel_colour
from vidnas.report.picture import Dot, Label, Path2D, Picture, Rect, text_width, to_png, to_svg


def blocks(picture: Picture) -> list[Rect]:
    """Rectangles that stand for a block (of a folded run, the first one)."""
    return [item for item in picture.items if isinstance(item, Rect) and item.hint.startswith("groups.")]


def stars(picture: Picture) -> list[Path2D]:
    named = tuple(f": {star.name}, " for star in STARS.values())
    return [item for item in picture.items if isinstance(item, Path2D) and any(name in item.hint for name in named)]


kernels = st.builds(Kernel, t=st.sampled_from([1, 3, 5, 7]), s=st.sampled_from([1, 3, 5, 7, 9]))
groups = st.builds(
    GroupSpec,
    depth=st.integers(1, 40),
    stride=st.sampled_from([1, 2]),
    channels=st.integers(1, 2048),
    expansion=st.floats(1, 12).map(lambda value: round(value, 2)),
    kernel=kernels,
    attention=st.none() | st.one_of(st.builds(kind) for kind in ATTENTION_KINDS.values()),
)
clips = st.builds(
    ClipSpec,
    frames=st.integers(1, 64),
    size=st.integers(1, 400),
    sampling=st.sampled_from(["stride", "uniform"]),
)
specs = st.builds(
    ArchSpec,
    name=st.text(min_size=1, max_size=60),
    clip=clips,
    streams=st.tuples(
        st.builds(
            StreamSpec,
            stem=st.builds(StemSpec, channels=st.integers(1, 64)),
            groups=st.lists(groups, min_size=1, max_size=12).map(tuple),
            conv5=st.integers(1, 999),
        )
    ),
)


@pytest.mark.parametrize("name", ["x2d", "x3d_s", "autox3d_s", "autox3d_l", "x3d_xl"])
def test_one_rectangle_per_block_with_its_channels_width_and_colour(name):
    spec = get_spec(name)
    picture = draw(spec)
    expected = [group for group in spec.streams[0].groups for _ in range(group.depth)]
    drawn = blocks(picture)
    assert [rect.fill for rect in drawn] == [kernel_colour(group.kernel) for group in expected]
    assert [rect.width for rect in drawn] == pytest.approx([UNIT * group.expansion for group in expected])
    labels = [item for item in picture.items if isinstance(item, Label) and item.fill == "#ffffff"]
    assert [label.text for label in labels] == [str(group.channels) for group in expected]
    for rect, label in zip(drawn, labels, strict=True):
        assert rect.x < label.x < rect.x + rect.width
        assert rect.y < label.y < rect.y + rect.height


def test_stars_stand_where_attention_is():
    assert len(stars(draw(get_spec("autox3d_s_no_attention")))) == 0
    assert len(stars(draw(get_spec("autox3d_s")))) == 1
    picture = draw(get_spec("autox3d_l"))
    first, second = sorted(min(x for x, _ in star.points) for star in stars(picture))
    by_name = {rect.hint.split(":")[0]: rect.x for rect in blocks(picture)}
    assert by_name["groups.3.block3"] < first < by_name["groups.3.block4"] < by_name["groups.3.block6"] < second
    assert all(star.fill == STARS[GloRePlan].fill for star in stars(picture))
    assert [item.text for item in picture.items if isinstance(item, Label) and "attention" in item.text] == [
        "GloRe attention"
    ]


def test_each_kind_of_attention_has_a_star_and_a_name_of_its_own():
    spec = get_spec("autox3d_s")
    groups = list(spec.streams[0].groups)
    groups[1] = groups[1].model_copy(update={"attention": NonLocalSpec(inner=8)})
    picture = draw(spec.model_copy(update={"streams": (spec.streams[0].model_copy(update={"groups": tuple(groups)}),)}))
    first, second = sorted(stars(picture), key=lambda star: star.points[0][1])
    assert first.hint == "groups.1.non_local2: non-local, 8 inner channels"
    assert first.fill != second.fill
    assert [item.text for item in picture.items if isinstance(item, Label) and "attention" in item.text] == [
        "GloRe attention",
        "non-local attention",
    ]


def boxes(picture: Picture, stream: int) -> list[Rect]:
    """Rectangles that stand for a group of a stream."""
    return [item for item in picture.items if isinstance(item, Rect) and item.hint.startswith(f"streams.{stream}.")]


def middle(rect: Rect) -> float:
    return rect.y + rect.height / 2


@pytest.mark.parametrize("name", ["auto_tsnet_s", "manual_tsnet_85"])
def test_two_streams_are_rows_of_groups(name):
    spec = get_spec(name)
    picture = draw(spec)
    left_edges = []
    for s, stream in enumerate(spec.streams):
        drawn = boxes(picture, s)
        assert [rect.fill for rect in drawn] == [kernel_colour(group.kernel) for group in stream.groups]
        heights = [max(UNIT_OF_HEIGHT * group.expansion, LEAST_HEIGHT) for group in stream.groups]
        assert [rect.height for rect in drawn] == pytest.approx(heights)
        assert len({round(middle(rect), 6) for rect in drawn}) == 1
        left_edges.append([rect.x for rect in drawn])
        texts = [item for item in picture.items if isinstance(item, Label) and item.fill == "#ffffff"]
        for rect, group in zip(drawn, stream.groups, strict=True):
            (label,) = [
                one for one in texts if rect.x < one.x < rect.x + rect.width and rect.y < one.y < rect.y + rect.height
            ]
            assert label.text == str(group.channels)
    # Groups of one index stand above each other, in order.
    assert left_edges[0] == left_edges[1] == sorted(left_edges[0])
    assert middle(boxes(picture, 0)[0]) < middle(boxes(picture, 1)[0])
    texts = [item.text for item in picture.items if isinstance(item, Label)]
    assert texts[0] == spec.name
    assert {"stream 0", "4 of 32 frames", "stream 1", "32 of 32 frames"} < set(texts)
    assert texts.count("↓2") == 8


def test_arrows_go_from_the_stream_that_gives_to_the_one_that_reads():
    spec = get_spec("auto_tsnet_s")
    picture = draw(spec)
    sparse, dense = boxes(picture, 0), boxes(picture, 1)
    names = [item for item in picture.items if isinstance(item, Rect) and item.hint.startswith("fusions.")]
    heads = [
        item for item in picture.items if isinstance(item, Path2D) and item.fill in {f.colour for f in FUSIONS.values()}
    ]
    assert len(names) == len(heads) == len(spec.fusions)
    for fusion, name, head in zip(spec.fusions, names, heads, strict=True):
        assert FUSIONS[fusion.kind].name in name.hint
        assert name.fill == head.fill == FUSIONS[fusion.kind].colour
        (x, y), *_ = head.points
        assert y == middle(sparse[0])
        assert all(y < other for _, other in head.points[1:])  # it points up, to the sparse stream
        g = fusion.group
        assert sparse[g].x + sparse[g].width < x < sparse[g + 1].x
        assert middle(sparse[0]) < middle(name) < middle(dense[0])
    assert "8 frames to 1" in names[0].hint
    assert "8 → 64 channels" in names[0].hint
    turned = spec.model_copy(
        update={
            "streams": spec.streams[::-1],
            "fusions": tuple(
                fusion.model_copy(update={"source": 0, "target": 1, "combination": "sum"}) for fusion in spec.fusions
            ),
        }
    )
    picture = draw(turned)
    heads = [
        item for item in picture.items if isinstance(item, Path2D) and item.fill in {f.colour for f in FUSIONS.values()}
    ]
    assert all(y > other for (_, y), *others in (head.points for head in heads) for _, other in others)
    assert [item.text for item in picture.items if isinstance(item, Label) and item.text.startswith("+ ")] == [
        "+ T→C",
        "+ conv",
        "+ T→C",
        "+ sample",
        "+ T→C",
    ]


def test_stars_of_two_streams_stand_behind_their_group():
    picture = draw(get_spec("manual_tsnet_70_glore_4"))
    drawn = stars(picture)
    assert [star.hint.partition(":")[0] for star in drawn] == [
        f"streams.{s}.groups.{g}.glore{b}" for s in (0, 1) for g, b in ((3, 4), (6, 3))
    ]
    for star in drawn:
        s, g = int(star.hint.split(".")[1]), int(star.hint.split(".")[3])
        own, following = boxes(picture, s)[g : g + 2]
        left, top, right, bottom = extent(star)
        assert own.x + own.width < left < right < following.x
        assert top < middle(own) < bottom
    assert stars(draw(get_spec("auto_tsnet_s_no_attention"))) == []


@pytest.mark.parametrize("seed", range(25))
def test_networks_of_two_streams_are_drawn_inside_the_canvas_with_no_text_on_another(seed):
    spec = random_two_streams(seed)
    picture = draw(spec)
    for item in picture.items:
        left, top, right, bottom = extent(item)
        assert left >= 0
        assert top >= 0
        assert right <= picture.width
        assert bottom <= picture.height
    ElementTree.fromstring(to_svg(picture))
    labels = [item for item in picture.items if isinstance(item, Label)]
    for one, other in combinations(labels, 2):
        a, b = extent(one), extent(other)
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (one, other)
    units = [unit for s in (0, 1) for unit in stream_units(spec, s) if unit.group is not None]
    assert len(stars(picture)) == sum(not isinstance(unit, BlockPlan) for unit in units)


def test_strides_and_stages():
    texts = [item.text for item in draw(get_spec("autox3d_s")).items if isinstance(item, Label)]
    assert texts.count("↓2") == 4
    assert [text for text in texts if text.startswith("stage ")] == [f"stage {n}" for n in (1, 2, 3, 4)]
    assert [f"13×{size}×{size}" in texts for size in (160, 40, 20, 10, 5)] == [True] * 5
    assert "2.171 GMACs @ 13x160x160, 3.863 M parameters" in texts


def test_the_deepest_network_is_folded_and_shows_every_block():
    picture = draw(get_spec("x3d_xxl"))
    texts = [item.text for item in picture.items if isinstance(item, Label)]
    for depth in (11, 21, 51, 31):
        assert f"×{depth}" in texts  # the bracket
        assert f"×{depth - 1}" in texts  # the deck behind the first block
    cards = [item for item in picture.items if isinstance(item, Rect) and item.height == blocks(picture)[0].height]
    assert len(cards) == 114
    assert picture.width < 1200
    deck = sorted(card.x for card in cards if card.y == blocks(picture)[4].y)
    assert deck[2] - deck[1] == FOLDED_STEP


def test_colours_tell_all_kernels_of_the_papers_apart():
    spaces = [Kernel(t=t, s=s) for t in (1, 3, 5) for s in (3, 5)]
    assert len({kernel_colour(kernel) for kernel in spaces}) == 6


def extent(item) -> tuple[float, float, float, float]:
    match item:
        case Rect():
            return item.x, item.y, item.x + item.width, item.y + item.height
        case Path2D():
            xs, ys = zip(*item.points, strict=True)
            return min(xs), min(ys), max(xs), max(ys)
        case Dot():
            return item.x - item.radius, item.y - item.radius, item.x + item.radius, item.y + item.radius
        case Label(turned=True):
            return item.x - item.size, item.y, item.x, item.y
        case Label():
            width = text_width(item.text, item.size, item.bold)
            left = item.x - {"start": 0, "middle": width / 2, "end": width}[item.anchor]
            return left, item.y - item.size, left + width, item.y


@settings(max_examples=60, deadline=None)
@given(specs)
def test_any_network_is_drawn_inside_its_canvas_as_well_formed_xml(spec):
    picture = draw(spec)
    for item in picture.items:
        left, top, right, bottom = extent(item)
        assert left >= 0
        assert top >= 0
        assert right <= picture.width
        assert bottom <= picture.height
    root = ElementTree.fromstring(to_svg(picture))
    attention = sum(group.attention is not None for group in spec.streams[0].groups)
    assert len(stars(picture)) == attention
    rects = [item for item in root.iter() if item.tag.endswith("rect")]
    assert len(rects) >= sum(group.depth for group in spec.streams[0].groups)


def test_hostile_names_stay_text():
    spec = get_spec("x2d").model_copy(update={"name": '<script>alert(1)</script>\x00 & "$x_1$" \''})
    svg = to_svg(draw(spec))
    assert "<script" not in svg
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert texts[0] == '<script>alert(1)</script>\ufffd & "$x_1$" \''
    assert to_png(draw(spec)).startswith(b"\x89PNG")  # matplotlib would read $...$ as mathematics


@pytest.mark.parametrize("name", list_models())
def test_svg_stands_alone(name):
    svg = to_svg(draw(get_spec(name)))
    assert svg.count("http") == 1  # the namespace; nothing is fetched
    assert svg == to_svg(draw(get_spec(name)))
    assert len(svg) < 40_000


def test_pictures_of_the_pages_are_what_is_drawn():
    pictures = sorted((Path(__file__).parents[2] / "docs" / "images").glob("*.svg"))
    assert [path.stem for path in pictures] == ["auto_tsnet_s", "autox3d_s", "manual_tsnet_70"]
    for path in pictures:
        assert path.read_text(encoding="utf-8") == to_svg(draw(get_spec(path.stem))), path.name


def test_png_is_the_same_every_time_and_not_empty():
    picture = draw(get_spec("autox3d_s"))
    content = to_png(picture)
    assert content == to_png(picture)
    pixels = imread(io.BytesIO(content))[..., :3]
    block = blocks(picture)[1]
    colour = [int(block.fill[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    x, y = int(2 * (block.x + 6)), int(2 * (block.y + 8))
    np.testing.assert_allclose(pixels[y, x], colour, atol=1 / 255)  # 8-bit rounding


def test_drawing_svg_needs_no_plotting_library():
    code = (
        "import sys; from vidnas.report.draw import draw; from vidnas.report.picture import to_svg;"
        "from vidnas.arch.registry import get_spec; to_svg(draw(get_spec('x3d_s')));"
        "sys.exit(bool({'torch', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
