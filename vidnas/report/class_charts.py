"""How a network does on each class, as pictures."""

import math
from collections.abc import Sequence

from vidnas.report.charts import COLOURS, GRID, INK, MUTED, Axis, legend
from vidnas.report.data import Kind
from vidnas.report.picture import Item, Label, Path2D, Picture, Rect, text_width

HEAT_LOW, HEAT_HIGH = (246, 248, 251), (36, 104, 176)
STRONG = 0.72  # shares whose colour wants white text
LONGEST_NAME = 32


def confusion_chart(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Picture:
    """A heat map of right class (row) against predicted class (column), each row as shares of its videos."""
    n = len(classes)
    cell = 34 if n <= 12 else 24 if n <= 30 else 14
    font = 11 if n <= 30 else 9
    names = [_shortened(name) for name in classes]
    side = max(text_width(name, font) for name in names) + 30
    items: list[Item] = [Label(18, side - 6, "right class", 10.5, MUTED), Label(side, 16, "predicted", 10.5, MUTED)]
    for row, counts in enumerate(confusion):
        y = side + row * cell
        items.append(Label(side - 8, y + cell / 2 + 4, names[row], font, INK, "end"))
        items.append(Label(side + (row + 0.5) * cell + 4, side - 8, names[row], font, INK, turned=True))
        total = sum(counts)
        for column, count in enumerate(counts):
            share = count / total if total else 0.0
            hint = f"{classes[row]} taken for {classes[column]}: {count} of {total}" if count else ""
            x = side + column * cell
            items.append(Rect(x, y, cell - 1, cell - 1, heat(share), hint=hint))
            if count and cell >= 24:
                ink = "#ffffff" if share > STRONG else INK
                items.append(Label(x + cell / 2, y + cell / 2 + 4, str(count), 10, ink, "middle"))
    size = side + n * cell + 18
    return Picture(math.ceil(size), math.ceil(size), "Confusion matrix", tuple(items))


def class_chart(
    classes: Sequence[str], rows: Sequence[tuple[str, Kind, Sequence[float | None]]], metric: str = "Accuracy"
) -> Picture:
    """A figure of each class as bars, one per network."""
    names = [_shortened(name) for name in classes]
    left = max(text_width(name, 11) for name in names) + 34
    pitch, bar = 10 * len(rows) + 7, 8
    x = Axis(0, 100, left, left + 320, "")
    top = 62
    items: list[Item] = [Label(16, 24, f"{metric} of each class, %", 13, INK, bold=True)]
    items += legend(16, 44, [(label, COLOURS[kind], "dot") for label, kind, _ in rows])
    bottom = top + pitch * len(classes)
    for tick in (0, 25, 50, 75, 100):
        items.append(Path2D([(x.at(tick), top - 6), (x.at(tick), bottom)], stroke=GRID))
        items.append(Label(x.at(tick), bottom + 16, str(tick), 10.5, MUTED, "middle"))
    for number, name in enumerate(names):
        y = top + pitch * number
        items.append(Label(left - 10, y + pitch / 2 + 1, name, 11, INK, "end"))
        for index, (label, kind, values) in enumerate(rows):
            value = values[number]
            if value is not None:
                hint = f"{label}, {classes[number]}: {100 * value:.1f}%"
                length = max(x.at(100 * value) - left, 1)
                items.append(Rect(left, y + 10 * index, length, bar, COLOURS[kind], radius=2, hint=hint))
    return Picture(math.ceil(left + 345), math.ceil(bottom + 32), f"{metric} of each class", tuple(items))


def heat(share: float) -> str:
    """A colour from nearly white (0) to blue (1)."""
    mixed = (round(low + (high - low) * share) for low, high in zip(HEAT_LOW, HEAT_HIGH, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
