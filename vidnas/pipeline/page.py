"""From the outcome of a run to its page."""

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from vidnas.engine.evaluate.classification_result import ClassificationResult
from vidnas.engine.evaluate.multi_label_result import MultiLabelResult
from vidnas.engine.run.runtime import versions
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.job import TrialResult
from vidnas.pipeline.baselines import comparison
from vidnas.pipeline.run import RunOutcome
from vidnas.report.data import (
    BudgetSummary,
    ClassifierResult,
    DataSummary,
    Kind,
    MultiLabelNetworkResult,
    NetworkResult,
    RunReport,
    SearchCurves,
    SearchPoint,
    SpaceSummary,
    VariableBelief,
)
from vidnas.report.page import write_report

_MAX_POINTS = 400


def write_page(
    path: Path,
    outcome: RunOutcome,
    *,
    source: str,
    command: Sequence[str],
    search: SearchConfig,
    training: TrainConfig,
    notes: Sequence[str] = (),
) -> None:
    """Write report.html.

    Args:
        path: the file.
        outcome: the run.
        source: the data set, as the user named it.
        command: words of the command line that made it.
        search: settings of the search.
        training: settings of the trainings.
        notes: sentences for the end of the page.
    """
    plan = outcome.plan
    report = RunReport(
        title=f"Video recognition within {plan.budgets_text}",
        date=date.today().isoformat(),
        seeds=(search.seed,),
        commands=(shlex.join(command),),
        versions=tuple((name, str(value)) for name, value in versions().items()),
        data=_data(outcome, source),
        searched=_network("searched", "searched", outcome.searched),
        x3d=_network("X3D", "x3d", outcome.x3d),
        paired=outcome.paired,
        space=SpaceSummary(
            name=plan.space.name,
            size=plan.space.size,
            variables=len(plan.space.variables),
            explanation=plan.explanation,
            budgets=tuple(
                BudgetSummary(budget.costs.metric, budget.target, *limits)
                for budget, limits in zip(plan.budgets, plan.ranges, strict=True)
            ),
        ),
        curves=_curves(outcome.search.folder.curves),
        beliefs=tuple(_beliefs(outcome.search.record["beliefs"])),
        phases=outcome.phases,
        notes=(
            f"search: {search.optimizer}, lr {search.peak_lr:.3g}, {search.epochs} epochs, seed {search.seed}, "
            f"{outcome.search.record['alpha_steps']} steps on alpha",
            f"training of both networks: {training.describe_lr()}, {training.describe_length()}, seed {training.seed}; "
            f"kept: {outcome.searched.kept}",
            *_measured(outcome),
            *_baselines(outcome, search),
            *notes,
        ),
    )
    write_report(path, report)


def _data(outcome: RunOutcome, source: str) -> DataSummary:
    lists, parts = outcome.lists, outcome.plan.parts
    splits = [(f"search: {name}", len(part)) for name, part in parts.items()]
    splits += [("training", len(lists.train)), ("test", len(lists.test))]
    return DataSummary(
        source=source,
        classes=lists.train.classes,
        splits=tuple(splits),
        counts=tuple(zip(lists.train.counts, lists.test.counts, strict=True)),
        notices=lists.notices,
        broken=(*_unreadable(outcome.search.record), *outcome.searched.tested().broken),
    )


def _unreadable(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for broken in record["unreadable"].values():
        yield from ((one["path"], one["cause"]) for one in broken)


def _network(label: str, kind: Kind, trial: TrialResult) -> NetworkResult:
    result = trial.tested()
    known = (label, kind, trial.spec, len(result.paths), result.views)
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


def _measured(outcome: RunOutcome) -> list[str]:
    if not outcome.measured_ms:
        return []
    told = ", ".join(f"{name} {ms:.3g} ms" for name, ms in outcome.measured_ms.items())
    return [f"measured for one clip on the device of the budget: {told}; both were given the same multiply-adds"]


def _baselines(outcome: RunOutcome, search: SearchConfig) -> list[str]:
    record, task = outcome.search.record, task_of(outcome.plan.space.head)
    if "baselines" not in record:
        return []
    return [" ".join(comparison(record, search.score_batch_size, len(outcome.plan.parts["holdout"]), task).split())]


def _beliefs(beliefs: Sequence[Mapping[str, Any]]) -> Iterator[VariableBelief]:
    for belief in beliefs:
        yield VariableBelief(
            name=belief["variable"],
            options=tuple(belief["options"]),
            probabilities=tuple(belief["probabilities"]),
            chosen=belief["chosen"],
        )
