"""Charts of dots: a front of accuracy against cost, and one score against another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidnas.report.charts import COLOURS, INK, MUTED, Axis, cost_unit, frame, legend, padded
from vidnas.report.picture import Dot, Item, Label, Path2D, Picture

# x, y, and what the pointer is told.
Dots = Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Panel:
    """One of the charts that stand side by side in a picture.

    Attributes:
        title: above it.
        dots: the points.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
    """

    title: str
    dots: Dots
    x_label: str
    y_label: str


def front_chart(groups: Mapping[str, Dots], metric: str, clip: str, note: str, figure: str = "top-1") -> Picture:
    """A figure on the holdout against cost; the front is a line of steps.

    Args:
        groups: dots (cost, share) of `judged`, `front` and `derived by the search`; the last may be in the others too.
        metric: what the cost counts.
        clip: of the networks.
        note: a sentence below the title.
        figure: what the shares are.
    """
    width, height = 820, 440
    everything = [dot for dots in groups.values() for dot in dots]
    unit, name = cost_unit(metric, max(cost for cost, *_ in everything))
    x = Axis(*padded([cost / unit for cost, *_ in everything], 0), 64, width - 30, f"{name} @ {clip}", parts=8)
    y = Axis(*padded([100 * share for _, share, _ in everything], 0, 100), height - 52, 84, f"holdout {figure}, %")
    items: list[Item] = [Label(16, 24, "Front of the trained supernet", 13, INK, bold=True)]
    items.append(Label(16, 42, note, 10.5, MUTED))
    items += frame(x, y)
    colours = dict(zip(groups, (COLOURS["random"], COLOURS["searched"], COLOURS["x3d"]), strict=True))
    items += _steps(groups["front"], x, y, unit)
    for radius, (name, dots) in zip((4, 6, 4), groups.items(), strict=True):
        for cost, share, hint in dots:
            items.append(Dot(x.at(cost / unit), y.at(100 * share), radius, colours[name], "#ffffff", hint))
    items += legend(x.start, 66, [(name, colours[name], "dot") for name, dots in groups.items() if dots])
    return Picture(width, height, f"Holdout {figure} against cost, shared weights", tuple(items))


def panels(title: str, note: str, charts: Sequence[Panel]) -> Picture:
    """Charts of dots side by side."""
    each, height = 430, 400
    items: list[Item] = [Label(16, 24, title, 13, INK, bold=True), Label(16, 42, note, 10.5, MUTED)]
    for place, chart in enumerate(charts):
        left = place * each
        x = Axis(*padded([px for px, *_ in chart.dots]), left + 64, left + each - 20, chart.x_label)
        y = Axis(*padded([py for _, py, _ in chart.dots]), height - 52, 92, chart.y_label)
        items.append(Label(left + 64, 76, chart.title, 12, INK))
        items += frame(x, y)
        items += [Dot(x.at(px), y.at(py), 5, COLOURS["searched"], "#ffffff", hint) for px, py, hint in chart.dots]
    return Picture(each * len(charts), height, title, tuple(items))


def _steps(dots: Dots, x: Axis, y: Axis, unit: float) -> list[Item]:
    """What is to be had at each cost: level up to the next point of the front."""
    corners: list[tuple[float, float]] = []
    for cost, share, _ in dots:
        if corners:
            corners.append((x.at(cost / unit), corners[-1][1]))
        corners.append((x.at(cost / unit), y.at(100 * share)))
    return [Path2D(corners, stroke=COLOURS["searched"], width=2)] if len(corners) > 1 else []
