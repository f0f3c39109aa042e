"""The front of accuracy against cost that a trained supernet holds, before anything is trained on its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidnas.arch.cost import format_amount
from vidnas.engine.candidates import found_otherwise, probable_candidates
from vidnas.engine.files import write_json
from vidnas.pipeline.baselines import evolution_settings
from vidnas.pipeline.finished_search import FinishedSearch, Notify
from vidnas.pipeline.pictures import write_picture
from vidnas.pipeline.search import judge_on_holdout
from vidnas.report.scatter import Dots, front_chart
from vidnas.search.archive import Entry, read
from vidnas.search.baselines import evolution
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable, Metric
from vidnas.search.front import front, layers
from vidnas.search.space import Choice

NOTE = "Shared weights with norm statistics of their own, not trained networks: train those that you mean to use."
# Costs, in equal ratios over what the search has sampled, under which the supernet is searched again.
_TARGETS = 6
# Of the archive's samples a few from each of so many intervals of cost are scored again.
_INTERVALS = 10


@dataclass(frozen=True)
class FrontPoint:
    """An architecture judged on the holdout.

    Attributes:
        choice: the architecture.
        cost: in the metric of the front.
        source: who found it first: search (what was derived), archive, k-best or evolution.
        alpha_log_likelihood: per clip of alpha's part.
        log_likelihood: per video of the holdout.
        top1: on the holdout, in [0, 1].
        on_front: whether none that costs as much or less has a top-1 as high.
    """

    choice: Choice
    cost: float
    source: str
    alpha_log_likelihood: float
    log_likelihood: float
    top1: float
    on_front: bool


def pareto_front(
    finished: FinishedSearch, metric: Metric, number: int, evaluations: int, notify: Notify
) -> list[FrontPoint]:
    """Judge the most promising architectures of all costs on the holdout, cheapest first.

    Args:
        finished: the search.
        metric: what is counted.
        number: architectures to judge.
        evaluations: architectures that evolution scores, over all costs.
        notify: takes a line for the user.
    """
    search = finished.search
    table = CostTable.of(finished.space, metric)
    scorer = finished.scorer()
    sources: dict[Choice, str] = {finished.chosen: "search"}
    archive = list(read(finished.folder.archive))
    sampled = table.costs([entry.choice for entry in archive])
    for choice in promising(archive, sampled.tolist(), number):
        sources.setdefault(choice, "archive")
    queries = max(2, evaluations // _TARGETS)
    for target in np.geomspace(sampled.min(), sampled.max(), _TARGETS).tolist():
        # A power of a ratio may round to just below the cheapest sample.
        budgets = [Budget(table, target * (1 + 1e-9))]
        probable = probable_candidates(search.alpha.distribution, budgets, search.config.candidates)
        start = [candidate.choice for candidate in probable]
        sources |= {choice: "k-best" for choice in start if choice not in sources}
        evaluated = evolution(scorer, budgets, queries, search.config.seed, evolution_settings(queries), start)
        sources |= {one.choice: "evolution" for one in evaluated if one.choice not in sources}
    choices = list(sources)
    scores = scorer(choices)
    costs = table.costs(choices).tolist()
    notify(f"{len(choices)} architectures scored on {scorer.clips} clips")
    places = layers(costs, scores, number)
    picked = list(dict.fromkeys([finished.chosen, *(choices[i] for i in places)]))[:number]
    notify(f"{len(picked)} of them on {len(finished.data.holdout)} holdout videos")
    candidates = found_otherwise(picked, search.alpha.distribution, [Budget(table, sampled.max())])
    judged = sorted(judge_on_holdout(search, candidates, finished.data), key=lambda one: one.derived.cost)
    members = set(front([one.derived.cost for one in judged], [one.top1 for one in judged]))
    return [
        FrontPoint(
            choice=one.derived.choice,
            cost=one.derived.cost,
            source=sources[one.derived.choice],
            alpha_log_likelihood=scorer.known[one.derived.choice] / scorer.clips,
            log_likelihood=one.log_likelihood,
            top1=one.top1,
            on_front=i in members,
        )
        for i, one in enumerate(judged)
    ]


def promising(archive: Sequence[Entry], costs: Sequence[float], number: int) -> list[Choice]:
    """Samples of the second half of a search that did well among those of their step, from all costs.

    Steps score different clips, and with weights that still change; what can be compared is the distance from the
    mean of the step.
    """
    half = max(entry.step for entry in archive) / 2
    by_step: dict[int, list[float]] = {}
    for entry in archive:
        by_step.setdefault(entry.step, []).append(entry.score / entry.clips)
    means = {step: sum(scores) / len(scores) for step, scores in by_step.items()}
    leads: dict[Choice, list[float]] = {}
    cost_of: dict[Choice, float] = {}
    for entry, cost in zip(archive, costs, strict=True):
        if entry.step >= half:
            leads.setdefault(entry.choice, []).append(entry.score / entry.clips - means[entry.step])
            cost_of[entry.choice] = cost
    ordered = sorted(leads, key=lambda choice: cost_of[choice])
    intervals = min(_INTERVALS, number)
    each = -(-number // intervals)
    found: list[Choice] = []
    for part in np.array_split(np.arange(len(ordered)), intervals):
        members = [ordered[i] for i in part]
        found += sorted(members, key=lambda choice: -sum(leads[choice]) / len(leads[choice]))[:each]
    return found


def write_front(finished: FinishedSearch, points: Sequence[FrontPoint], metric: Metric) -> Path:
    """Write pareto.json, pareto.svg and pareto.png into the run folder (pareto_params for params, and so on)."""
    stem = finished.root / ("pareto" if metric == "macs" else f"pareto_{metric}")
    record = {
        "metric": metric,
        "clip": str(finished.space.clip),
        "holdout_videos": len(finished.data.holdout),
        "note": NOTE,
        "architectures": [{**vars(point), "choice": list(point.choice)} for point in points],
    }
    write_json(stem.with_suffix(".json"), record)
    write_picture(stem, front_chart(_groups(points, metric), metric, str(finished.space.clip), NOTE))
    return stem.with_suffix(".svg")


def front_table(finished: FinishedSearch, points: Sequence[FrontPoint], metric: Metric) -> str:
    """The front, one architecture a line, and what these figures are."""
    rows = [
        f"{format_amount(metric, point.cost)} @ {finished.space.clip}  top-1 {point.top1:6.1%}  "
        f"log-likelihood {point.log_likelihood:.4f}  {point.source}"
        for point in points
        if point.on_front
    ]
    videos = len(finished.data.holdout)
    return "\n".join([f"front of {len(points)} architectures on {videos} holdout videos:", *rows, NOTE])


def _groups(points: Sequence[FrontPoint], metric: Metric) -> Mapping[str, Dots]:
    def dots(members: Sequence[FrontPoint]) -> Dots:
        return [
            (point.cost, point.top1, f"{format_amount(metric, point.cost)}, {point.top1:.1%}, {point.source}")
            for point in members
        ]

    return {
        "judged": dots([point for point in points if not point.on_front]),
        "front": dots([point for point in points if point.on_front]),
        "derived by the search": dots([point for point in points if point.source == "search"]),
    }
