"""A picture as plain data (rectangles, lines, polygons, labels) and its two renderers, SVG and PNG.

The SVG is written directly, so that it is small, the same on every machine, and needs no plotting library.
"""

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidnas.base.files import ANOTHER_PLACE, replace_file

FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
# Widths of characters in units of the font size, between Arial's and DejaVu Sans'.
NARROW, WIDE = frozenset(" .,:;'|!()[]fijlrtI"), frozenset("mwMW@%→")
PNG_SCALE = 2

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rect:
    """A filled rectangle, corners rounded by `radius`; `hint` shows when the pointer rests on it."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str = "none"
    radius: float = 0
    hint: str = ""
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Path2D:
    """A polyline, or a polygon when `fill` is given."""

    points: Sequence[Point]
    stroke: str = "none"
    fill: str = "none"
    width: float = 1.0
    dashed: bool = False
    hint: str = ""
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Dot:
    """A filled circle around (x, y)."""

    x: float
    y: float
    radius: float
    fill: str
    stroke: str = "none"
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """One line of text; y is the baseline; `turned` writes it upwards."""

    x: float
    y: float
    text: str
    size: float = 11
    fill: str = "#1f2430"
    anchor: Anchor = "start"
    bold: bool = False
    turned: bool = False


Item = Rect | Path2D | Dot | Label


@dataclass(frozen=True, slots=True)
class Picture:
    """Items in painting order on a white ground; sizes in pixels; `title` is for those who cannot see it."""

    width: float
    height: float
    title: str
    items: tuple[Item, ...]


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An estimate of the width of a text in pixels, without any font."""
    widths = (0.34 if c in NARROW else 0.9 if c in WIDE else 0.68 if c.isupper() else 0.59 for c in text)
    return sum(widths) * size * (1.08 if bold else 1.0)


def to_svg(picture: Picture) -> str:
    """The picture as one SVG element, which stands alone in a file or inside a page."""
    width, height = _number(picture.width), _number(picture.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{clean(picture.title)}" font-family="{FONT}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *(_svg_item(item) for item in picture.items),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def to_png(picture: Picture) -> bytes:
    """The picture as a PNG file at twice its size; the only part that needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(picture.width / 100, picture.height / 100), dpi=100 * PNG_SCALE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.set_axis_off()
    for order, item in enumerate(picture.items):
        _draw_item(axes, item, order)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def write(path: Path, content: bytes | str) -> None:
    """Write a finished picture or page, whole or not at all.

    Raises:
        VidnasError: the folder is missing, the disk full, or the place forbidden.
    """
    # What a link leads to is replaced, not the link.
    replace_file(path.resolve() if path.is_file() else path, content, mend=ANOTHER_PLACE)


def clean(text: str) -> str:
    """Text for XML and HTML: markup escaped, characters that XML forbids replaced."""
    return html.escape(_printable(text))


def _printable(text: str) -> str:
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _svg_item(item: Item) -> str:
    match item:
        case Rect():
            shape = (
                f'<rect x="{_number(item.x)}" y="{_number(item.y)}" width="{_number(item.width)}" '
                f'height="{_number(item.height)}"{_attributes(rx=item.radius)} fill="{item.fill}"'
                f"{_attributes(stroke=item.stroke, opacity=item.opacity)}"
            )
        case Path2D():
            kind = "polyline" if item.fill == "none" else "polygon"
            points = " ".join(f"{_number(x)},{_number(y)}" for x, y in item.points)
            dashes = "4 3" if item.dashed else "none"
            shape = f'<{kind} points="{points}" fill="{item.fill}"' + _attributes(
                stroke=item.stroke, stroke_width=item.width, stroke_dasharray=dashes, opacity=item.opacity
            )
            if kind == "polyline":
                shape += ' stroke-linejoin="round"'
        case Dot():
            shape = (
                f'<circle cx="{_number(item.x)}" cy="{_number(item.y)}" r="{_number(item.radius)}" '
                f'fill="{item.fill}"{_attributes(stroke=item.stroke)}'
            )
        case Label():
            weight = ' font-weight="600"' if item.bold else ""
            anchor = f' text-anchor="{item.anchor}"' if item.anchor != "start" else ""
            x, y = _number(item.x), _number(item.y)
            turn = f' transform="rotate(-90 {x} {y})"' if item.turned else ""
            return (
                f'<text x="{x}" y="{y}" font-size="{_number(item.size)}" fill="{item.fill}"'
                f"{weight}{anchor}{turn}>{clean(item.text)}</text>"
            )
    if item.hint:
        return f"{shape}><title>{clean(item.hint)}</title></{shape[1:].split(' ')[0]}>"
    return shape + "/>"


def _attributes(**values: str | float) -> str:
    """Attributes that differ from SVG's defaults."""
    defaults = {"rx": 0, "stroke": "none", "stroke_width": 1.0, "stroke_dasharray": "none", "opacity": 1.0}
    return "".join(
        f' {name.replace("_", "-")}="{_number(value) if not isinstance(value, str) else value}"'
        for name, value in values.items()
        if value != defaults[name]
    )


def _number(value: float) -> str:
    return f"{round(value, 2):g}" if abs(value) < 1e5 else f"{value:.0f}"


def _draw_item(axes: Any, item: Item, order: int) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch, Polygon

    match item:
        case Rect():
            # FancyBboxPatch adds the rounding outside of its box.
            r = min(item.radius, item.width / 2, item.height / 2)
            axes.add_patch(
                FancyBboxPatch(
                    (item.x + r, item.y + r),
                    item.width - 2 * r,
                    item.height - 2 * r,
                    boxstyle=f"round,pad={r},rounding_size={r}" if r else "square,pad=0",
                    facecolor=item.fill,
                    edgecolor=item.stroke,
                    linewidth=_points(1),
                    alpha=item.opacity,
                    zorder=order,
                )
            )
        case Path2D() if item.fill == "none":
            x, y = zip(*item.points, strict=True)
            axes.plot(
                x,
                y,
                color=item.stroke,
                linewidth=_points(item.width),
                linestyle=(0, (4, 3)) if item.dashed else "solid",
                alpha=item.opacity,
                zorder=order,
            )
        case Path2D():
            axes.add_patch(
                Polygon(
                    item.points,
                    closed=True,
                    facecolor=item.fill,
                    edgecolor=item.stroke,
                    linewidth=_points(item.width),
                    alpha=item.opacity,
                    zorder=order,
                )
            )
        case Dot():
            axes.add_patch(
                Circle((item.x, item.y), item.radius, facecolor=item.fill, edgecolor=item.stroke, zorder=order)
            )
        case Label():
            axes.text(
                item.x,
                item.y,
                _printable(item.text),
                fontsize=_points(item.size) * 0.94,  # DejaVu Sans is wider than the fonts of the SVG
                color=item.fill,
                ha={"start": "left", "middle": "center", "end": "right"}[item.anchor],
                va="baseline",
                rotation=90 if item.turned else 0,
                rotation_mode="anchor",
                fontweight="bold" if item.bold else "normal",
                parse_math=False,
                zorder=order,
            )


def _points(pixels: float) -> float:
    """Pixels of the picture in points of a figure at 100 pixels per inch."""
    return pixels * 72 / 100


def write_svg_and_png(stem: Path, picture: Picture) -> None:
    """Write stem.svg and stem.png."""
    replace_file(stem.with_suffix(".svg"), to_svg(picture))
    replace_file(stem.with_suffix(".png"), to_png(picture))
