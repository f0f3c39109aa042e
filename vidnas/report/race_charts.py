"""The race on a page: scores round by round, who left when, and what each source of networks came to."""

from collections.abc import Sequence
from statistics import mean

from vidnas.arch.cost import format_amount
from vidnas.report.charts import COLOURS, Series, line_chart
from vidnas.report.data import Racer, RaceSummary
from vidnas.report.picture import Picture

_PALE = "#c3cad5"


def race_chart(title: str, racers: Sequence[Racer]) -> Picture:
    """The figure of every network in each round that it ran; lines that end have left."""
    rows = sorted((racer for racer in racers if racer.scores), key=lambda racer: (racer.won, racer.yardstick))
    series = [
        Series(
            "winner" if racer.won else "X3D" if racer.yardstick else "",
            [(float(number), 100 * score) for number, score in enumerate(racer.scores, start=1)],
            COLOURS["searched"] if racer.won else COLOURS["x3d"] if racer.yardstick else _PALE,
        )
        for racer in rows
    ]
    return line_chart(title, series, "round (a fold and a seed for all)")


def standings(racers: Sequence[Racer], yardstick: Racer | None = None) -> list[list[str]]:
    """Rows: network, source, cost, rounds, mean over them, points ahead of X3D in the same rounds."""
    return [
        [
            f"{racer.name}{' (winner)' if racer.won else ''}",
            racer.source,
            _cost(racer),
            str(len(racer.scores)),
            _mean(racer),
            _ahead(racer, yardstick),
        ]
        for racer in racers
    ]


def sources(race: RaceSummary) -> list[list[str]]:
    """Rows: source, networks that it sent, their mean and best figure in the first round, how many went on."""
    names = dict.fromkeys(racer.source for racer in race.networks)
    rows = []
    for name in names:
        own = [racer for racer in race.networks if racer.source == name]
        first = [racer.scores[0] for racer in own if racer.scores]
        went_on = sum(len(racer.scores) > 1 for racer in own)
        figures = [f"{100 * mean(first):.1f}%", f"{100 * max(first):.1f}%"] if first else ["–", "–"]
        rows.append([name, str(len(own)), *figures, str(went_on)])
    return rows


def _mean(racer: Racer) -> str:
    if racer.mean is None:
        return "failed"
    return f"{100 * racer.mean:.1f}%{', then failed' if racer.failed else ''}"


def _cost(racer: Racer) -> str:
    """Multiply-adds, whatever was limited, and what else was."""
    amounts = {"macs": racer.cost.macs, **racer.amounts}
    return f"{', '.join(format_amount(*amount) for amount in amounts.items())} @ {racer.clip}"


def _ahead(racer: Racer, yardstick: Racer | None) -> str:
    if yardstick is None or racer.yardstick or not racer.scores:
        return "–"
    differences = [own - theirs for own, theirs in zip(racer.scores, yardstick.scores, strict=False)]
    return f"{100 * mean(differences):+.1f}"
