"""The picture of a network: blocks in order, one row per stage (in the manner of AutoX3D Fig. 5).

The width of a block is its expansion, its colour the kernel, its number the channels that it gives; a star is an
attention unit. A bracket under each group tells depth, expansion and kernel; long runs of equal blocks are folded.
Networks of several streams are drawn otherwise: `vidnas.report.draw_streams`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from vidnas.arch.cost import format_macs, network_cost, unit_layers
from vidnas.arch.plan import stream_units
from vidnas.arch.spec import ArchSpec, ClipSpec, StreamSpec
from vidnas.arch.units import BlockPlan, StreamUnit
from vidnas.report.draw_streams import draw_streams
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

RIGHT_EDGE = 1140  # runs of equal blocks are folded until every row ends before this
UNIT = 12  # pixels per unit of expansion
BLOCK_HEIGHT = 46
STAGE_HEIGHT = 134
ENDS_HEIGHT = 58
# A run longer than this is folded; the first that makes every row fit.
FOLDS = (math.inf, 6, 3, 1)
FOLDED_STEP = 6  # pixels that each block of a folded run shows of itself


@dataclass(frozen=True)
class Run:
    """Equal blocks in a row, each with its multiply-adds, then perhaps another unit."""

    blocks: tuple[BlockPlan, ...]
    macs: tuple[int, ...]
    expansion: float
    behind: StreamUnit | None


@dataclass(frozen=True)
class Stage:
    """The groups from one stride-2 group to the next, as runs; `size` is the side of its maps."""

    size: int
    macs: int
    groups: tuple[tuple[Run, ...], ...]


@dataclass
class _Row:
    """Items of one row and how far to the right they reach."""

    x: float
    items: list[Item] = field(default_factory=list)


def draw(spec: ArchSpec) -> Picture:
    """Lay a network out as a picture, the same for equal specs."""
    return draw_streams(spec) if len(spec.streams) > 1 else _draw_stages(spec)


def _draw_stages(spec: ArchSpec) -> Picture:
    cost = network_cost(spec)
    top = heading(spec, cost)
    (stream,) = spec.streams
    y = float(HEADING_BOTTOM)
    row = _pills(y, "input", _stem_texts(spec.clip, stream))
    items = [*row.items]
    right = max(right_of(top), row.x)
    y += ENDS_HEIGHT
    stages = _stages(spec)
    fold = next((fold for fold in FOLDS if _widest(stages, fold) <= RIGHT_EDGE), FOLDS[-1])
    for number, stage in enumerate(stages, start=1):
        row = _stage_row(stage, fold, y)
        size = f"{spec.clip.frames // stream.every}×{stage.size}×{stage.size}"
        items += _row_name(y + 36, f"stage {number}", size, f"{100 * stage.macs / cost.macs:.0f}% of MACs")
        items += row.items
        right = max(right, row.x)
        y += STAGE_HEIGHT
    row = _pills(y, "head", [f"conv 1×1², {stream.conv5}", *head_texts(spec)])
    right = max(right, row.x, MARGIN + GUTTER + 560)
    explained, bottom = legend(_legend_entries(spec), y + ENDS_HEIGHT + 8, right)
    return Picture(
        width=math.ceil(right + MARGIN),
        height=math.ceil(bottom + 24),
        title=f"Architecture of {spec.name}: {cost}",
        items=(*top, *items, *row.items, *explained),
    )


def _legend_entries(spec: ArchSpec) -> list[Entry]:
    return [
        *kernel_entries(spec),
        (Rect(0, -9, UNIT * 2, 10, FAINT, radius=2), "width: expansion e (shown: 2)"),
        (None, "number: channels"),
        (None, "×n: blocks in the group"),
        (None, "↓2: halves the side"),
        *star_entries(spec),
    ]


def _stages(spec: ArchSpec) -> list[Stage]:
    [stream] = spec.streams
    inner = (unit for unit in stream_units(spec, 0) if unit.group is not None)
    stages: list[Stage] = []
    for group, (_, of_group) in zip(stream.groups, groupby(inner, key=lambda unit: unit.group), strict=True):
        units = list(of_group)
        runs = tuple(_runs(units, group.expansion))
        cost = sum(map(_macs, units))
        if group.stride == 2 or not stages:
            stages.append(Stage(units[-1].out_side, cost, (runs,)))
        else:
            stages[-1] = replace(stages[-1], macs=stages[-1].macs + cost, groups=(*stages[-1].groups, runs))
    return stages


def _macs(unit: StreamUnit) -> int:
    return sum(layer.macs for layer in unit_layers(unit))


def _runs(units: Sequence[StreamUnit], expansion: float) -> Iterator[Run]:
    """Split a group behind any other unit and where the shape changes; squeeze-excitation parts no run."""
    run: list[BlockPlan] = []

    def close(behind: StreamUnit | None = None) -> Run:
        closed = Run(tuple(run), tuple(map(_macs, run)), expansion, behind)
        run.clear()
        return closed

    for unit in units:
        if not isinstance(unit, BlockPlan):
            yield close(unit)
            continue
        if run and (run[-1].in_channels, run[-1].stride) != (unit.in_channels, unit.stride):
            yield close()
        run.append(unit)
    if run:
        yield close()


def _widest(stages: Sequence[Stage], fold: float) -> float:
    return max(_stage_row(stage, fold, 0).x for stage in stages)


def _stage_row(stage: Stage, fold: float, y: float) -> _Row:
    row = _Row(MARGIN + GUTTER)
    top = y + 22
    for runs in stage.groups:
        left = row.x
        for run in runs:
            _draw_run(row, run, fold, top)
        block, depth = runs[0].blocks[0], sum(len(run.blocks) for run in runs)
        texts = (f"×{depth}", f"e {runs[0].expansion:g}", kernel_text(block.kernel))
        row.items += _bracket(left, row.x - 4, top + BLOCK_HEIGHT + 8, texts)
        row.x = max(row.x, left + max(text_width(text, 10) for text in texts)) + 12
    row.x -= 16
    middle = top + BLOCK_HEIGHT / 2
    flow = Path2D([(MARGIN + GUTTER - 10, middle), (row.x + 10, middle)], stroke=FAINT, width=1.5)
    row.items.insert(0, flow)
    return row


def _draw_run(row: _Row, run: Run, fold: float, top: float) -> None:
    width = max(UNIT * run.expansion, UNIT)
    times = len(run.blocks) if len(run.blocks) > fold else 1
    for block, macs in list(zip(run.blocks, run.macs, strict=True))[::times]:
        colour = kernel_colour(block.kernel)
        # A folded run is a fanned deck: the first block in front, of the others an edge each.
        for card in range(times - 1, -1, -1):
            x = row.x + FOLDED_STEP * card
            hint = _hint(block, macs, times) if card == 0 else ""
            row.items.append(Rect(x, top, width, BLOCK_HEIGHT, colour, "#ffffff", 4, hint))
        row.items += _block_text(row.x + width / 2, top + BLOCK_HEIGHT / 2, width, block, times)
        if block.stride == 2:
            row.items.append(Label(row.x + width / 2, top - 6, "↓2", 11, INK, "middle", bold=True))
        row.x += width + FOLDED_STEP * (times - 1) + 4
    if run.behind:
        row.items.append(attention_star(run.behind, row.x + 9, top + BLOCK_HEIGHT / 2, _name(run.behind)))
        row.x += 22


def _block_text(x: float, y: float, width: float, block: BlockPlan, times: int) -> Iterator[Label]:
    channels, repeated = str(block.out_channels), f"×{times}"
    size = 11.0 if text_width(channels, 11, bold=True) <= width - 4 else 9.5
    if text_width(channels, size, bold=True) <= width - 2:
        yield Label(x, y + (-2 if times > 1 else 4), channels, size, "#ffffff", "middle", bold=True)
        if times > 1 and text_width(repeated, 9.5) <= width:
            yield Label(x, y + 13, repeated, 9.5, "#ffffff", "middle")
    else:
        yield Label(x + 4, y, channels, 11, "#ffffff", "middle", bold=True, turned=True)


def _hint(block: BlockPlan, macs: int, times: int) -> str:
    squeeze = f", squeeze-excitation {block.se_channels}" if block.se_channels else ""
    folded = f" and {times - 1} more like it" if times > 1 else ""
    return (
        f"{_name(block)}{folded}: {block.in_channels} → {block.hidden} → {block.out_channels} channels, kernel "
        f"{kernel_text(block.kernel)}, stride {block.stride}{squeeze}, {format_macs(macs)}"
    )


def _name(unit: StreamUnit) -> str:
    """Its path in its stream."""
    return unit.path.removeprefix(f"streams.{unit.stream}.")


def _bracket(left: float, right: float, y: float, texts: Sequence[str]) -> Iterator[Item]:
    yield Path2D([(left, y - 4), (left, y), (right, y), (right, y - 4)], stroke=MUTED, width=1)
    for line, text in enumerate(texts):
        bold = line == 0
        # Text wider than its bracket starts with it, so that it never runs into the group before.
        wide = text_width(text, 10, bold) > right - left
        x, anchor = (left, "start") if wide else ((left + right) / 2, "middle")
        yield Label(x, y + 14 + 12 * line, text, 10, INK if bold else MUTED, anchor, bold)  # type: ignore[arg-type]


def _row_name(y: float, name: str, size: str, share: str) -> Iterator[Label]:
    yield Label(MARGIN, y, name, 12, INK, bold=True)
    yield Label(MARGIN, y + 16, size, 11.5, MUTED)
    yield Label(MARGIN, y + 32, share, 11, MUTED)


def _stem_texts(clip: ClipSpec, stream: StreamSpec) -> list[str]:
    kernel = stream.stem.kernel
    return [
        f"{clip.frames // stream.every}×{clip.size}×{clip.size}",
        f"conv 1×{kernel.s}², {stream.stem.channels}  ↓2",
        f"depthwise {kernel.t}×1², {stream.stem.channels}",
    ]


def _pills(y: float, name: str, texts: Sequence[str]) -> _Row:
    row = _Row(MARGIN + GUTTER)
    row.items.append(Label(MARGIN, y + 24, name, 12, INK, bold=True))
    for number, text in enumerate(texts):
        if number:
            row.items.append(Path2D([(row.x, y + 20), (row.x + 16, y + 20)], stroke=FAINT, width=1.5))
            row.x += 16
        width = text_width(text, 11.5) + 22
        row.items.append(Rect(row.x, y + 6, width, 28, "#eef1f6", FAINT, 14))
        row.items.append(Label(row.x + width / 2, y + 24, text, 11.5, INK, "middle"))
        row.x += width
    return row
