"""The figures that the papers print, and those computed for networks that they only describe.

A figure is compared as text, in all digits that are printed.
"""

from pathlib import Path

import pytest

from vidnas.arch.cost import network_cost
from vidnas.arch.plan import network_units
from vidnas.arch.registry import get_spec, list_models, note_on, resolve
from vidnas.arch.rounding import round_depth, round_width
from vidnas.arch.spec import ArchSpec, ClipSpec, GloReSpec
from vidnas.arch.units import BlockPlan, GloRePlan
from vidnas.arch.zoo.x3d import x3d
from vidnas.base.errors import VidnasError


def as_printed(value: float, printed: str) -> str:
    """`value` with as many decimals as `printed` has."""
    return f"{value:.{len(printed.partition('.')[2])}f}"


def assert_printed(value: float, printed: str) -> None:
    assert as_printed(value, printed) == printed


def with_stream(spec: ArchSpec, **changes: object) -> ArchSpec:
    stream = spec.streams[0].model_copy(update=changes)
    return spec.model_copy(update={"streams": (stream,)})


@pytest.mark.parametrize(
    ("name", "clip", "giga_macs", "mega_weights"),
    [
        ("x2d", "1x112x112", "0.020662", "1.624"),
        ("x3d_xs", "4x160x160", "0.6053", "3.7587"),
        ("x3d_s", "13x160x160", "1.9629", "3.7587"),
        ("x3d_m", "16x224x224", "4.7325", "3.7587"),
        ("x3d_l", "16x312x312", "18.3677", "6.0792"),
        ("x3d_xl", "16x312x312", "35.8376", "10.9891"),
        ("x3d_xxl", "32x312x312", "143.5416", "20.2576"),
        ("autox3d_s", "13x160x160", "2.171", "3.825"),
        ("autox3d_s_no_attention", "13x160x160", "1.971", "3.781"),
        ("autox3d_m", "16x224x224", "5.232", "3.825"),
        ("autox3d_m_no_attention", "16x224x224", "4.753", "3.781"),
        ("autox3d_l", "16x312x312", "20.543", "6.031"),
        ("autox3d_l_no_attention", "16x312x312", "18.689", "5.945"),
        ("manual_tsnet_85", "32x160x160", "2.032", "8.97"),
        ("manual_tsnet_70", "32x160x160", "2.025", "7.74"),
        ("manual_tsnet_55", "32x160x160", "2.015", "7.03"),
        ("manual_tsnet_70_fusions_0", "32x160x160", "1.939", "7.529"),
        ("manual_tsnet_70_fusions_10", "32x160x160", "2.136", "8.073"),
        ("manual_tsnet_70_glore_2", "32x160x160", "2.200", "7.841"),
        ("manual_tsnet_70_glore_4", "32x160x160", "2.432", "8.249"),
        ("manual_tsnet_70_glore_6", "32x160x160", "2.576", "8.854"),
        ("auto_tsnet_s", "32x160x160", "2.459", "8.549"),
        ("auto_tsnet_s_no_attention", "32x160x160", "2.050", "7.737"),
        ("auto_tsnet_m", "32x224x224", "4.701", "8.549"),
        ("auto_tsnet_m_no_attention", "32x224x224", "4.016", "7.737"),
        ("auto_tsnet_l", "32x312x312", "14.779", "13.109"),
        ("auto_tsnet_l_no_attention", "32x312x312", "13.508", "12.297"),
    ],
)
def test_training_clip(name: str, clip: str, giga_macs: str, mega_weights: str) -> None:
    cost = network_cost(get_spec(name))
    assert cost.clip == clip
    assert_printed(cost.macs / 1e9, giga_macs)
    assert_printed(cost.weights / 1e6, mega_weights)


def test_every_network_of_the_zoo_has_its_figures_here() -> None:
    (mark,) = test_training_clip.pytestmark
    assert [row[0] for row in mark.args[1]] == list_models()


@pytest.mark.parametrize(
    ("name", "published_weights", "published_macs"),
    [
        ("x3d_s", "3.76", "1.96"),
        ("x3d_m", "3.76", "4.73"),
        ("x3d_l", "6.08", "18.37"),
        ("x3d_xl", "10.99", "35.84"),
        ("x3d_xxl", "20.3", "143.5"),
    ],
)
def test_x3d_as_published(name: str, published_weights: str, published_macs: str) -> None:
    cost = network_cost(get_spec(name))
    assert_printed(cost.weights / 1e6, published_weights)
    assert_printed(cost.macs / 1e9, published_macs)


def test_parameters_of_the_official_code() -> None:
    assert network_cost(get_spec("x3d_s")).params == 3_794_274
    assert network_cost(with_stream(get_spec("x3d_s"), projection_norm="always")).params == 3_794_322
    assert network_cost(get_spec("x2d")).params == 1_633_512


@pytest.mark.parametrize(
    ("name", "size", "one_position", "every_position", "positions"),
    [
        ("x3d_s", 182, "2.722", "2.727", 4),
        ("x3d_m", 256, "6.181", "6.186", 4),
        ("x3d_l", 356, "24.764", "24.778", 9),
        ("x3d_xl", 356, "48.407", "48.424", 9),
        ("x3d_xxl", 356, "194.056", "194.073", 9),
        ("autox3d_s_no_attention", 182, "2.732", "2.737", 4),
        ("autox3d_m_no_attention", 256, "6.208", "6.213", 4),
        ("autox3d_l_no_attention", 356, "25.172", "25.186", 9),
        ("autox3d_s", 182, "2.996", "3.001", 4),
        ("autox3d_m", 256, "6.833", "6.838", 4),
        ("autox3d_l", 356, "27.640", "27.654", 9),
        ("auto_tsnet_s_no_attention", 182, "2.822", "2.829", 4),
        ("auto_tsnet_s", 182, "3.357", "3.364", 4),
        ("auto_tsnet_m_no_attention", 256, "5.245", "5.252", 4),
        ("auto_tsnet_m", 256, "6.102", "6.109", 4),
        ("auto_tsnet_l_no_attention", 356, "18.173", "18.194", 9),
        ("auto_tsnet_l", 356, "19.815", "19.836", 9),
    ],
)
def test_30_view_crop(name: str, size: int, one_position: str, every_position: str, positions: int) -> None:
    spec = get_spec(name)
    clip = spec.clip.model_copy(update={"size": size})
    assert_printed(network_cost(spec, clip).macs / 1e9, one_position)
    every = network_cost(spec, clip, head="all")
    assert_printed(every.macs / 1e9, every_position)
    assert every.head_positions == positions


@pytest.mark.parametrize(
    ("name", "giga_macs"),
    [
        ("manual_tsnet_85", "1.730"),
        ("manual_tsnet_70", "1.418"),
        ("manual_tsnet_55", "1.102"),
        ("auto_tsnet_s", "1.392"),
    ],
)
def test_the_sparse_stream_alone(name: str, giga_macs: str) -> None:
    """With a head of its own; Auto-TSNet-S's without attention, which the paper adds later."""
    spec = get_spec(name if name.startswith("manual") else f"{name}_no_attention")
    alone = spec.alone(0)
    assert (len(alone.streams), alone.fusions) == (1, ())
    assert_printed(network_cost(alone).macs / 1e9, giga_macs)
    # The same stream on clips of its own four frames.
    itself = with_stream(alone.model_copy(update={"clip": alone.clip.resized("4x160")}), every=1)
    assert network_cost(itself).macs == network_cost(alone).macs


def test_auto_tsnet_lies_in_the_published_space() -> None:
    """Auto-TSNet Tables 1 and 2: (min, max, step) of channels, the same expansions and kernels everywhere."""
    ranges = {
        0: [(32, 48, 8)] * 2 + [(64, 88, 8)] * 2 + [(128, 176, 16)] * 4 + [(248, 344, 24)] * 3,
        1: [(8, 8, 1), (8, 16, 8)] + [(8, 24, 8)] * 2 + [(16, 32, 8)] * 4 + [(32, 56, 8)] * 3,
    }
    spec = get_spec("auto_tsnet_s")
    for s, (stream, stem) in enumerate(zip(spec.streams, (24, 8), strict=True)):
        assert stream.stem.channels == stem
        assert [group.depth for group in stream.groups] == [1, 2, 1, 4, 1, 3, 3, 4, 1, 3, 3]
        assert [group.stride for group in stream.groups] == [2, 1, 2, 1, 2, 1, 1, 1, 2, 1, 1]
        for group, (least, most, step) in zip(stream.groups, ranges[s], strict=True):
            assert group.channels in range(least, most + 1, step)
            assert group.expansion in [1.5 + 0.75 * i for i in range(7)]
            assert (group.kernel.t, group.kernel.s) in {(t, side) for t in (1, 3, 5) for side in (3, 5)}
    # "The final model chooses to insert two GloRe blocks to the sparse stream of stage 3."
    glores = [unit for unit in network_units(spec) if isinstance(unit, GloRePlan)]
    assert [(unit.stream, unit.group, unit.nodes, unit.states) for unit in glores] == [
        (0, 5, 216, 432),
        (0, 6, 216, 432),
    ]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("manual_tsnet_70_fusions_0", []),
        ("manual_tsnet_70", [1, 3, 5, 7, 10]),
        ("manual_tsnet_70_fusions_10", [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]),
    ],
)
def test_fusions_of_manual_tsnet_per_stage(name: str, groups: list[int]) -> None:
    """Table 7: none; 1, 1, 2, 1; 2, 2, 4, 2."""
    fusions = get_spec(name).fusions
    assert [fusion.group for fusion in fusions] == groups
    assert {fusion.kind for fusion in fusions} <= {"time_strided_convolution"}
    assert {(fusion.source, fusion.target) for fusion in fusions} <= {(1, 0)}


@pytest.mark.parametrize(
    ("units", "giga_macs", "mega_weights"),
    [
        ({3: (1,), 6: (1,)}, "2.370", "8.235"),
        ({3: (1, 2)}, "2.314", "7.935"),
        ({3: (1, 2), 6: (1, 2)}, "2.716", "8.730"),
    ],
    ids=["+1 +1", "+2", "+2 +2"],
)
def test_attention_in_the_sparse_stream_of_manual_tsnet(
    units: dict[int, tuple[int, ...]], giga_macs: str, mega_weights: str
) -> None:
    """Table 8, other readings than the zoo's."""
    spec = get_spec("manual_tsnet_70")
    groups = list(spec.streams[0].groups)
    for g, after in units.items():
        nodes = min(groups[g].channels * 3 // 2, 216)
        attention = GloReSpec(nodes=nodes, states=2 * nodes, after=after)
        groups[g] = groups[g].model_copy(update={"attention": attention})
    sparse = spec.streams[0].model_copy(update={"groups": tuple(groups)})
    cost = network_cost(spec.model_copy(update={"streams": (sparse, spec.streams[1])}))
    assert_printed(cost.macs / 1e9, giga_macs)
    assert_printed(cost.weights / 1e6, mega_weights)


def test_what_is_not_the_papers_says_so() -> None:
    noted = {name: note_on(get_spec(name)) for name in list_models()}
    for name in list_models():
        assert (noted[name] == "reconstruction") == ("reconstruction" in get_spec(name).name) == ("auto_ts" in name)
        assert name in get_spec(name).name
    assert noted["manual_tsnet_70_glore_4"] == "widths fitted"
    assert [noted[name] for name in ("x3d_s", "x3d_xxl", "autox3d_m")] == ["", "inferred", "attention sizes fitted"]
    # Of another network by the same name nothing is known.
    assert note_on(get_spec("autox3d_m").with_classes(5)) == ""


def expanded(frames: int, size: int, bottleneck: float, depth: float, width: float = 2.0) -> ArchSpec:
    clip = ClipSpec(frames=frames, size=size)
    return x3d("expanded", clip, bottleneck=bottleneck, depth_factor=depth, width_factor=width)


@pytest.mark.parametrize(
    ("spec", "giga_macs"),
    [
        (expanded(1, 112, 1.0, 1.0), ".0207"),
        (expanded(1, 112, 2.25, 1.0), ".0410"),
        (expanded(2, 112, 2.25, 1.0), ".0802"),
        (expanded(2, 160, 2.25, 1.0), ".1534"),
        (expanded(2, 160, 2.25, 2.2), ".3036"),
        (expanded(4, 160, 2.25, 2.2), ".6053"),
        (expanded(8, 160, 2.25, 2.2), "1.2087"),
        (expanded(16, 160, 2.25, 2.2), "2.4154"),
        (expanded(13, 160, 2.25, 2.2), "1.9629"),
        (expanded(16, 224, 2.25, 2.2), "4.7325"),
        (expanded(16, 312, 2.25, 2.2), "9.4516"),
        (expanded(16, 312, 2.25, 5.0), "18.368"),
        (expanded(16, 312, 2.25, 5.0, 2.9), "35.838"),
        (expanded(32, 312, 2.25, 5.0, 2.9), "71.673"),
        (expanded(32, 312, 2.25, 10.1, 2.9), "143.542"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_expansion_path(spec: ArchSpec, giga_macs: str) -> None:
    assert_printed(network_cost(spec).macs / 1e9, f"{float(giga_macs):.{len(giga_macs.partition('.')[2])}f}")


@pytest.mark.parametrize(
    ("spec", "mega_macs"),
    [
        (expanded(2, 112, 1.0, 1.0), "40.1"),
        (expanded(1, 160, 1.0, 1.0), "38.9"),
        (expanded(1, 112, 1.0, 2.5), "41.5"),
        (expanded(1, 112, 1.0, 2.2), "38.2"),
        (expanded(1, 112, 1.0, 1.0, 3.0), "44.1"),
        (expanded(1, 112, 1.0, 1.0, 4.0), "70.8"),
        (expanded(1, 112, 2.25, 1.0), "41.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_first_expansion_step_alternatives(spec: ArchSpec, mega_macs: str) -> None:
    assert_printed(network_cost(spec).macs / 1e6, mega_macs)


def test_ablation_without_squeeze_excitation() -> None:
    assert_printed(network_cost(with_stream(get_spec("x3d_s"), se=None)).weights / 1e6, "3.600")
    assert_printed(network_cost(with_stream(get_spec("x3d_xl"), se=None)).weights / 1e6, "10.366")


def test_ablation_without_swish_costs_the_same() -> None:
    spec = get_spec("x3d_s")
    assert network_cost(with_stream(spec, activation="relu")) == network_cost(spec)


def test_ablation_dense_convolutions() -> None:
    small, large = (network_cost(with_stream(get_spec(name), depthwise=False)) for name in ("x3d_s", "x3d_xl"))
    assert_printed(small.macs / 1e9, "44.3")
    assert_printed(small.weights / 1e6, "54.5")
    assert_printed(large.macs / 1e9, "934")
    assert_printed(large.weights / 1e6, "242")


@pytest.mark.parametrize(
    ("base", "giga_macs"),
    [
        (expanded(13, 160, 0.43, 2.2), "1.906"),
        (expanded(13, 160, 0.44, 2.2), "1.994"),
        (expanded(16, 312, 0.41, 5.0, 2.9), "35.571"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ablation_dense_convolutions_at_equal_cost(base: ArchSpec, giga_macs: str) -> None:
    assert_printed(network_cost(with_stream(base, depthwise=False)).macs / 1e9, giga_macs)


@pytest.mark.parametrize(
    ("units", "giga_macs"),
    [({0: 2}, "2.359"), ({1: 2}, "2.363"), ({2: 2}, "2.394"), ({2: 2, 3: 3}, "2.960")],
    ids=["2xS1", "2xS2", "2xS3", "2xS3+3xS4"],
)
def test_attention_placed_by_hand_in_x3d_s(units: dict[int, int], giga_macs: str) -> None:
    """AutoX3D Table 3. Where in a stage a unit stands does not matter to its cost: all blocks have one output size."""
    spec = get_spec("x3d_s")
    for places in ("first", "last"):
        groups = list(spec.streams[0].groups)
        for stage, count in units.items():
            group = groups[stage]
            start = 0 if places == "first" else group.depth - count
            nodes = min(group.channels * 3 // 2, 216)
            after = tuple(range(start + 1, start + count + 1))
            attention = GloReSpec(nodes=nodes, states=2 * nodes, after=after)
            groups[stage] = group.model_copy(update={"attention": attention})
        assert_printed(network_cost(with_stream(spec, groups=tuple(groups))).macs / 1e9, giga_macs)


def test_widths_and_depths_of_x3d() -> None:
    def shape(name: str) -> list[tuple[int, int, int]]:
        units = [unit for unit in network_units(get_spec(name)) if isinstance(unit, BlockPlan)]
        stages = sorted({unit.group for unit in units})
        last = {unit.group: unit for unit in units}
        return [(sum(u.group == g for u in units), last[g].out_channels, last[g].hidden) for g in stages]

    assert shape("x3d_s") == [(3, 24, 54), (5, 48, 108), (11, 96, 216), (7, 192, 432)]
    assert [depth for depth, _, _ in shape("x3d_l")] == [5, 10, 25, 15]
    assert [depth for depth, _, _ in shape("x3d_xxl")] == [11, 21, 51, 31]
    # Relative to 12, 24, 48, 96 with a factor of 2.9.
    assert [width for _, width, _ in shape("x3d_xl")] == [32, 72, 136, 280]


def test_blocks_of_autox3d() -> None:
    """The supplement's Table 2: SE runs on through a stage's groups; a unit of attention ends the fourth group."""
    units = list(network_units(get_spec("autox3d_s")))
    blocks = [unit for unit in units if isinstance(unit, BlockPlan)]
    stage = 0
    for index, block in enumerate(blocks):
        stage = index if block.stride == 2 else stage
        assert bool(block.se_channels) == ((index - stage) % 2 == 0)
        assert (block.shortcut == "identity") == (block.stride == 1 and block.in_channels == block.out_channels)
    # 24 x 2.25, then 16 x 5.25; 72 -> 88 inside a stage needs a projection.
    assert [block.hidden for block in blocks[:3]] == [54, 84, 84]
    assert [(b.in_channels, b.out_channels) for b in blocks if b.stride == 1 and b.shortcut != "identity"] == [
        (72, 88),
        (144, 192),
    ]
    (glore,) = (unit for unit in units if isinstance(unit, GloRePlan))
    assert (glore.path, glore.group) == ("streams.0.groups.3.glore3", 3)
    assert (glore.in_channels, glore.nodes, glore.states) == (48, 72, 144)
    large = [unit.path for unit in network_units(get_spec("autox3d_l")) if isinstance(unit, GloRePlan)]
    assert large == ["streams.0.groups.3.glore3", "streams.0.groups.3.glore6"]


@pytest.mark.parametrize(
    ("width", "factor", "rounded"),
    # 20 is half way (up); 54 / 16 = 3.4 is below the least; 11.5 -> 8 would lose more than a tenth, so 16.
    [(12, 2.0, 24), (10, 2.0, 24), (54, 0.0625, 8), (11.5, 1.0, 16), (432, 0.0625, 32), (96, 2.9, 280)],
)
def test_round_width(width: float, factor: float, rounded: int) -> None:
    assert round_width(width, factor) == rounded


def test_round_depth() -> None:
    assert [round_depth(depth, 2.2) for depth in (1, 2, 5, 3)] == [3, 5, 11, 7]


def test_names_and_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    spec = get_spec("autox3d_s")
    path.write_text(spec.to_json())
    assert resolve(str(path)) == spec == resolve("autox3d_s")
    with pytest.raises(VidnasError, match="no network called 'x3d_small'; did you mean x3d_s"):
        resolve("x3d_small")
    with pytest.raises(VidnasError, match=r"none.json: cannot read the architecture \(No such file"):
        resolve(str(path.with_name("none.json")))
