"""From the outcome of a run or a search to its page."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from vidnas.arch.spec import ArchSpec
from vidnas.engine.evaluate.classification_result import ClassificationResult
from vidnas.engine.evaluate.multi_label_result import MultiLabelResult
from vidnas.engine.run.runtime import versions
from vidnas.engine.trials.job import TrialResult
from vidnas.pipeline.lists import Lists
from vidnas.pipeline.page_parts import budgets_text, data_summary, race_summary, search_notes, search_summary
from vidnas.pipeline.race.result import RaceResult
from vidnas.pipeline.run import RunOutcome
from vidnas.pipeline.supernet import Searched
from vidnas.report.data import (
    ClassifierResult,
    Kind,
    MultiLabelNetworkResult,
    NetworkResult,
    RunReport,
    SearchReport,
)
from vidnas.report.page import write_report


@dataclass(frozen=True)
class SearchOutcome:
    """A search, and the race that may have followed.

    Attributes:
        lists: training and test list.
        searched: on a supernet.
        race: of what it proposed; None where there was none.
    """

    lists: Lists
    searched: Searched
    race: RaceResult | None = None

    @property
    def spec(self) -> ArchSpec:
        """The network found."""
        return self.race.winner.proposal.spec if self.race else self.searched.spec


def write_search_page(path: Path, outcome: SearchOutcome, *, source: str, command: Sequence[str]) -> None:
    """Write report.html of a search.

    Args:
        path: the file.
        outcome: the search.
        source: the data set, as the user named it.
        command: words of the command line that made it.
    """
    searched, race = outcome.searched, outcome.race
    report = SearchReport(
        title=_title(searched.plan.targets),
        date=date.today().isoformat(),
        seed=searched.last.result.record["settings"]["seed"],
        commands=(shlex.join(command),),
        versions=_versions(),
        data=data_summary(outcome.lists, searched, source),
        search=search_summary(searched),
        spec=outcome.spec,
        race=race_summary(race, searched.plan.targets) if race else None,
        notes=tuple(search_notes(searched)),
    )
    write_report(path, report)


def write_page(path: Path, outcome: RunOutcome, *, source: str, command: Sequence[str]) -> None:
    """Write report.html of a run.

    Args:
        path: the file.
        outcome: the run.
        source: the data set, as the user named it.
        command: words of the command line that made it.
    """
    finals, searched, race = outcome.finals, outcome.searched, outcome.race
    report = RunReport(
        title=_title(outcome.targets),
        date=date.today().isoformat(),
        seeds=finals.seeds,
        commands=(shlex.join(command),),
        versions=_versions(),
        data=data_summary(outcome.lists, searched, source, finals.searched[0].tested().broken),
        searched=_network("X3D" if finals.is_x3d else "searched", "searched", finals.searched),
        x3d=None if finals.is_x3d else _network("X3D", "x3d", finals.x3d),
        paired=finals.same_videos,
        race=race_summary(race, outcome.targets) if race else None,
        search=search_summary(searched) if searched else None,
        phases=outcome.phases,
        notes=tuple(_notes(outcome)),
    )
    write_report(path, report)


def _title(targets: Mapping[str, float]) -> str:
    return f"Video recognition within {budgets_text(targets)}"


def _versions() -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in versions().items())


def _notes(outcome: RunOutcome) -> Iterator[str]:
    """What else should be known, a sentence each."""
    if outcome.searched is not None:
        yield from search_notes(outcome.searched)
    training, first = outcome.training, outcome.finals.searched[0]
    yield f"training: {training.describe_lr()}, {first.steps} steps; kept: {first.kept}"
    if outcome.measured_ms:
        told = ", ".join(f"{name} {ms:.3g} ms" for name, ms in outcome.measured_ms.items())
        equal = "the same multiply-adds" if outcome.race is None else "their widths by such measurements"
        both = f"; both were given {equal}" if len(outcome.measured_ms) > 1 else ""
        yield f"measured for one clip on the device of the budget: {told}{both}"


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
