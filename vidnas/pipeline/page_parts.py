"""What a run and a search have in common on their pages: data, search, race."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidnas.arch.cost import format_amount, network_cost
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.tasks.registry import task_of
from vidnas.pipeline.baselines import comparison
from vidnas.pipeline.lists import Lists
from vidnas.pipeline.plan import SearchPlan
from vidnas.pipeline.race.early import describe_early
from vidnas.pipeline.race.result import RaceResult
from vidnas.pipeline.search import SearchStep
from vidnas.pipeline.supernet import Searched
from vidnas.report.data import DataSummary, Lead, Racer, RaceSummary
from vidnas.report.search_data import (
    BudgetSummary,
    SearchCurves,
    SearchPoint,
    SearchSummary,
    SpaceSummary,
    StepSummary,
    VariableBelief,
)
from vidnas.search.race import Standing


def budgets_text(targets: Mapping[str, float]) -> str:
    """Budgets by metric, for people."""
    return " and ".join(format_amount(metric, target) for metric, target in targets.items())


def race_summary(race: RaceResult, targets: Mapping[str, float]) -> RaceSummary:
    """A race within budgets as a page tells it."""

    def racer(one: Standing) -> Racer:
        spec, scores = one.proposal.spec, tuple(score.headline for score in one.scores)
        return Racer(
            spec.name,
            one.proposal.source,
            network_cost(spec),
            f"{spec.clip} {spec.clip.sampling}",
            scores,
            won=one is race.winner,
            yardstick=one is race.yardstick,
            failed=one.failed,
            amounts=race.amounts.get(spec.content_hash, {}),
        )

    clips, networks = (tuple(map(racer, standings)) for standings in (race.clips, race.networks))
    lead = race.lead and Lead(100 * race.lead.mean, 100 * race.lead.error, len(race.first.ahead_of(race.yardstick)))
    return RaceSummary(clips, networks, race.trials, lead, describe_early(race.early), equal_in(targets, networks))


def equal_in(targets: Mapping[str, float], networks: Sequence[Racer]) -> str:
    """What the networks of a race have in common, and what they do not."""
    used = [max(racer.amounts[metric] / target for metric, target in targets.items()) for racer in networks]
    of_all = " of each of them" if len(targets) > 1 else ""
    told = f"Every network keeps {budgets_text(targets)}; the one that uses least leaves {1 - min(used):.1%}{of_all}"
    return f"{told}." if "macs" in targets else f"{told}; their multiply-adds differ."


def search_summary(searched: Searched) -> SearchSummary:
    """A search on a supernet as a page tells it."""
    task = task_of(searched.plan.space.head)

    def summary(name: str, step: SearchStep) -> StepSummary:
        record = step.result.record
        return StepSummary(
            name=name,
            space=_space(step.plan),
            spec=step.result.spec,
            wall_sec=step.result.sec,
            entropy=step.entropy,
            initial_entropy=step.initial_entropy,
            holdout=record["candidates"][0][f"holdout_{task.headline.name}"],
            curves=read_curves(step.result.folder.curves),
            beliefs=tuple(_beliefs(record["beliefs"])),
        )

    steps = tuple(map(summary, searched.names, searched.steps))
    return SearchSummary(_space(searched.plan), steps, task.headline.text)


def search_notes(searched: Searched) -> Iterator[str]:
    """What else should be known of a search, a sentence each."""
    for number, step in enumerate(searched.steps, start=1):
        record, plan = step.result.record, step.plan
        config = SearchConfig(**record["settings"])
        length = f"{config.steps} steps" if config.steps else f"{config.epochs} epochs"
        which = f"search, step {number}" if len(searched.steps) > 1 else "search"
        yield (
            f"{which}: {config.optimizer}, lr {config.peak_lr:.3g}, {length}, seed {config.seed}, "
            f"{record['alpha_steps']} steps on alpha"
        )
        if "baselines" in record:
            task, holdout = task_of(plan.space.head), len(plan.parts["holdout"])
            yield " ".join(comparison(record, config.score_batch_size, holdout, task).split())


def data_summary(
    lists: Lists, searched: Searched | None, source: str, untested: Sequence[tuple[str, str]] | None = None
) -> DataSummary:
    """The data set.

    Args:
        lists: training and test list.
        searched: whose parts are told too.
        source: the data set, as the user named it.
        untested: path and cause of files that could not be tested; None where there was no test.
    """
    splits = [(f"search: {name}", len(part)) for name, part in searched.plan.parts.items()] if searched else []
    splits += [("training", len(lists.train)), ("test", len(lists.test))]
    unreadable = [one for step in searched.steps for one in _unreadable(step.result.record)] if searched else []
    looked_at = (("the parts of the search", searched), ("the test list", untested))
    return DataSummary(
        source=source,
        classes=lists.train.classes,
        splits=tuple(splits),
        counts=tuple(zip(lists.train.counts, lists.test.counts, strict=True)),
        notices=lists.notices,
        broken=(*dict.fromkeys(unreadable), *(untested or ())),
        looked_at=" and in ".join(name for name, seen in looked_at if seen is not None),
    )


def _unreadable(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for broken in record["unreadable"].values():
        yield from ((one["path"], one["cause"]) for one in broken)


def _space(plan: SearchPlan) -> SpaceSummary:
    return SpaceSummary(
        name=plan.space.name,
        size=plan.space.size,
        variables=len(plan.space.variables),
        explanation=plan.explanation,
        budgets=tuple(
            BudgetSummary(budget.costs.metric, budget.target, *limits)
            for budget, limits in zip(plan.budgets, plan.ranges, strict=True)
        ),
    )


def read_curves(path: Path) -> SearchCurves:
    """The lines that a search has written, as a page draws them."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    moving = [line for line in lines if "entropy" in line]
    points = tuple(
        SearchPoint(
            at=line["epoch"],
            entropy=line.get("entropy_share"),
            mean_cost=line.get("mean_cost", {}),
            derived_cost=line.get("derived_cost", {}),
            beta=line.get("beta", {}),
            train_loss=line["loss"],
        )
        for line in lines
    )
    return SearchCurves(points, unit="epoch", warmup_until=moving[0]["epoch"] if moving else 0.0)


def _beliefs(beliefs: Sequence[Mapping[str, Any]]) -> Iterator[VariableBelief]:
    for belief in beliefs:
        yield VariableBelief(
            name=belief["variable"],
            options=tuple(belief["options"]),
            probabilities=tuple(belief["probabilities"]),
            chosen=belief["chosen"],
        )
