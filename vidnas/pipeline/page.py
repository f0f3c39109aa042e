"""From the outcome of a run to its page."""

import json
import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from vidnas.arch.cost import format_amount, network_cost
from vidnas.engine.evaluate.classification_result import ClassificationResult
from vidnas.engine.evaluate.multi_label_result import MultiLabelResult
from vidnas.engine.run.runtime import versions
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.trials.job import TrialResult
from vidnas.pipeline.baselines import comparison
from vidnas.pipeline.plan import SearchPlan
from vidnas.pipeline.race.early import describe_early
from vidnas.pipeline.race.result import RaceResult
from vidnas.pipeline.run import RunOutcome
from vidnas.report.data import (
    BudgetSummary,
    ClassifierResult,
    DataSummary,
    Kind,
    MultiLabelNetworkResult,
    NetworkResult,
    Racer,
    RaceSummary,
    RunReport,
    SearchCurves,
    SearchPoint,
    SpaceSummary,
    VariableBelief,
)
from vidnas.report.page import write_report
from vidnas.search.race import Standing

_MAX_POINTS = 400


def write_page(path: Path, outcome: RunOutcome, *, source: str, command: Sequence[str]) -> None:
    """Write report.html.

    Args:
        path: the file.
        outcome: the run.
        source: the data set, as the user named it.
        command: words of the command line that made it.
    """
    finals, searched, race = outcome.finals, outcome.searched, outcome.race
    budgets = " and ".join(format_amount(metric, target) for metric, target in outcome.targets.items())
    report = RunReport(
        title=f"Video recognition within {budgets}",
        date=date.today().isoformat(),
        seeds=finals.seeds,
        commands=(shlex.join(command),),
        versions=tuple((name, str(value)) for name, value in versions().items()),
        data=_data(outcome, source),
        searched=_network("X3D" if finals.is_x3d else "searched", "searched", finals.searched),
        x3d=None if finals.is_x3d else _network("X3D", "x3d", finals.x3d),
        paired=finals.same_videos,
        race=_race(race, budgets, outcome.targets) if race else None,
        space=_space(searched.plan) if searched else None,
        curves=_curves(searched.result.folder.curves) if searched else None,
        beliefs=tuple(_beliefs(searched.result.record["beliefs"])) if searched else (),
        phases=outcome.phases,
        notes=tuple(_notes(outcome)),
    )
    write_report(path, report)


def _race(race: RaceResult, budgets: str, metrics: Collection[str]) -> RaceSummary:
    def racer(one: Standing) -> Racer:
        spec, scores = one.proposal.spec, tuple(score.headline for score in one.scores)
        return Racer(
            spec.name,
            one.proposal.source,
            network_cost(spec),
            scores,
            one is race.winner,
            one is race.yardstick,
            race.amounts.get(spec.content_hash, {}),
        )

    clips, networks = (tuple(map(racer, standings)) for standings in (race.clips, race.networks))
    return RaceSummary(clips, networks, race.trials, describe_early(race.early), equal_in(budgets, metrics))


def equal_in(budgets: str, metrics: Collection[str]) -> str:
    """What the networks of a race have in common, and what they do not."""
    left = "up to 10% less, as each was measured" if "ms" in metrics else "up to 1% less"
    if len(metrics) > 1:
        left = left.replace("less", "less of one of them")
        return f"Every network keeps {budgets} and uses them up or has {left}; in the others they differ."
    told = f"Every network is brought to {budgets} by its width, or has {left}"
    return f"{told}; their multiply-adds differ." if "macs" not in metrics else f"{told}."


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


def _notes(outcome: RunOutcome) -> Iterator[str]:
    """What else should be known, a sentence each."""
    if outcome.searched is not None:
        record, plan = outcome.searched.result.record, outcome.searched.plan
        search = SearchConfig(**record["settings"])
        length = f"{search.steps} steps" if search.steps else f"{search.epochs} epochs"
        yield (
            f"search: {search.optimizer}, lr {search.peak_lr:.3g}, {length}, seed {search.seed}, "
            f"{record['alpha_steps']} steps on alpha"
        )
        if "baselines" in record:
            task, holdout = task_of(plan.space.head), len(plan.parts["holdout"])
            yield " ".join(comparison(record, search.score_batch_size, holdout, task).split())
    training, first = outcome.training, outcome.finals.searched[0]
    yield f"training: {training.describe_lr()}, {first.steps} steps; kept: {first.kept}"
    if outcome.measured_ms:
        told = ", ".join(f"{name} {ms:.3g} ms" for name, ms in outcome.measured_ms.items())
        equal = "the same multiply-adds" if outcome.race is None else "their widths by such measurements"
        yield f"measured for one clip on the device of the budget: {told}; both were given {equal}"


def _data(outcome: RunOutcome, source: str) -> DataSummary:
    lists, searched = outcome.lists, outcome.searched
    splits = [(f"search: {name}", len(part)) for name, part in searched.plan.parts.items()] if searched else []
    splits += [("training", len(lists.train)), ("test", len(lists.test))]
    unreadable = _unreadable(searched.result.record) if searched else ()
    return DataSummary(
        source=source,
        classes=lists.train.classes,
        splits=tuple(splits),
        counts=tuple(zip(lists.train.counts, lists.test.counts, strict=True)),
        notices=lists.notices,
        broken=(*unreadable, *outcome.finals.searched[0].tested().broken),
    )


def _unreadable(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for broken in record["unreadable"].values():
        yield from ((one["path"], one["cause"]) for one in broken)


def _network(label: str, kind: Kind, trials: Sequence[TrialResult]) -> NetworkResult:
    """The first of some trainings of a network, with the headline figures of all."""
    trial, result = trials[0], trials[0].tested()
    of_seeds = tuple(one.tested().headline for one in trials)
    known = (label, kind, trial.spec, len(result.paths), result.views, of_seeds)
    if isinstance(result, MultiLabelResult):
        precisions = tuple(None if math.isnan(value) else value for value in result.per_class.tolist())
        return MultiLabelNetworkResult(
            *known, map_macro=result.headline, map_micro=result.micro, hit1=result.hit1, per_class=precisions
        )
    assert isinstance(result, ClassificationResult)
    return ClassifierResult(
        *known,
        correct=int(result.correct.sum()),
        top5=result.top5,
        confusion=tuple(tuple(row) for row in result.confusion.tolist()),
    )


def _curves(path: Path) -> SearchCurves:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    moving = [line for line in lines if "entropy" in line]
    every = max(1, len(lines) // _MAX_POINTS)
    points = tuple(
        SearchPoint(
            at=line["epoch"],
            entropy=line.get("entropy_share"),
            mean_cost=line.get("mean_cost", {}),
            derived_cost=line.get("derived_cost", {}),
            beta=line.get("beta", {}),
            train_loss=sum(near["loss"] for near in lines[i : i + every]) / len(lines[i : i + every]),
        )
        for i, line in enumerate(lines)
        if i % every == 0
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
