"""The front of accuracy against cost that a trained supernet holds, before anything is trained on its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, zip_longest
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from vidnas.arch.cost import format_amount
from vidnas.base.files import write_json
from vidnas.base.log import log
from vidnas.engine.supernet.candidates import candidates_from
from vidnas.engine.supernet.fixed_batches import FixedBatches
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.tasks.task import Figure
from vidnas.pipeline.baselines import evolution_settings
from vidnas.pipeline.finished_search import FinishedSearch
from vidnas.pipeline.search import judge_on_holdout
from vidnas.report.picture import write_svg_and_png
from vidnas.report.scatter import Dots, front_chart
from vidnas.search.archive import Entry, read
from vidnas.search.baselines import evolution
from vidnas.search.budget import Budget, between, usage
from vidnas.search.derive import fitting_choices
from vidnas.search.space.space import Choice

NOTE = "Shared weights with norm statistics of their own, not trained networks: train those that you mean to use."
# The costs that the search has sampled are divided into so many intervals of equal ratio; each is searched on its own,
# so that the picture shows all of them.
_INTERVALS = 6
# How far down the list of the most probable architectures those of an interval are looked for.
_SEARCHED = 20_000


@dataclass(frozen=True)
class FrontPoint:
    """An architecture judged on the holdout.

    Attributes:
        choice: the architecture.
        cost: in the metric of the front.
        source: who found it first: search (what was derived), archive, k-best or evolution.
        alpha_log_likelihood: per clip of alpha's part.
        log_likelihood: per video of the holdout.
        headline: the figure that the task is known by (top-1, mAP), on the holdout, in [0, 1].
        on_front: whether none that costs as much or less has one as high.
    """

    choice: Choice
    cost: float
    source: str
    alpha_log_likelihood: float
    log_likelihood: float
    headline: float
    on_front: bool


def pareto_front(finished: FinishedSearch, metric: str, number: int, evaluations: int) -> list[FrontPoint]:
    """Judge the most promising architectures of all costs on the holdout, cheapest first.

    Args:
        finished: the search.
        metric: what is counted.
        number: architectures to judge.
        evaluations: architectures that evolution scores, over all costs.

    Raises:
        VidnasError: milliseconds, of a search that had no budget in them.
    """
    table = finished.costs(metric)
    scorer = finished.scorer()
    leads = leads_of(list(read(finished.folder.archive)))
    sampled = table.costs(list(leads))
    edges = np.geomspace(sampled.min(), sampled.max(), _INTERVALS + 1).tolist()
    sources: dict[Choice, str] = {finished.chosen: "search"}
    ranked = []
    for low, high in pairwise(edges):
        # Powers of a ratio round.
        budgets = between(table, low * (1 - 1e-9), high * (1 + 1e-9))
        found = _best_of_interval(finished, budgets, leads, scorer, max(2, evaluations // _INTERVALS))
        sources = found | sources
        ranked.append(sorted(found, key=lambda choice: -scorer.known[choice]))
    log.info(f"{len(scorer.known)} architectures scored on {scorer.clips} clips")
    in_turn = [choice for best in zip_longest(*ranked) for choice in best if choice is not None]
    picked = list(dict.fromkeys([finished.chosen, *in_turn]))[:number]
    log.info(f"{len(picked)} of them judged on {len(finished.data.holdout)} holdout videos")
    scorer(picked)
    candidates = candidates_from(picked, finished.search.alpha.distribution, [Budget(table, edges[-1])])
    judged = sorted(judge_on_holdout(finished.search, candidates, finished.data), key=lambda one: one.derived.cost)
    members = set(front([one.derived.cost for one in judged], [one.headline for one in judged]))
    return [
        FrontPoint(
            choice=one.derived.choice,
            cost=one.derived.cost,
            source=sources[one.derived.choice],
            alpha_log_likelihood=scorer.known[one.derived.choice] / scorer.clips,
            log_likelihood=one.log_likelihood,
            headline=one.headline,
            on_front=i in members,
        )
        for i, one in enumerate(judged)
    ]


def _best_of_interval(
    finished: FinishedSearch,
    budgets: Sequence[Budget],
    leads: Mapping[Choice, float],
    scorer: FixedBatches,
    evaluations: int,
) -> dict[Choice, str]:
    """Scored architectures within budgets, and who found each: empty where the search has met none."""
    distribution, config = finished.search.alpha.distribution, finished.config
    fits = usage(budgets, list(leads)) <= 1
    inside = [choice for choice, fit in zip(leads, fits, strict=True) if fit]
    archived = sorted(inside, key=lambda choice: -leads[choice])[: config.candidates]
    listed = fitting_choices(distribution, budgets, among=_SEARCHED)
    probable = [one.choice for one in islice(listed, config.candidates)]
    start = list(dict.fromkeys(archived + probable))
    if not start:
        return {}
    scorer(start)
    evaluated = evolution(scorer, budgets, evaluations, config.seed, evolution_settings(evaluations), start)
    sources = dict.fromkeys((one.choice for one in evaluated), "evolution")
    return sources | dict.fromkeys(probable, "k-best") | dict.fromkeys(archived, "archive")


def leads_of(archive: Sequence[Entry]) -> dict[Choice, float]:
    """How far each sample of the second half of a search was ahead of the mean of its step, per clip.

    Steps score different clips, and with weights that still change; this is what can be compared between them.
    """
    half = max(entry.step for entry in archive) / 2
    by_step: dict[int, list[float]] = {}
    for entry in archive:
        by_step.setdefault(entry.step, []).append(entry.score / entry.clips)
    leads: dict[Choice, list[float]] = {}
    for entry in archive:
        if entry.step >= half:
            lead = entry.score / entry.clips - mean(by_step[entry.step])
            leads.setdefault(entry.choice, []).append(lead)
    return {choice: mean(values) for choice, values in leads.items()}


def write_front(finished: FinishedSearch, points: Sequence[FrontPoint], metric: str) -> Path:
    """Write pareto.json, pareto.svg and pareto.png into the run folder (pareto_params for params, and so on)."""
    stem = finished.root / ("pareto" if metric == "macs" else f"pareto_{metric}")
    figure = task_of(finished.space.head).headline
    record = {
        "metric": metric,
        "clip": str(finished.space.clip),
        "holdout_videos": len(finished.data.holdout),
        "note": NOTE,
        "architectures": [_record(point, figure) for point in points],
    }
    write_json(stem.with_suffix(".json"), record)
    write_svg_and_png(stem, front_chart(_groups(points, metric), metric, str(finished.space.clip), NOTE, figure.text))
    return stem.with_suffix(".svg")


def front_table(finished: FinishedSearch, points: Sequence[FrontPoint], metric: str) -> str:
    """The front, one architecture a line, and what these figures are."""
    figure = task_of(finished.space.head).headline
    rows = [
        f"{format_amount(metric, point.cost)} @ {finished.space.clip}  {figure.text} {point.headline:6.1%}  "
        f"log-likelihood {point.log_likelihood:.4f}  {point.source}"
        for point in points
        if point.on_front
    ]
    videos = len(finished.data.holdout)
    return "\n".join([f"front of {len(points)} architectures on {videos} holdout videos:", *rows, NOTE])


def _record(point: FrontPoint, figure: Figure) -> dict[str, Any]:
    """A point as builtins; the headline goes by its own name."""
    fields = {figure.name if name == "headline" else name: value for name, value in vars(point).items()}
    return {**fields, "choice": list(point.choice)}


def _groups(points: Sequence[FrontPoint], metric: str) -> Mapping[str, Dots]:
    def dots(members: Sequence[FrontPoint]) -> Dots:
        return [
            (point.cost, point.headline, f"{format_amount(metric, point.cost)}, {point.headline:.1%}, {point.source}")
            for point in members
        ]

    return {
        "judged": dots([point for point in points if not point.on_front]),
        "front": dots([point for point in points if point.on_front]),
        "derived by the search": dots([point for point in points if point.source == "search"]),
    }


def front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Places of the points that score higher than every cheaper or equally cheap one, cheapest first."""
    best = float("-inf")
    places = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        if scores[i] > best:
            best = scores[i]
            places.append(i)
    return places
