"""Rank correlations of supernet, stand-alone training and multiply-adds: as figures, in words and as a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidnas.base.files import write_json
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.tasks.task import Figure
from vidnas.pipeline.finished_search import FinishedSearch
from vidnas.pipeline.rank import RankedNetwork, RankSettings, describe_network
from vidnas.report.picture import write_svg_and_png
from vidnas.report.scatter import Panel, panels
from vidnas.search.rank_correlation import RankCorrelation, kendall, partial_kendall


@dataclass(frozen=True)
class Agreement:
    """Rank correlations; the score of the supernet is its log-likelihood, as when candidates are judged."""

    supernet_and_headline: RankCorrelation
    supernet_and_log_likelihood: RankCorrelation
    macs_and_headline: RankCorrelation
    macs_and_supernet: RankCorrelation
    given_macs: float


def agreement(results: Sequence[RankedNetwork]) -> Agreement:
    """Correlations of supernet, stand-alone training and multiply-adds."""
    supernet = [one.supernet_log_likelihood for one in results]
    headline = [one.alone_headline for one in results]
    macs = [one.macs for one in results]
    return Agreement(
        supernet_and_headline=kendall(supernet, headline),
        supernet_and_log_likelihood=kendall(supernet, [one.alone_log_likelihood for one in results]),
        macs_and_headline=kendall(macs, headline),
        macs_and_supernet=kendall(macs, supernet),
        given_macs=partial_kendall(supernet, headline, macs),
    )


def describe(found: Agreement, figure: Figure) -> str:
    """The correlations, one a line; `figure` is the task's headline."""
    given_macs = "undefined" if math.isnan(found.given_macs) else f"{found.given_macs:+.3f}"
    lines = {
        f"supernet score, stand-alone {figure.text}": found.supernet_and_headline,
        "supernet score, stand-alone log-likelihood": found.supernet_and_log_likelihood,
        f"MACs, stand-alone {figure.text}": found.macs_and_headline,
        "MACs, supernet score": found.macs_and_supernet,
        f"supernet score, stand-alone {figure.text}, MACs taken out": given_macs,
    }
    width = max(map(len, lines))
    return "\n".join(["Kendall's tau-b:", *(f"  {name:<{width}}  {value}" for name, value in lines.items())])


def write_ranking(finished: FinishedSearch, results: Sequence[RankedNetwork], settings: RankSettings) -> None:
    """Write rank.json, rank.svg and rank.png into the run folder."""
    found = agreement(results)
    training = settings.training(finished.training, len(finished.lists.train))
    figure = task_of(finished.space.head).headline
    record = {
        "settings": asdict(settings),
        "training": asdict(training),
        "clip": str(finished.space.clip),
        "holdout_videos": len(finished.data.holdout),
        "kendall": {
            _named(name, figure): _correlation(value) if isinstance(value, RankCorrelation) else _number(value)
            for name, value in vars(found).items()
        },
        "networks": [{_named(name, figure): value for name, value in asdict(one).items()} for one in results],
    }
    write_json(finished.root / "rank.json", record)
    hints = [describe_network(one, finished) for one in results]
    shared = [one.supernet_log_likelihood for one in results]
    macs = [one.macs / 1e6 for one in results]
    headline = [100 * one.alone_headline for one in results]
    picture = panels(
        "Supernet score against stand-alone training",
        f"{len(results)} random networks, {training.describe_length()} each, one seed; "
        f"{len(finished.data.holdout)} holdout videos",
        [
            Panel(
                f"tau {found.supernet_and_headline}",
                list(zip(shared, headline, hints, strict=True)),
                "supernet: log-likelihood per video",
                f"stand-alone {figure.text}, %",
            ),
            Panel(
                f"tau {found.macs_and_headline}",
                list(zip(macs, headline, hints, strict=True)),
                f"MMACs @ {finished.space.clip}",
                f"stand-alone {figure.text}, %",
            ),
        ],
    )
    write_svg_and_png(finished.root / "rank", picture)


def _named(name: str, figure: Figure) -> str:
    """The name of a field in rank.json, where the headline has its own."""
    return name.replace("headline", figure.name)


def _correlation(value: RankCorrelation) -> Mapping[str, Any]:
    return {
        "tau": _number(value.tau),
        "null_standard_error": value.null_standard_error,
        "p_value": _number(value.p_value),
        "n": value.n,
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
