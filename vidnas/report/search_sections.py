"""A search on a supernet on a page: its steps in a table, their charts, networks and distributions."""

from vidnas.arch.cost import format_amount, format_macs, network_cost
from vidnas.report.charts import search_charts
from vidnas.report.class_charts import STRONG, heat
from vidnas.report.draw import draw
from vidnas.report.html import count, duration, section, table
from vidnas.report.picture import clean, to_svg
from vidnas.report.search_data import SearchSummary, SpaceSummary, StepSummary

_ENTROPY = (
    "H is the entropy of the distribution over architectures at the end, in nats, H0 that of the start, where all are "
    "as likely. The figure on the holdout is that of the network found with the weights of the supernet, before any "
    "training of its own."
)
_SUMS = " H and H0 of a progressive search are added up over its steps: each decides another part of the network."


def search_section(search: SearchSummary) -> str:
    """The space, the steps, and of each its charts; of several also the network that each has found."""
    several = len(search.steps) > 1
    parts = [
        f"<p>{_space(search.space)} {clean(search.space.explanation)}</p>",
        _steps(search),
        f"<p>{clean(_ENTROPY + (_SUMS if several else ''))}</p>",
    ]
    for number, step in enumerate(search.steps, start=1):
        if several:
            parts += [f"<h3>{clean(_title(number, step))}</h3>", f"<p>{_space(step.space)}</p>"]
        charts = search_charts(step.curves, step.space.budgets)
        parts.append('<div class="grid">' + "".join(map(to_svg, charts)) + "</div>")
        if several:
            parts.append(to_svg(draw(step.spec)))
    return section("The search", "", *parts)


def beliefs_section(search: SearchSummary) -> str:
    """The distribution at the end of each step."""
    parts = []
    for number, step in enumerate(search.steps, start=1):
        if len(search.steps) > 1:
            parts.append(f"<h3>{clean(_title(number, step))}</h3>")
        parts.append(_beliefs(step))
    text = "What the search came to believe, one row per decision. The frame marks what the derived network has."
    return section("Probabilities", text, *parts)


def share(entropy: float, initial: float) -> str:
    """H / H0; a dash where nothing was to be chosen."""
    return f"{entropy / initial:.2f}" if initial else "–"


def _title(number: int, step: StepSummary) -> str:
    return f"Step {number}: {step.name}"


def _space(space: SpaceSummary) -> str:
    budgets = "; ".join(
        f"{format_amount(b.metric, b.least)} to {format_amount(b.metric, b.most)}, target "
        f"{format_amount(b.metric, b.target)}"
        for b in space.budgets
    )
    return (
        f"Space <b>{clean(space.name)}</b>: {count(space.size)} architectures of {space.variables} decisions, "
        f"{budgets}."
    )


def _steps(search: SearchSummary) -> str:
    """A row per step (as Auto-TSNet's Table 5), the last one with the sums (as its Table 9, which has means)."""
    header = ["step", "time", "cost", "target", "parameters", "H", "H0", "H / H0", f"{search.metric} on the holdout"]
    rows = [_row(number, step) for number, step in enumerate(search.steps, start=1)]
    if len(search.steps) > 1:
        sums = _entropies(search.entropy, search.initial_entropy)
        rows.append(["sum", duration(search.wall_sec), "", "", "", *sums, ""])
    return table(header, rows, numbers=range(1, len(header)))


def _row(number: int, step: StepSummary) -> list[str]:
    cost = network_cost(step.spec)
    return [
        f"{number}: {step.name}",
        duration(step.wall_sec),
        f"{format_macs(cost.macs)} @ {cost.clip}",
        " and ".join(format_amount(budget.metric, budget.target) for budget in step.space.budgets),
        f"{cost.params / 1e6:.3f} M",
        *_entropies(step.entropy, step.initial_entropy),
        f"{100 * step.holdout:.1f}%",
    ]


def _entropies(entropy: float, initial: float) -> list[str]:
    return [f"{entropy:.1f}", f"{initial:.1f}", share(entropy, initial)]


def _beliefs(step: StepSummary) -> str:
    rows = "".join(
        f'<tr><td style="width:210px">{clean(belief.name)}</td><td><div class="strip">'
        + "".join(
            _cell(option, probability, index == belief.chosen)
            for index, (option, probability) in enumerate(zip(belief.options, belief.probabilities, strict=True))
        )
        + "</div></td></tr>"
        for belief in step.beliefs
    )
    return f'<table class="strips">{rows}</table>'


def _cell(option: str, probability: float, chosen: bool) -> str:
    ink = "#fff" if probability > STRONG else "#1f2430"
    mark = ' class="chosen"' if chosen else ""
    colours = f"background:{heat(probability)};color:{ink}"
    return f'<span{mark} style="{colours}">{clean(option)} <i>{100 * probability:.0f}%</i></span>'
