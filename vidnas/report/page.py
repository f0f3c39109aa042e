"""One self-contained HTML page about a run: no script, no font, no image, nothing is fetched."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from vidnas.arch.cost import format_amount, format_macs
from vidnas.report.charts import COLOURS, accuracy_chart, search_charts
from vidnas.report.class_charts import STRONG, class_chart, confusion_chart, heat
from vidnas.report.data import (
    ClassifierResult,
    DataSummary,
    NetworkResult,
    RaceSummary,
    RunReport,
    SearchCurves,
    SpaceSummary,
    VariableBelief,
)
from vidnas.report.draw import draw
from vidnas.report.picture import clean, to_svg, write
from vidnas.report.race_charts import race_chart, sources, standings
from vidnas.report.style import POLICY, STYLE
from vidnas.report.verdict import SPREAD, paired_text, race_text, random_spread, verdict

MOST_CLASSES_IN_CHARTS = 60
MOST_CONFUSIONS = 12


def write_report(path: str | Path, report: RunReport) -> None:
    """Write the page.

    Raises:
        VidnasError: the file cannot be written.
    """
    write(Path(path), page(report))


def page(report: RunReport) -> str:
    """The page as text, the same for equal reports."""
    sections = (
        _headline(report),
        _accuracy(report),
        _race(report.race),
        _search(report.curves, report.space),
        _architecture(report),
        _beliefs(report.beliefs),
        _classes(report),
        _data(report.data),
        _reproduce(report),
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{clean(report.title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            *(section for section in sections if section),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _headline(report: RunReport) -> str:
    searched, x3d = report.searched, report.x3d
    of = f"{searched.metric}, {_plural(len(report.seeds), 'training')}"
    cards = [(f"{100 * searched.mean:.1f}%", f"{searched.label}, {of}", COLOURS["searched"])]
    if x3d:
        cards.append((f"{100 * x3d.mean:.1f}%", f"{_x3d_name(report)}, {of}", COLOURS["x3d"]))
    if report.race and len(report.race.random) > 1:
        cards.append((random_spread(report.race), "random networks on a fold", COLOURS["random"]))
    cards.append((format_macs(searched.cost.macs), f"multiply-adds @ {searched.cost.clip}", ""))
    cards.append((f"{searched.cost.params / 1e6:.3f} M", "parameters", ""))
    cards.append((str(searched.videos), f"test videos, {len(report.data.classes)} classes", ""))
    seeds = f"seed {report.seeds[0]}" if len(report.seeds) == 1 else f"seeds {', '.join(map(str, report.seeds))}"
    spread = f'<p class="muted">{clean(SPREAD)}</p>' if x3d and len(report.seeds) == 1 else ""
    return (
        f'<h1>{clean(report.title)}</h1><p class="muted">{clean(report.date)} · {seeds} · '
        f"{clean(report.data.source)}</p>"
        f'<p class="verdict">{clean(verdict(report))}</p>{spread}<div class="cards">'
        + "".join(
            f'<div class="card"><b{f" style=color:{colour}" if colour else ""}>{clean(value)}</b>'
            f"<span>{clean(name)}</span></div>"
            for value, name, colour in cards
        )
        + "</div>"
    )


def _x3d_name(report: RunReport) -> str:
    equal = report.x3d is not None and report.searched.costs_as_much_as(report.x3d)
    return "X3D at equal cost" if equal else "X3D"


def _accuracy(report: RunReport) -> str:
    searched = report.searched
    chance = 1 / len(report.data.classes) if isinstance(searched, ClassifierResult) else None
    metric = "top-1 accuracy" if chance else searched.metric
    chart = to_svg(accuracy_chart(report.all_points, chance, searched.cost.clip, metric))
    results = [report.searched, *([report.x3d] if report.x3d else [])]
    rows = [
        [
            result.label,
            *(cell for _, cell in result.columns),
            f"{format_macs(result.cost.macs)} @ {result.cost.clip}",
            f"{result.cost.params / 1e6:.3f} M",
            result.views,
        ]
        for result in results
    ]
    text = f"Multiply-adds of conv, linear and matmul for one clip at the training crop. {searched.bars}"
    paired = ""
    if report.paired:
        paired = f"<p>On the same videos: {clean(paired_text(report.paired))}.</p>"
    header = ["network", *(name for name, _ in searched.columns), "cost", "parameters", "views"]
    return _section(
        "Accuracy against cost",
        text,
        f'<div class="full">{chart}</div>',
        _table(header, rows, numbers=range(1, len(header) - 1)),
        paired,
    )


def _race(race: RaceSummary | None) -> str:
    if race is None:
        return ""
    header = ["network", "source", "cost", "rounds", "mean", "against X3D, points"]
    charts = [to_svg(race_chart("Networks", race.networks))]
    parts = [_table(header, standings(race.networks, race.yardstick), numbers=(3, 4, 5))]
    if race.clips:
        charts.insert(0, to_svg(race_chart("X3D at each clip", race.clips)))
        rows = [row[:-1] for row in standings(race.clips)]
        parts.append(f"<h3>Clips, with X3D</h3>{_table(header[:-1], rows, numbers=(3, 4))}")
    of_sources = _table(["source", "networks", "mean", "best", "went on"], sources(race), numbers=(1, 2, 3, 4))
    parts.append(f"<h3>What each source came to, first round</h3>{of_sources}")
    return _section("The race", race_text(race), '<div class="grid">' + "".join(charts) + "</div>", *parts)


def _search(curves: SearchCurves | None, space: SpaceSummary | None) -> str:
    parts = []
    if space:
        budgets = "; ".join(
            f"{format_amount(b.metric, b.least)} to {format_amount(b.metric, b.most)}, target "
            f"{format_amount(b.metric, b.target)}"
            for b in space.budgets
        )
        parts.append(
            f"<p>Space <b>{clean(space.name)}</b>: {_count(space.size)} architectures of {space.variables} decisions, "
            f"{budgets}. {clean(space.explanation)}</p>"
        )
    if curves:
        charts = search_charts(curves, space.budgets if space else ())
        parts.append('<div class="grid">' + "".join(map(to_svg, charts)) + "</div>")
    return _section("The search", "", *parts) if parts else ""


def _architecture(report: RunReport) -> str:
    spec = report.searched.spec
    other = ""
    if report.x3d:
        other = f"<details><summary>{_x3d_name(report)}</summary>{to_svg(draw(report.x3d.spec))}</details>"
    source = f"<details><summary>The searched network as a file</summary><pre>{clean(spec.to_json())}</pre></details>"
    text = "Rest the pointer on a block for its channels and cost."
    return _section("The architecture", text, to_svg(draw(spec)), other, source)


def _beliefs(beliefs: Sequence[VariableBelief]) -> str:
    if not beliefs:
        return ""
    rows = "".join(
        f'<tr><td style="width:210px">{clean(belief.name)}</td><td><div class="strip">'
        + "".join(
            _cell(option, probability, index == belief.chosen)
            for index, (option, probability) in enumerate(zip(belief.options, belief.probabilities, strict=True))
        )
        + "</div></td></tr>"
        for belief in beliefs
    )
    text = "What the search came to believe, one row per decision. The frame marks what the derived network has."
    return _section("Probabilities", text, f'<table class="strips">{rows}</table>')


def _cell(option: str, probability: float, chosen: bool) -> str:
    ink = "#fff" if probability > STRONG else "#1f2430"
    mark = ' class="chosen"' if chosen else ""
    colours = f"background:{heat(probability)};color:{ink}"
    return f'<span{mark} style="{colours}">{clean(option)} <i>{100 * probability:.0f}%</i></span>'


def _classes(report: RunReport) -> str:
    results = [result for result in (report.searched, report.x3d) if result and result.per_class]
    if not results:
        return ""
    classes = report.data.classes
    classifiers = [result for result in results if isinstance(result, ClassifierResult)]
    table = _confusions(classifiers[0], classes) if classifiers else _class_table(results, classes)
    if len(classes) > MOST_CLASSES_IN_CHARTS:
        return _section("Classes", "", table)
    rows = [(result.label, result.kind, result.per_class) for result in results]
    bars = to_svg(class_chart(classes, rows, results[0].class_metric))
    matrices = [
        (f"Confusion matrix, {clean(result.label)}", to_svg(confusion_chart(result.confusion, classes)))
        for result in classifiers
    ]
    parts = [f"<h3>{heading}</h3>{matrix}" for heading, matrix in matrices[:1]]
    parts += [f"<details><summary>{heading}</summary>{matrix}</details>" for heading, matrix in matrices[1:]]
    return _section("Classes", "", *parts, f'<div class="row"><div class="wide">{bars}</div><div>{table}</div></div>')


def _class_table(results: Sequence[NetworkResult], classes: Sequence[str]) -> str:
    """The figure of each class for each network."""
    header = ["class", *(result.label for result in results)]
    rows = [
        [name, *("–" if value is None else f"{100 * value:.1f}%" for value in values)]
        for name, *values in zip(classes, *(result.per_class for result in results), strict=True)
    ]
    heading = f"{results[0].class_metric} of each class"
    return f"<h3>{clean(heading)}</h3>{_table(header, rows, numbers=range(1, len(header)))}"


def _confusions(result: ClassifierResult, classes: Sequence[str]) -> str:
    """The pairs of classes that a network takes for each other most often."""
    pairs = [
        (count, classes[right], classes[guess])
        for right, row in enumerate(result.confusion)
        for guess, count in enumerate(row)
        if count and right != guess
    ]
    if not pairs:
        return "<p>No test video was misclassified.</p>"
    rows = [
        [right, guess, str(count)] for count, right, guess in sorted(pairs, key=lambda pair: -pair[0])[:MOST_CONFUSIONS]
    ]
    table = _table(["right class", "taken for", "videos"], rows, numbers=(2,))
    return f"<h3>Most frequent confusions, {clean(result.label)}</h3>{table}"


def _data(data: DataSummary) -> str:
    splits = _table(["part", "videos"], [[name, str(count)] for name, count in data.splits], numbers=(1,))
    parts = [splits]
    if data.notices:
        parts.append("<ul>" + "".join(f"<li>{clean(notice)}</li>" for notice in data.notices) + "</ul>")
    if data.counts:
        rows = [[name, str(a), str(b)] for name, (a, b) in zip(data.classes, data.counts, strict=True)]
        table = _table(["class", "training", "test"], rows, numbers=(1, 2))
        parts.append(f"<details><summary>Videos of each class</summary>{table}</details>")
    if data.broken:
        table = _table(["file", "cause"], data.broken)
        parts.append(f"<details><summary>{_plural(len(data.broken), 'file')} set aside</summary>{table}</details>")
    else:
        parts.append("<p>Every file could be read.</p>")
    return _section("Data", f"{data.source}, {len(data.classes)} classes.", *parts)


def _reproduce(report: RunReport) -> str:
    parts = [f"<pre>{clean(chr(10).join(report.commands))}</pre>"]
    if report.notes:
        parts.append("<ul>" + "".join(f"<li>{clean(note)}</li>" for note in report.notes) + "</ul>")
    tables = "<div><h3>Versions</h3>" + _table([], report.versions) + "</div>"
    if report.phases:
        rows = [
            [phase.name, _duration(phase.wall_sec), "–" if phase.peak_mib is None else f"{phase.peak_mib:,.0f} MiB"]
            for phase in report.phases
        ]
        rows.append(["together", _duration(sum(phase.wall_sec for phase in report.phases)), ""])
        times = _table(["phase", "time", "peak memory"], rows, numbers=(1, 2))
        tables = f"<div><h3>Time and memory</h3>{times}</div>{tables}"
    return _section("Commands and versions", "", *parts, f'<div class="row">{tables}</div>')


def _section(title: str, text: str, *parts: str) -> str:
    intro = f'<p class="muted">{clean(text)}</p>' if text else ""
    return f"<section><h2>{clean(title)}</h2>{intro}{''.join(parts)}</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    right = set(numbers)

    def line(tag: str, cells: Sequence[str]) -> str:
        marks = [' class="number"' if column in right else "" for column in range(len(cells))]
        return "".join(f"<{tag}{mark}>{clean(cell)}</{tag}>" for cell, mark in zip(cells, marks, strict=True))

    lines = ([line("th", header)] if header else []) + [line("td", row) for row in rows]
    return "<table>" + "".join(f"<tr>{cells}</tr>" for cells in lines) + "</table>"


def _count(number: int) -> str:
    return f"{number:,}" if number < 1_000_000 else f"{number:.2e}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
