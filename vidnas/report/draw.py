"""The picture of a network: blocks in order, one row per stage (in the manner of AutoX3D Fig. 5).

The width of a block is its expansion, its colour the kernel, its number the channels that it gives; a star is an
attention unit. A bracket under each group tells depth, expansion and kernel; long runs of equal blocks are folded.
"""

import colorsys
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

from vidnas.arch.cost import format_macs, network_cost, unit_layers
from vidnas.arch.plan import network_units, stream_units
from vidnas.arch.spec import ArchSpec, ClipSpec, Kernel, StreamSpec
from vidnas.arch.units import BlockPlan, GloRePlan, NonLocalPlan, StreamUnit
from vidnas.report.picture import Item, Label, Path2D, Picture, Rect, text_width

INK, MUTED, FAINT = "#1f2430", "#5f6877", "#c3c9d4"
MARGIN = 28
GUTTER = 118  # left column with the names of the rows
RIGHT_EDGE = 1140  # runs of equal blocks are folded until every row ends before this
UNIT = 12  # pixels per unit of expansion
BLOCK_HEIGHT = 46
STAGE_HEIGHT = 134
ENDS_HEIGHT = 58
# A run longer than this is folded; the first that makes every row fit.
FOLDS = (math.inf, 6, 3, 1)
FOLDED_STEP = 6  # pixels that each block of a folded run shows of itself
HUES = {1: (34, 0.46), 3: (211, 0.55), 5: (163, 0.38)}  # by the temporal side: degrees, lightness
OTHER_HUE = (286, 0.52)
DARKER = {1: 1.2, 3: 1.0, 5: 0.62, 7: 0.42}  # by the spatial side


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
    cost = network_cost(spec)
    heading = [
        Label(MARGIN, 44, spec.name, size=22, fill=INK, bold=True),
        Label(MARGIN, 66, str(cost).replace("params", "parameters"), size=13, fill=INK),
        Label(MARGIN, 84, _describe_clip(spec.clip), size=12, fill=MUTED),
    ]
    items: list[Item] = []
    right = MARGIN + max(text_width(label.text, label.size, label.bold) for label in heading)
    y = 102.0
    for index, stream in enumerate(spec.streams):
        row = _pills(y, "input", _stem_texts(spec.clip, stream))
        items += row.items
        right = max(right, row.x)
        y += ENDS_HEIGHT
        stages = _stages(spec, index)
        fold = next((fold for fold in FOLDS if _widest(stages, fold) <= RIGHT_EDGE), FOLDS[-1])
        for number, stage in enumerate(stages, start=1):
            row = _stage_row(stage, fold, y)
            size = f"{spec.clip.frames}×{stage.size}×{stage.size}"
            items += _row_name(y + 36, f"stage {number}", size, f"{100 * stage.macs / cost.macs:.0f}% of MACs")
            items += row.items
            right = max(right, row.x)
            y += STAGE_HEIGHT
    row = _pills(y, "head", _head_texts(spec))
    right = max(right, row.x, MARGIN + GUTTER + 560)
    legend, bottom = _legend(spec, y + ENDS_HEIGHT + 8, right)
    return Picture(
        width=math.ceil(right + MARGIN),
        height=math.ceil(bottom + 24),
        title=f"Architecture of {spec.name}: {cost}",
        items=(*heading, *items, *row.items, *legend),
    )


def kernel_colour(kernel: Kernel) -> str:
    """Hue tells the temporal side, darkness the spatial one."""
    hue, lightness = HUES.get(kernel.t, OTHER_HUE)
    channels = colorsys.hls_to_rgb(hue / 360, lightness * DARKER.get(kernel.s, 0.3), 0.58)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def kernel_text(kernel: Kernel) -> str:
    """`3×5²`, as the papers write it."""
    return f"{kernel.t}×{kernel.s}²"


def _describe_clip(clip: ClipSpec) -> str:
    plural = "frames" if clip.frames > 1 else "frame"
    if clip.sampling == "uniform":
        return f"{clip.frames} {plural} spread over the whole video, crop {clip.size}"
    return (
        f"{clip.frames} {plural}, {clip.stride:g} apart at {clip.fps:g} fps ({clip.span_sec:.2g} s), crop {clip.size}"
    )


def _stages(spec: ArchSpec, index: int) -> list[Stage]:
    groups = spec.streams[index].groups
    inner = (unit for unit in stream_units(spec.streams[index], index, spec.clip) if unit.group is not None)
    stages: list[Stage] = []
    for group, (_, of_group) in zip(groups, groupby(inner, key=lambda unit: unit.group), strict=True):
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
        star = STARS[type(run.behind)]
        hint = f"{_name(run.behind)}: {star.name}, {star.size(run.behind)}"
        row.items.append(_star(row.x + 9, top + BLOCK_HEIGHT / 2, 10, star.fill, hint))
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


class Star(NamedTuple):
    """How a kind of attention is drawn.

    Attributes:
        name: its name in the legend.
        fill: its colour.
        size: words on the sizes of a unit.
    """

    name: str
    fill: str
    size: Callable[[Any], str]


STARS: Mapping[type[StreamUnit], Star] = {
    GloRePlan: Star("GloRe", "#e0a100", lambda unit: f"{unit.nodes} nodes with {unit.states} states"),
    NonLocalPlan: Star("non-local", "#c8385a", lambda unit: f"{unit.inner} inner channels"),
}


def _bracket(left: float, right: float, y: float, texts: Sequence[str]) -> Iterator[Item]:
    yield Path2D([(left, y - 4), (left, y), (right, y), (right, y - 4)], stroke=MUTED, width=1)
    for line, text in enumerate(texts):
        bold = line == 0
        # Text wider than its bracket starts with it, so that it never runs into the group before.
        wide = text_width(text, 10, bold) > right - left
        x, anchor = (left, "start") if wide else ((left + right) / 2, "middle")
        yield Label(x, y + 14 + 12 * line, text, 10, INK if bold else MUTED, anchor, bold)  # type: ignore[arg-type]


def _star(x: float, y: float, radius: float, fill: str, hint: str = "") -> Path2D:
    points = [
        (x + r * math.sin(math.pi * k / 5), y - r * math.cos(math.pi * k / 5))
        for k, r in ((k, radius if k % 2 == 0 else 0.42 * radius) for k in range(10))
    ]
    return Path2D(points, stroke="#ffffff", fill=fill, width=1, hint=hint)


def _row_name(y: float, name: str, size: str, share: str) -> Iterator[Label]:
    yield Label(MARGIN, y, name, 12, INK, bold=True)
    yield Label(MARGIN, y + 16, size, 11.5, MUTED)
    yield Label(MARGIN, y + 32, share, 11, MUTED)


def _stem_texts(clip: ClipSpec, stream: StreamSpec) -> list[str]:
    kernel = stream.stem.kernel
    return [
        f"{clip.frames}×{clip.size}×{clip.size}",
        f"conv 1×{kernel.s}², {stream.stem.channels}  ↓2",
        f"depthwise {kernel.t}×1², {stream.stem.channels}",
    ]


def _head_texts(spec: ArchSpec) -> list[str]:
    convs = [f"conv 1×1², {stream.conv5}" for stream in spec.streams]
    last = [f"fc {spec.head.num_classes} classes"] if spec.head.num_classes else []
    return [*convs, "average pool", f"fc {spec.head.hidden}", *last]


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


def _legend(spec: ArchSpec, y: float, right: float) -> tuple[list[Item], float]:
    """Swatches and words, wrapped at the picture's right edge; also how far down they reach."""
    groups = [group for stream in spec.streams for group in stream.groups]
    kernels = sorted({group.kernel for group in groups}, key=lambda kernel: (kernel.t, kernel.s))
    entries: list[tuple[Item | None, str]] = [
        (Rect(0, -11, 14, 14, kernel_colour(kernel), radius=3), f"kernel {kernel_text(kernel)}") for kernel in kernels
    ]
    entries.append((Rect(0, -9, UNIT * 2, 10, FAINT, radius=2), "width: expansion e (shown: 2)"))
    entries.append((None, "number: channels"))
    entries.append((None, "×n: blocks in the group"))
    entries.append((None, "↓2: halves the side"))
    drawn = {type(unit) for unit in network_units(spec)}
    stars = (star for kind, star in STARS.items() if kind in drawn)
    entries += [(_star(8, -4, 9, star.fill), f"{star.name} attention") for star in stars]
    items: list[Item] = [Path2D([(MARGIN, y), (right, y)], stroke=FAINT)]
    x, y = float(MARGIN), y + 24
    for mark, text in entries:
        indent = 0 if mark is None else (UNIT * 2 + 6 if isinstance(mark, Rect) and mark.width > 14 else 20)
        width = indent + text_width(text, 11.5) + 20
        if x + width > right and x > MARGIN:
            x, y = float(MARGIN), y + 22
        if mark is not None:
            items.append(_shifted(mark, x, y))
        items.append(Label(x + indent, y, text, 11.5, MUTED))
        x += width
    return items, y


def _shifted(item: Item, dx: float, dy: float) -> Item:
    if isinstance(item, Path2D):
        return replace(item, points=[(x + dx, y + dy) for x, y in item.points])
    return replace(item, x=item.x + dx, y=item.y + dy)
