"""The picture of a network of several streams: a row for each, fusions between them (as in Auto-TSNet Fig. 3).

A box is a group: its height is the expansion, its colour the kernel, its number the channels that it gives; a star is
a unit of attention. An arrow goes from the stream that gives to the one that reads.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vidnas.arch.cost import format_macs, network_cost, unit_layers
from vidnas.arch.fusion import FusionKind
from vidnas.arch.plan import fusion_units, stream_units
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import BlockPlan, Conv5Plan, FusionPlan, StreamUnit, Unit
from vidnas.report.network_parts import (
    FAINT,
    GUTTER,
    HEADING_BOTTOM,
    INK,
    MARGIN,
    MUTED,
    Entry,
    attention_star,
    head_texts,
    heading,
    kernel_colour,
    kernel_entries,
    kernel_text,
    legend,
    right_of,
    star_entries,
)
from vidnas.report.picture import Item, Label, Path2D, Picture, Rect, text_width

UNIT = 13  # pixels per unit of expansion
BOX_WIDTH = 40
LEAST_HEIGHT = 18  # of a box, for its number
STAR_STEP, FUSION_STEP, GAP = 22, 48, 8
TEXT_HEIGHT = 44  # three lines under a box
BETWEEN_ROWS = 64  # where the fusions have their names
PILL_HEIGHT = 20


class FusionLook(NamedTuple):
    """How a kind of fusion is drawn: its name in the legend and on its arrow, its colour."""

    name: str
    short: str
    colour: str


FUSIONS: Mapping[FusionKind, FusionLook] = {
    "time_strided_convolution": FusionLook("time-strided convolution", "conv", "#8a4fbe"),
    "time_to_channel": FusionLook("time to channel", "T→C", "#b8502e"),
    "time_strided_sampling": FusionLook("time-strided sampling", "sample", "#3f7d4e"),
}


@dataclass(frozen=True)
class _Group:
    """A group as a box: its blocks, attention between and behind them, and expansion."""

    blocks: tuple[BlockPlan, ...]
    attention: tuple[StreamUnit, ...]
    expansion: float

    @property
    def height(self) -> float:
        return max(UNIT * self.expansion, LEAST_HEIGHT)


@dataclass(frozen=True)
class _Row:
    """A stream: its groups, conv5, multiply-adds without fusions, and where its middle line is."""

    groups: tuple[_Group, ...]
    conv5: Conv5Plan
    macs: int
    height: float
    middle: float


def draw_streams(spec: ArchSpec) -> Picture:
    """Lay a network of several streams out as a picture, the same for equal specs."""
    cost = network_cost(spec)
    top = heading(spec, cost)
    rows = _rows(spec)
    fusions = fusion_units(spec)
    edges = _columns(rows, fusions)
    items: list[Item] = []
    for s, row in enumerate(rows):
        items.append(Path2D([(edges[0] - 16, row.middle), (edges[-1], row.middle)], stroke=FAINT, width=1.5))
        items += _row_name(spec, s, row, f"{100 * row.macs / cost.macs:.0f}% of MACs")
        for group, left in zip(row.groups, edges, strict=False):
            items += _group(group, left, row)
    items += _fusions(spec, fusions, rows, edges)
    ends, right = _ends(spec, rows, edges[-1])
    items += ends
    right = max(right, right_of(top))
    bottom = rows[-1].middle + rows[-1].height / 2 + TEXT_HEIGHT
    explained, bottom = legend(_entries(spec), bottom + 24, right)
    return Picture(
        width=math.ceil(right + MARGIN),
        height=math.ceil(bottom + 24),
        title=f"Architecture of {spec.name}: {cost}",
        items=(*top, *items, *explained),
    )


def _rows(spec: ArchSpec) -> list[_Row]:
    rows: list[_Row] = []
    y = HEADING_BOTTOM + 24.0
    for s, stream in enumerate(spec.streams):
        units = [*stream_units(spec, s)]
        groups = []
        for g, group in enumerate(stream.groups):
            own = [unit for unit in units if unit.group == g]
            blocks = tuple(unit for unit in own if isinstance(unit, BlockPlan))
            attention = tuple(unit for unit in own if not isinstance(unit, BlockPlan))
            groups.append(_Group(blocks, attention, group.expansion))
        height = max(group.height for group in groups)
        conv5 = units[-1]
        assert isinstance(conv5, Conv5Plan)
        rows.append(_Row(tuple(groups), conv5, sum(map(_macs, units)), height, y + height / 2))
        y += height + TEXT_HEIGHT + BETWEEN_ROWS
    return rows


def _macs(unit: Unit) -> int:
    return sum(layer.macs for layer in unit_layers(unit))


def _columns(rows: Sequence[_Row], fusions: Sequence[FusionPlan]) -> list[float]:
    """Left edges of the columns of groups, and where they end: groups of one index stand above each other."""
    edges = [float(MARGIN + GUTTER + 16)]
    for g in range(max(len(row.groups) for row in rows)):
        here = [row.groups[g] for row in rows if g < len(row.groups)]
        stars = max(len(group.attention) for group in here)
        arrows = sum(fusion.group == g for fusion in fusions)
        # Texts are centred under a box, so they may stick out on both sides.
        texts = max(text_width(text, 10) for group in here for text in _texts(group)) - BOX_WIDTH
        behind = GAP + max(STAR_STEP * stars + FUSION_STEP * arrows, texts)
        edges.append(edges[-1] + BOX_WIDTH + behind)
    return edges


def _texts(group: _Group) -> tuple[str, str, str]:
    block = group.blocks[0]
    return f"×{len(group.blocks)}", f"e {group.expansion:g}", kernel_text(block.kernel)


def _group(group: _Group, left: float, row: _Row) -> Iterator[Item]:
    first = group.blocks[0]
    middle, bottom = left + BOX_WIDTH / 2, row.middle + row.height / 2
    cost = format_macs(sum(map(_macs, group.blocks)))
    fused = f" and {first.fused_channels} fused" if first.fused_channels else ""
    hint = (
        f"{first.path.rpartition('.')[0]}: {first.in_channels - first.fused_channels}{fused} → {first.out_channels} "
        f"channels, {len(group.blocks)} blocks, kernel {kernel_text(first.kernel)}, stride {first.stride}, {cost}"
    )
    top = row.middle - group.height / 2
    yield Rect(left, top, BOX_WIDTH, group.height, kernel_colour(first.kernel), "#ffffff", 4, hint)
    channels = str(first.out_channels)
    size = min(12.0, 12 * (BOX_WIDTH - 4) / text_width(channels, 12, bold=True))
    yield Label(middle, row.middle + 4, channels, size, "#ffffff", "middle", bold=True)
    if first.stride == 2:
        yield Label(middle, top - 5, "↓2", 11, INK, "middle", bold=True)
    for line, text in enumerate(_texts(group)):
        bold = line == 0
        yield Label(middle, bottom + 14 + 12 * line, text, 10, INK if bold else MUTED, "middle", bold)
    for number, unit in enumerate(group.attention):
        yield attention_star(unit, left + BOX_WIDTH + 12 + STAR_STEP * number, row.middle, unit.path)


def _fusions(
    spec: ArchSpec, fusions: Sequence[FusionPlan], rows: Sequence[_Row], edges: Sequence[float]
) -> Iterator[Item]:
    """An arrow behind each group that gives to another stream, its kind in the middle."""
    right_edges = dict(enumerate(edges[1:]))
    for fusion, asked in zip(fusions, spec.fusions, strict=True):
        assert fusion.group is not None
        x = right_edges[fusion.group] - FUSION_STEP / 2
        right_edges[fusion.group] -= FUSION_STEP
        look = FUSIONS[fusion.kind]
        start, end = rows[fusion.stream].middle, rows[fusion.target].middle
        towards = math.copysign(1, end - start)
        cost = f", {format_macs(_macs(fusion))}" if _macs(fusion) else ""
        hint = (
            f"{fusion.path}: {look.name}, {fusion.in_channels} → {fusion.out_channels} channels, {fusion.ratio} frames "
            f"to 1, {asked.combination}{cost}"
        )
        yield Path2D([(x, start), (x, end - 7 * towards)], stroke=look.colour, width=2)
        head = [(x, end), (x - 5, end - 9 * towards), (x + 5, end - 9 * towards)]
        yield Path2D(head, stroke=look.colour, fill=look.colour)
        text = look.short if asked.combination == "concat" else f"+ {look.short}"
        width = text_width(text, 10, bold=True) + 8
        # Between the rows: under the upper one's texts.
        upper = min(rows[fusion.stream], rows[fusion.target], key=lambda row: row.middle)
        y = upper.middle + upper.height / 2 + TEXT_HEIGHT + BETWEEN_ROWS / 2 - PILL_HEIGHT
        yield Rect(x - width / 2, y, width, PILL_HEIGHT, look.colour, "#ffffff", 6, hint)
        yield Label(x, y + 14, text, 10, "#ffffff", "middle", bold=True)


def _row_name(spec: ArchSpec, index: int, row: _Row, share: str) -> Iterator[Label]:
    stream = spec.streams[index]
    frames = f"{spec.clip.frames // stream.every} of {spec.clip.frames} frames"
    stem = f"stem {stream.stem.kernel.t}×{stream.stem.kernel.s}², {stream.stem.channels}"
    for line, text in enumerate((f"stream {index}", frames, stem, share)):
        yield Label(
            MARGIN,
            row.middle - 20 + 16 * line,
            text,
            12 if line == 0 else 11,
            INK if line == 0 else MUTED,
            bold=line == 0,
        )


def _ends(spec: ArchSpec, rows: Sequence[_Row], left: float) -> tuple[list[Item], float]:
    """conv5 of each stream, and the head that joins them; also how far to the right they reach."""
    items: list[Item] = []
    texts = [f"conv 1×1², {row.conv5.out_channels}" for row in rows]
    width = max(text_width(text, 11) for text in texts) + 18
    for row, text in zip(rows, texts, strict=True):
        items.append(Rect(left, row.middle - 13, width, 26, "#eef1f6", FAINT, 13))
        items.append(Label(left + width / 2, row.middle + 4, text, 11, INK, "middle"))
    x = left + width
    joint = x + 14
    middle = (rows[0].middle + rows[-1].middle) / 2
    for row in rows:
        items.append(Path2D([(x, row.middle), (joint, row.middle), (joint, middle)], stroke=FAINT, width=1.5))
    pool, *others = head_texts(spec)
    lines = [pool, "concat", *others]
    width = max(text_width(text, 11) for text in lines) + 18
    height = 17 * len(lines) + 10
    items.append(Path2D([(joint, middle), (joint + 14, middle)], stroke=FAINT, width=1.5))
    items.append(Rect(joint + 14, middle - height / 2, width, height, "#eef1f6", FAINT, 10))
    for line, text in enumerate(lines):
        items.append(Label(joint + 14 + width / 2, middle - height / 2 + 19 + 17 * line, text, 11, INK, "middle"))
    return items, joint + 14 + width


def _entries(spec: ArchSpec) -> list[Entry]:
    kinds = {fusion.kind for fusion in spec.fusions}
    arrows = [
        (Rect(0, -11, 14, 14, look.colour, radius=6), look.name) for kind, look in FUSIONS.items() if kind in kinds
    ]
    return [
        *kernel_entries(spec),
        (Rect(0, -11, 10, UNIT, FAINT, radius=2), "height: expansion e (shown: 1)"),
        (None, "number: channels"),
        (None, "×n: blocks in the group"),
        (None, "↓2: halves the side"),
        *star_entries(spec),
        *arrows,
    ]
