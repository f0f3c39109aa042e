"""One self-contained HTML page about a run or a search: no script, no font, no image, nothing is fetched."""

from collections.abc import Sequence
from pathlib import Path

from vidnas.arch.cost import format_macs, network_cost
from vidnas.report.charts import COLOURS, accuracy_chart
from vidnas.report.class_charts import class_chart, confusion_chart
from vidnas.report.data import (
    ClassifierResult,
    DataSummary,
    NetworkResult,
    Phase,
    RaceSummary,
    RunReport,
    SearchReport,
)
from vidnas.report.draw import draw
from vidnas.report.html import document, duration, heading, plural, section, table
from vidnas.report.picture import clean, to_svg, write
from vidnas.report.race_charts import race_chart, sources, standings
from vidnas.report.search_sections import beliefs_section, search_section, share
from vidnas.report.verdict import SPREAD, paired_text, race_text, random_spread, search_verdict, verdict

MOST_CLASSES_IN_CHARTS = 60
MOST_CONFUSIONS = 12
_POINTER = "Rest the pointer on a block for its channels and cost."


def write_report(path: str | Path, report: RunReport | SearchReport) -> None:
    """Write the page.

    Raises:
        VidnasError: the file cannot be written.
    """
    write(Path(path), page(report) if isinstance(report, RunReport) else search_page(report))


def page(report: RunReport) -> str:
    """The page of a run as text, the same for equal reports."""
    sections = (
        _headline(report),
        _accuracy(report),
        _race(report.race),
        search_section(report.search) if report.search else "",
        _architecture(report),
        beliefs_section(report.search) if report.search else "",
        _classes(report),
        _data(report.data),
        _reproduce(report.commands, report.notes, report.versions, report.phases),
    )
    return document(report.title, sections)


def search_page(report: SearchReport) -> str:
    """The page of a search as text, the same for equal reports."""
    source = f"<details><summary>The network as a file</summary><pre>{clean(report.spec.to_json())}</pre></details>"
    sections = (
        _search_headline(report),
        _race(report.race),
        search_section(report.search),
        section("The architecture", _POINTER, to_svg(draw(report.spec)), source),
        beliefs_section(report.search),
        _data(report.data),
        _reproduce(report.commands, report.notes, report.versions),
    )
    return document(report.title, sections)


def _search_headline(report: SearchReport) -> str:
    cost, search = network_cost(report.spec), report.search
    cards = [
        (format_macs(cost.macs), f"multiply-adds @ {cost.clip}", COLOURS["searched"]),
        (f"{cost.params / 1e6:.3f} M", "parameters", ""),
        (share(search.entropy, search.initial_entropy), "H / H0, entropy that is left", ""),
    ]
    about = f"{report.date} · seed {report.seed} · {report.data.source}"
    return heading(report.title, about, search_verdict(report), cards)


def _headline(report: RunReport) -> str:
    searched, x3d = report.searched, report.x3d
    of = f"{searched.metric}, {plural(len(report.seeds), 'training')}"
    cards = [(f"{100 * searched.mean:.1f}%", f"{searched.label}, {of}", COLOURS["searched"])]
    if x3d:
        cards.append((f"{100 * x3d.mean:.1f}%", f"{_x3d_name(report)}, {of}", COLOURS["x3d"]))
    if report.race and report.race.random:
        number = plural(len(report.race.random), "random network")
        cards.append((random_spread(report.race), f"{number} on a fold", COLOURS["random"]))
    cards.append((format_macs(searched.cost.macs), f"multiply-adds @ {searched.cost.clip}", ""))
    cards.append((f"{searched.cost.params / 1e6:.3f} M", "parameters", ""))
    cards.append((str(searched.videos), f"test videos, {len(report.data.classes)} classes", ""))
    seeds = f"seed {report.seeds[0]}" if len(report.seeds) == 1 else f"seeds {', '.join(map(str, report.seeds))}"
    about = f"{report.date} · {seeds} · {report.data.source}"
    return heading(report.title, about, verdict(report), cards, SPREAD if x3d and len(report.seeds) == 1 else "")


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
    bars, seeds = searched.bars, report.seeds
    if len(seeds) > 1:
        bars = f"Bars: the lowest to the highest of {len(seeds)} seeds. All else: the training with seed {seeds[0]}."
    text = f"Multiply-adds of conv, linear and matmul for one clip at the training crop. {bars}"
    paired = ""
    if report.paired:
        paired = f"<p>On the same videos: {clean(paired_text(report.paired))}.</p>"
    header = ["network", *(name for name, _ in searched.columns), "cost", "parameters", "views"]
    return section(
        "Accuracy against cost",
        text,
        f'<div class="full">{chart}</div>',
        table(header, rows, numbers=range(1, len(header) - 1)),
        paired,
    )


def _race(race: RaceSummary | None) -> str:
    if race is None:
        return ""
    header = ["network", "source", "cost", "rounds", "mean", "against X3D, points"]
    charts = [to_svg(race_chart("Networks", race.networks))]
    parts = [table(header, standings(race.networks, race.yardstick), numbers=(3, 4, 5))]
    if race.clips:
        charts.insert(0, to_svg(race_chart("X3D at each clip", race.clips)))
        rows = [row[:-1] for row in standings(race.clips)]
        parts.append(f"<h3>Clips, with X3D</h3>{table(header[:-1], rows, numbers=(3, 4))}")
    of_sources = table(["source", "networks", "mean", "best", "went on"], sources(race), numbers=(1, 2, 3, 4))
    parts.append(f"<h3>What each source came to, first round</h3>{of_sources}")
    return section("The race", race_text(race), '<div class="grid">' + "".join(charts) + "</div>", *parts)


def _architecture(report: RunReport) -> str:
    spec = report.searched.spec
    other = ""
    if report.x3d:
        other = f"<details><summary>{_x3d_name(report)}</summary>{to_svg(draw(report.x3d.spec))}</details>"
    source = f"<details><summary>The searched network as a file</summary><pre>{clean(spec.to_json())}</pre></details>"
    return section("The architecture", _POINTER, to_svg(draw(spec)), other, source)


def _classes(report: RunReport) -> str:
    results = [result for result in (report.searched, report.x3d) if result and result.per_class]
    if not results:
        return ""
    classes = report.data.classes
    classifiers = [result for result in results if isinstance(result, ClassifierResult)]
    listed = _confusions(classifiers[0], classes) if classifiers else _class_table(results, classes)
    if len(classes) > MOST_CLASSES_IN_CHARTS:
        return section("Classes", "", listed)
    rows = [(result.label, result.kind, result.per_class) for result in results]
    bars = to_svg(class_chart(classes, rows, results[0].class_metric))
    matrices = [
        (f"Confusion matrix, {clean(result.label)}", to_svg(confusion_chart(result.confusion, classes)))
        for result in classifiers
    ]
    parts = [f"<h3>{name}</h3>{matrix}" for name, matrix in matrices[:1]]
    parts += [f"<details><summary>{name}</summary>{matrix}</details>" for name, matrix in matrices[1:]]
    return section("Classes", "", *parts, f'<div class="row"><div class="wide">{bars}</div><div>{listed}</div></div>')


def _class_table(results: Sequence[NetworkResult], classes: Sequence[str]) -> str:
    """The figure of each class for each network."""
    header = ["class", *(result.label for result in results)]
    rows = [
        [name, *("–" if value is None else f"{100 * value:.1f}%" for value in values)]
        for name, *values in zip(classes, *(result.per_class for result in results), strict=True)
    ]
    title = f"{results[0].class_metric} of each class"
    return f"<h3>{clean(title)}</h3>{table(header, rows, numbers=range(1, len(header)))}"


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
    listed = table(["right class", "taken for", "videos"], rows, numbers=(2,))
    return f"<h3>Most frequent confusions, {clean(result.label)}</h3>{listed}"


def _data(data: DataSummary) -> str:
    splits = table(["part", "videos"], [[name, str(count)] for name, count in data.splits], numbers=(1,))
    parts = [splits]
    if data.notices:
        parts.append("<ul>" + "".join(f"<li>{clean(notice)}</li>" for notice in data.notices) + "</ul>")
    if data.counts:
        rows = [[name, str(a), str(b)] for name, (a, b) in zip(data.classes, data.counts, strict=True)]
        listed = table(["class", "training", "test"], rows, numbers=(1, 2))
        parts.append(f"<details><summary>Videos of each class</summary>{listed}</details>")
    if data.broken:
        listed = table(["file", "cause"], data.broken)
        parts.append(f"<details><summary>{plural(len(data.broken), 'file')} set aside</summary>{listed}</details>")
    else:
        parts.append(f"<p>No unreadable file was met in {clean(data.looked_at)}.</p>")
    return section("Data", f"{data.source}, {len(data.classes)} classes.", *parts)


def _reproduce(
    commands: Sequence[str], notes: Sequence[str], versions: Sequence[tuple[str, str]], phases: Sequence[Phase] = ()
) -> str:
    parts = [f"<pre>{clean(chr(10).join(commands))}</pre>"]
    if notes:
        parts.append("<ul>" + "".join(f"<li>{clean(note)}</li>" for note in notes) + "</ul>")
    tables = "<div><h3>Versions</h3>" + table([], versions) + "</div>"
    if phases:
        rows = [
            [phase.name, duration(phase.wall_sec), "–" if phase.peak_mib is None else f"{phase.peak_mib:,.0f} MiB"]
            for phase in phases
        ]
        rows.append(["together", duration(sum(phase.wall_sec for phase in phases)), ""])
        times = table(["phase", "time", "peak memory"], rows, numbers=(1, 2))
        tables = f"<div><h3>Time and memory</h3>{times}</div>{tables}"
    return section("Commands and versions", "", *parts, f'<div class="row">{tables}</div>')
