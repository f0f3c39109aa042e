"""Rank correlations of supernet, stand-alone training and multiply-adds: as figures, in words and as a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidnas.base.files import write_json
from vidnas.pipeline.finished_search import FinishedSearch
from vidnas.pipeline.rank import Ranked, RankSettings, describe_network
from vidnas.report.picture import write_svg_and_png
from vidnas.report.scatter import Panel, panels
from vidnas.search.rank_correlation import RankCorrelation, kendall, partial_kendall


@dataclass(frozen=True)
class Agreement:
    """Rank correlations; the score of the supernet is its log-likelihood, as when candidates are judged."""

    supernet_and_top1: RankCorrelation
    supernet_and_log_likelihood: RankCorrelation
    macs_and_top1: RankCorrelation
    macs_and_supernet: RankCorrelation
    given_macs: float


def agreement(results: Sequence[Ranked]) -> Agreement:
    """Correlations of supernet, stand-alone training and multiply-adds."""
    supernet = [one.supernet_log_likelihood for one in results]
    top1 = [one.alone_top1 for one in results]
    macs = [one.macs for one in results]
    return Agreement(
        supernet_and_top1=kendall(supernet, top1),
        supernet_and_log_likelihood=kendall(supernet, [one.alone_log_likelihood for one in results]),
        macs_and_top1=kendall(macs, top1),
        macs_and_supernet=kendall(macs, supernet),
        given_macs=partial_kendall(supernet, top1, macs),
    )


def describe(found: Agreement) -> str:
    """The correlations, one a line."""
    given_macs = "undefined" if math.isnan(found.given_macs) else f"{found.given_macs:+.3f}"
    lines = {
        "supernet score, stand-alone top-1": found.supernet_and_top1,
        "supernet score, stand-alone log-likelihood": found.supernet_and_log_likelihood,
        "MACs, stand-alone top-1": found.macs_and_top1,
        "MACs, supernet score": found.macs_and_supernet,
        "supernet score, stand-alone top-1, MACs taken out": given_macs,
    }
    width = max(map(len, lines))
    return "\n".join(["Kendall's tau-b:", *(f"  {name:<{width}}  {value}" for name, value in lines.items())])


def write_ranking(finished: FinishedSearch, results: Sequence[Ranked], settings: RankSettings) -> None:
    """Write rank.json, rank.svg and rank.png into the run folder."""
    found = agreement(results)
    training = settings.training(finished.job.training)
    record = {
        "settings": asdict(settings),
        "training": asdict(training),
        "clip": str(finished.space.clip),
        "holdout_videos": len(finished.data.holdout),
        "kendall": {
            name: _correlation(value) if isinstance(value, RankCorrelation) else _number(value)
            for name, value in vars(found).items()
        },
        "networks": [asdict(one) for one in results],
    }
    write_json(finished.root / "rank.json", record)
    hints = [describe_network(one, finished) for one in results]
    shared = [one.supernet_log_likelihood for one in results]
    macs = [one.macs / 1e6 for one in results]
    top1 = [100 * one.alone_top1 for one in results]
    picture = panels(
        "Supernet score against stand-alone training",
        f"{len(results)} random networks, {training.describe_length()} each, one seed; "
        f"{len(finished.data.holdout)} holdout videos",
        [
            Panel(
                f"tau {found.supernet_and_top1}",
                list(zip(shared, top1, hints, strict=True)),
                "supernet: log-likelihood per video",
                "stand-alone top-1, %",
            ),
            Panel(
                f"tau {found.macs_and_top1}",
                list(zip(macs, top1, hints, strict=True)),
                f"MMACs @ {finished.space.clip}",
                "stand-alone top-1, %",
            ),
        ],
    )
    write_svg_and_png(finished.root / "rank", picture)


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
