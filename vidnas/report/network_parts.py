"""What pictures of networks have in common: colours of kernels, stars of attention, heading and legend."""

import colorsys
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from vidnas.arch.cost import Cost
from vidnas.arch.plan import network_units
from vidnas.arch.spec import ArchSpec, ClipSpec, Kernel
from vidnas.arch.units import GloRePlan, NonLocalPlan, StreamUnit
from vidnas.report.picture import Item, Label, Path2D, Rect, text_width

INK, MUTED, FAINT = "#1f2430", "#5f6877", "#c3c9d4"
MARGIN = 28
GUTTER = 118  # left column with the names of the rows
HEADING_BOTTOM = 102
HUES = {1: (34, 0.46), 3: (211, 0.55), 5: (163, 0.38)}  # by the temporal side: degrees, lightness
OTHER_HUE = (286, 0.52)
DARKER = {1: 1.2, 3: 1.0, 5: 0.62, 7: 0.42}  # by the spatial side

# A mark of the legend, as if at (0, 0), and the words beside it.
Entry = tuple[Item | None, str]


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


def heading(spec: ArchSpec, cost: Cost) -> list[Label]:
    """Name, cost, clip."""
    return [
        Label(MARGIN, 44, spec.name, size=22, fill=INK, bold=True),
        Label(MARGIN, 66, str(cost).replace("params", "parameters"), size=13, fill=INK),
        Label(MARGIN, 84, _describe_clip(spec.clip), size=12, fill=MUTED),
    ]


def right_of(labels: Sequence[Label]) -> float:
    """How far to the right labels reach that start at the margin."""
    return MARGIN + max(text_width(label.text, label.size, label.bold) for label in labels)


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


def head_texts(spec: ArchSpec) -> list[str]:
    """What follows the last maps."""
    last = [f"fc {spec.head.num_classes} classes"] if spec.head.num_classes else []
    return ["average pool", f"fc {spec.head.hidden}", *last]


def attention_star(unit: StreamUnit, x: float, y: float, name: str) -> Path2D:
    """The star of a unit of attention; `name` starts what is shown when the pointer rests on it."""
    star = STARS[type(unit)]
    return _star(x, y, 10, star.fill, f"{name}: {star.name}, {star.size(unit)}")


def _star(x: float, y: float, radius: float, fill: str, hint: str = "") -> Path2D:
    points = [
        (x + r * math.sin(math.pi * k / 5), y - r * math.cos(math.pi * k / 5))
        for k, r in ((k, radius if k % 2 == 0 else 0.42 * radius) for k in range(10))
    ]
    return Path2D(points, stroke="#ffffff", fill=fill, width=1, hint=hint)


def kernel_entries(spec: ArchSpec) -> Iterator[Entry]:
    """The legend's entries on kernels."""
    groups = [group for stream in spec.streams for group in stream.groups]
    for kernel in sorted({group.kernel for group in groups}, key=lambda kernel: (kernel.t, kernel.s)):
        yield Rect(0, -11, 14, 14, kernel_colour(kernel), radius=3), f"kernel {kernel_text(kernel)}"


def star_entries(spec: ArchSpec) -> Iterator[Entry]:
    """The legend's entries on attention."""
    drawn = {type(unit) for unit in network_units(spec)}
    for kind, star in STARS.items():
        if kind in drawn:
            yield _star(8, -4, 9, star.fill), f"{star.name} attention"


def legend(entries: Sequence[Entry], y: float, right: float) -> tuple[list[Item], float]:
    """Marks and words, wrapped at the picture's right edge; also how far down they reach."""
    items: list[Item] = [Path2D([(MARGIN, y), (right, y)], stroke=FAINT)]
    x, y = float(MARGIN), y + 24
    for mark, text in entries:
        indent = 0 if mark is None else (mark.width + 6 if isinstance(mark, Rect) else 20)
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
