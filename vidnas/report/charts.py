"""The charts of a report, as pictures."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vidnas.report.data import AccuracyPoint, Kind
from vidnas.report.picture import Dot, Item, Label, Path2D, Picture, Point, Rect, text_width
from vidnas.report.search_data import BudgetSummary, SearchCurves, SearchPoint

INK, MUTED, GRID = "#1f2430", "#5f6877", "#e6e9ef"
COLOURS: dict[Kind, str] = {"searched": "#2468b0", "x3d": "#c2710f", "random": "#8d96a5", "other": "#7a5aa6"}
BLUE, AMBER = COLOURS["searched"], COLOURS["x3d"]
NAMES: dict[Kind, str] = {"searched": "searched", "x3d": "X3D", "random": "random networks", "other": "others"}
LINE = 16  # pixels between names
MOST_POINTS = 150  # a line with more is averaged down to this many


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    name: str
    points: Sequence[Point]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    label: str
    parts: int = 5

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values, about as many as there are `parts`."""
        step = _round_step((self.high - self.low) / self.parts)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def show(self, tick: float) -> str:
        """A tick with as many decimals as the step needs."""
        step = _round_step((self.high - self.low) / self.parts)
        decimals = next((n for n in range(9) if math.isclose(round(step, n), step, rel_tol=1e-6)), 9)
        return f"{tick:.{decimals}f}"


def accuracy_chart(
    points: Sequence[AccuracyPoint], chance: float | None, clip: str, metric: str = "top-1 accuracy"
) -> Picture:
    """Accuracy against multiply-adds (AutoX3D Fig. 1), with error bars and the line of guessing, if any."""
    width, height = 1010, 400
    unit, name = cost_unit("macs", max(point.macs for point in points))
    macs = [point.macs / unit for point in points]
    middle = (min(macs) + max(macs)) / 2
    # Networks of equal cost stay close together: the axis never zooms in on less than 3% to each side.
    half = max(0.6 * (max(macs) - min(macs)), 0.03 * middle)
    x = Axis(middle - half, middle + half, 64, width - 150, f"{name} @ {clip}", parts=8)
    ends = [100 * value for p in points for value in (p.value, p.low, p.high) if value is not None]
    y = Axis(*padded(ends, 0, 100), height - 52, 44, f"{metric}, %")
    items = list(frame(x, y))
    if chance is not None and y.low <= 100 * chance <= y.high:
        items += _level(x, y, 100 * chance, f"guessing {100 * chance:.1f}%")
    order: dict[Kind, int] = {"other": 0, "random": 1, "x3d": 2, "searched": 3}
    for point in sorted(points, key=lambda point: order[point.kind]):
        items += _accuracy_marker(point, x.at(point.macs / unit), y)
    main = [point for point in points if point.kind in ("searched", "x3d")]
    items += _apart([(x.at(p.macs / unit) + 12, y.at(100 * p.value) + 4, p) for p in main], height - 4)
    kinds = sorted({point.kind for point in points}, key=lambda kind: -order[kind])
    items += legend(x.start, 22, [(NAMES[kind], COLOURS[kind], "dot") for kind in kinds])
    return Picture(width, height, "Accuracy against multiply-adds", tuple(items))


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    *,
    low: float | None = None,
    high: float | None = None,
    level: tuple[float, str] | None = None,
    shaded_until: float = 0.0,
) -> Picture:
    """Lines over steps or epochs.

    Args:
        title: printed above.
        series: the lines; points that are not finite are left out, and lines without a name have none in the legend.
        x_label: unit of the horizontal axis.
        low: fixed lower end of the vertical axis; default from the values.
        high: fixed upper end.
        level: a value with a dashed line, and its name.
        shaded_until: the warm-up, on the horizontal axis.
    """
    width, height = 520, 300
    lines = [(line, _thinned([p for p in line.points if math.isfinite(p[1])])) for line in series]
    xs = [p[0] for _, points in lines for p in points] or [0.0, 1.0]
    ys = [p[1] for _, points in lines for p in points] + ([level[0]] if level else [])
    x = Axis(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, 58, width - 52, x_label)
    bottom, top = padded(ys or [0.0, 1.0])
    y = Axis(bottom if low is None else low, top if high is None else high, height - 46, 66, "")
    items: list[Item] = [Label(16, 24, title, 13, INK, bold=True)]
    if shaded_until > x.low:
        end = x.at(min(shaded_until, x.high))
        items.append(Rect(x.start, y.end, end - x.start, y.start - y.end, "#f1f3f7"))
        items.append(Label(x.start, y.end - 5, "weights only", 10, MUTED))
    items += frame(x, y)
    if level:
        items += _level(x, y, level[0], level[1])
    for line, points in lines:
        pixels = [(x.at(px), y.at(py)) for px, py in points]
        if len(pixels) == 1:
            items.append(Dot(*pixels[0], 3, line.colour))
        elif pixels:
            items.append(Path2D(pixels, stroke=line.colour, width=2, dashed=line.dashed))
    if len(lines) > 1:
        items += legend(16, 44, [(line.name, line.colour, "line") for line, _ in lines if line.name])
    return Picture(width, height, title, tuple(items))


def search_charts(curves: SearchCurves, budgets: Sequence[BudgetSummary]) -> Iterator[Picture]:
    """Cost per budget (AutoX3D Fig. 4), entropy, loss and betas over the search, those that were measured."""
    x_label, warmup = curves.unit, curves.warmup_until
    for budget in budgets:
        yield from _cost_chart(curves, budget)
    entropy = _over_time(curves, "entropy", BLUE, lambda point: point.entropy)
    if entropy.points:
        title = "Entropy of the distribution, H / H0"
        yield line_chart(title, [entropy], x_label, low=0.0, high=1.02, shaded_until=warmup)
    loss = _over_time(curves, "loss", BLUE, lambda point: point.train_loss)
    if loss.points:
        yield line_chart("Training loss of sampled networks", [loss], x_label, shaded_until=warmup)
    betas = [
        _over_time(curves, metric, colour, lambda point, metric=metric: point.beta.get(metric))  # type: ignore[misc]
        for metric, colour in zip((budget.metric for budget in budgets), (BLUE, AMBER, INK, MUTED), strict=False)
    ]
    if any(beta.points for beta in betas):
        yield line_chart("Weight of the cost, beta", betas, x_label, shaded_until=warmup)


def _cost_chart(curves: SearchCurves, budget: BudgetSummary) -> Iterator[Picture]:
    metric = budget.metric
    scale, unit = cost_unit(metric, budget.target)

    def line(name: str, colour: str, costs: Callable[[SearchPoint], Mapping[str, float]]) -> Series:
        values = [(point.at, costs(point)[metric] / scale) for point in curves.points if metric in costs(point)]
        return Series(name, values, colour)

    lines = [
        line("mean of samples", AMBER, lambda point: point.mean_cost),
        line("most probable options", BLUE, lambda point: point.derived_cost),
    ]
    if any(series.points for series in lines):
        level = (budget.target / scale, "target")
        yield line_chart(f"Cost, {unit}", lines, curves.unit, level=level, shaded_until=curves.warmup_until)


def cost_unit(metric: str, largest: float) -> tuple[float, str]:
    """What amounts of a metric up to `largest` are divided by for an axis, and its label."""
    if metric == "macs":
        return (1e9, "GMACs") if largest >= 1e9 else (1e6, "MMACs")
    return (1.0, metric) if metric == "ms" else (1e6, f"M {metric}")


def _over_time(curves: SearchCurves, name: str, colour: str, value: Callable[[SearchPoint], float | None]) -> Series:
    values = [(point.at, value(point)) for point in curves.points]
    return Series(name, [(at, number) for at, number in values if number is not None], colour)


def frame(x: Axis, y: Axis) -> Iterator[Item]:
    """Ticks, grid and labels of two axes."""
    for tick in y.ticks:
        yield Path2D([(x.start, y.at(tick)), (x.end, y.at(tick))], stroke=GRID)
        yield Label(x.start - 8, y.at(tick) + 4, y.show(tick), 10.5, MUTED, "end")
    for tick in x.ticks:
        yield Path2D([(x.at(tick), y.start), (x.at(tick), y.start + 5)], stroke=MUTED)
        yield Label(x.at(tick), y.start + 18, x.show(tick), 10.5, MUTED, "middle")
    yield Path2D([(x.start, y.start), (x.end, y.start)], stroke=MUTED)
    yield Label((x.start + x.end) / 2, y.start + 38, x.label, 11.5, MUTED, "middle")
    if y.label:
        yield Label(x.start - 44, (y.start + y.end) / 2, y.label, 11.5, MUTED, "middle", turned=True)


def _level(x: Axis, y: Axis, value: float, text: str) -> Iterator[Item]:
    yield Path2D([(x.start, y.at(value)), (x.end, y.at(value))], stroke=MUTED, width=1.2, dashed=True)
    yield Label(x.end + 6, y.at(value) + 4, text, 10.5, MUTED)


def _accuracy_marker(point: AccuracyPoint, x: float, y: Axis) -> Iterator[Item]:
    colour = COLOURS[point.kind]
    if point.low is not None and point.high is not None:
        top, bottom = y.at(100 * point.high), y.at(100 * point.low)
        yield Path2D([(x, top), (x, bottom)], stroke=colour, width=1.5, opacity=0.7)
        for end in (top, bottom):
            yield Path2D([(x - 4, end), (x + 4, end)], stroke=colour, width=1.5, opacity=0.7)
    radius = 7 if point.kind in ("searched", "x3d") else 5
    yield Dot(x, y.at(100 * point.value), radius, colour, "#ffffff", f"{point.label}: {100 * point.value:.1f}%")


def _apart(labels: Sequence[tuple[float, float, AccuracyPoint]], bottom: float) -> Iterator[Label]:
    """Names beside their markers, pushed down where they would touch, and up again from the picture's end."""
    ordered = sorted(labels, key=lambda label: label[1])
    heights = [y for _, y, _ in ordered]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + LINE)
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], bottom - (len(heights) - 1 - i) * LINE)
    for (x, _, point), y in zip(ordered, heights, strict=True):
        yield Label(x, y, f"{point.label} {100 * point.value:.1f}%", 12, COLOURS[point.kind], bold=True)


def legend(x: float, y: float, entries: Sequence[tuple[str, str, str]]) -> Iterator[Item]:
    """Names beside their colours, as a `dot` or a `line`."""
    for text, colour, mark in entries:
        if mark == "dot":
            yield Dot(x + 6, y - 4, 5, colour)
        else:
            yield Path2D([(x, y - 4), (x + 14, y - 4)], stroke=colour, width=2.5)
        yield Label(x + 20, y, text, 11.5, MUTED)
        x += 20 + text_width(text, 11.5) + 18


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most `MOST_POINTS` points, each the mean of its neighbours."""
    size = -(-len(points) // MOST_POINTS)
    bins = [points[start : start + size] for start in range(0, len(points), max(size, 1))]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in bins]


def padded(values: Sequence[float], low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """Ends of an axis around some values, within `low` and `high`."""
    pad = 0.08 * (max(values) - min(values)) or 0.1 * abs(max(values)) or 1.0
    return max(min(values) - pad, low), min(max(values) + pad, high)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
