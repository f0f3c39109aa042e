"""The whole job: find a network, train it and X3D at equal cost, test both on the same videos, report."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vidnas.arch.cost import network_cost
from vidnas.arch.latency import Device, LatencyTable
from vidnas.arch.spec import ArchSpec
from vidnas.base.files import write_json
from vidnas.base.log import is_first_process, log
from vidnas.data.augment import Views
from vidnas.data.datamodule import DataConfig
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import Executor
from vidnas.engine.trials.job import TrialResult
from vidnas.pipeline.finals import Finals, headline, train_finals
from vidnas.pipeline.latency import time_networks
from vidnas.pipeline.lists import Lists
from vidnas.pipeline.phases import PhaseClock
from vidnas.pipeline.plan import x3d_baseline
from vidnas.pipeline.prepare import SearchInputs, SearchRequest
from vidnas.pipeline.race.race import Race
from vidnas.pipeline.race.result import RaceResult
from vidnas.pipeline.race.result import summary as race_summary
from vidnas.pipeline.supernet import Searched, search_on_supernet
from vidnas.report.data import Phase
from vidnas.report.verdict import paired_text
from vidnas.search.proposals import Proposal

# Names of phases.
_RACE, _FINALS = "race", "last trainings and tests"


@dataclass(frozen=True)
class RunPaths:
    """What lies where in the folder of a run, beside the last trainings (`vidnas.pipeline.finals.final_folders`)."""

    root: Path

    @property
    def result(self) -> Path:
        """The comparison in figures."""
        return self.root / "result.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"

    @property
    def times(self) -> Path:
        """What race and last trainings have taken so far."""
        return self.root / "times.json"


@dataclass(frozen=True)
class RunOutcome:
    """Everything that the page is made from.

    Attributes:
        lists: training and test list.
        targets: budgets by metric.
        finals: the last trainings.
        searched: the search on a supernet; None where there was none.
        race: None where there was none.
        phases: what took how long.
        training: settings of the last trainings.
        measured_ms: of one clip on the device of a budget in milliseconds, by the name of the network; else empty.
    """

    lists: Lists
    targets: Mapping[str, float]
    finals: Finals
    searched: Searched | None
    race: RaceResult | None
    phases: tuple[Phase, ...]
    training: TrainConfig
    measured_ms: Mapping[str, float]


@dataclass(frozen=True)
class RunSettings:
    """How the networks of a run are trained and tested at the end.

    Attributes:
        training: of all networks.
        data: how clips are made.
        views: of the test.
        paths: the run folder.
        seeds: trainings of each of the two networks at the end.
        executor: runs them.
        resume: go on where the folder's files end.
    """

    training: TrainConfig
    data: DataConfig
    views: Views
    paths: RunPaths
    seeds: int
    executor: Executor
    resume: bool

    @cached_property
    def clock(self) -> PhaseClock:
        """Of the parts of the run that go on where another attempt ended."""
        return PhaseClock(self.paths.times)


def run_search(request: SearchRequest, inputs: SearchInputs, search: SearchConfig, settings: RunSettings) -> RunOutcome:
    """Search on a supernet, then train and test the network found and X3D.

    Several processes all call this; the first one writes and logs.

    Args:
        request: the search.
        inputs: what it was prepared to.
        search: its settings, with the length that was settled.
        settings: of the rest.

    Raises:
        Interrupted: stopped by a signal; everything done so far is kept.
    """
    searched, phases = _search(request, inputs, search)
    spec = searched.spec
    x3d = x3d_baseline(spec, network_cost(spec).macs)
    device = LatencyTable.load(searched.last.result.folder.latency).device if "ms" in inputs.plan.targets else None
    return _conclude(inputs.lists, inputs.plan.targets, spec, x3d, settings, searched, phases, device)


def run_race(lists: Lists, race: Race, settings: RunSettings) -> RunOutcome:
    """Race, then train and test the winner and X3D at its clip and cost.

    Args:
        lists: training and test list.
        race: on the training list.
        settings: of the rest.

    Raises:
        Interrupted: stopped by a signal; everything done so far is kept.
    """
    choose_clip(race, settings)
    return _conclude_race(lists, race, (), settings)


def choose_clip(race: Race, settings: RunSettings) -> None:
    """The race for the clip, with which a run by race begins; as `vidnas.pipeline.race.race.Race.choose_clip`."""
    with settings.clock.phase(_RACE):
        race.choose_clip()


def run_search_and_race(
    request: SearchRequest, inputs: SearchInputs, search: SearchConfig, race: Race, settings: RunSettings
) -> RunOutcome:
    """Search on a supernet at the clip that `choose_clip` found, then race with what it proposes, and as `run_race`."""
    searched = _search(request, inputs, search)
    return _conclude_race(inputs.lists, race, searched[0].proposals(), settings, searched)


def _search(request: SearchRequest, inputs: SearchInputs, search: SearchConfig) -> tuple[Searched, list[Phase]]:
    start = time.perf_counter()
    searched = search_on_supernet(request, inputs, search)
    took, times = time.perf_counter() - start, [step.result.sec for step in searched.steps]
    if len(times) > 1:
        return searched, [Phase(f"search: {name}", sec) for name, sec in zip(searched.names, times, strict=True)]
    # What was done before an interruption counts, baselines behind the search only where there was none.
    return searched, [Phase("search", max(times[0], took))]


def _conclude_race(
    lists: Lists,
    race: Race,
    supernet: list[Proposal] | tuple[()],
    settings: RunSettings,
    search: tuple[Searched, list[Phase]] | None = None,
) -> RunOutcome:
    with settings.clock.phase(_RACE):
        result = race.choose_network(supernet)
    searched, phases = search or (None, [])
    phases.append(Phase(_RACE, settings.clock.sec(_RACE)))
    winner, x3d = result.winner.proposal.spec, result.yardstick.proposal.spec
    # The winner may have come with another clip; X3D is compared with at that one.
    if winner.clip != x3d.clip:
        x3d = race.course.x3d(winner.clip).spec
    limits = race.course.limits
    device = limits.clock.device if limits.clock else None
    return _conclude(lists, limits.targets, winner, x3d, settings, searched, phases, device, result)


def _conclude(
    lists: Lists,
    targets: Mapping[str, float],
    spec: ArchSpec,
    x3d: ArchSpec,
    settings: RunSettings,
    searched: Searched | None,
    phases: list[Phase],
    device: Device | None,
    race: RaceResult | None = None,
) -> RunOutcome:
    with settings.clock.phase(_FINALS):
        finals = train_finals(
            spec,
            x3d,
            lists,
            settings.training,
            settings.data,
            settings.views,
            settings.paths.root,
            seeds=settings.seeds,
            executor=settings.executor,
            resume=settings.resume,
        )
    phases.append(Phase(_FINALS, settings.clock.sec(_FINALS)))
    measured_ms: Mapping[str, float] = {}
    if device is not None and is_first_process():
        # Both in turns: what a machine takes for the same network is another some hours later.
        measured_ms = time_networks({"searched": spec} | ({} if finals.is_x3d else {"x3d": x3d}), device)
    outcome = RunOutcome(lists, targets, finals, searched, race, tuple(phases), settings.training, measured_ms)
    if is_first_process():
        write_json(settings.paths.result, summary(outcome))
    measured = "".join(f", {name} {ms:.3g} ms" for name, ms in measured_ms.items())
    log.info(headline(finals) + measured)
    if finals.same_videos is not None:
        log.info(f"on the same videos: {paired_text(finals.same_videos)}")
    return outcome


def summary(outcome: RunOutcome) -> dict[str, object]:
    """The comparison as builtins."""
    finals, searched = outcome.finals, outcome.searched

    def figures(trials: tuple[TrialResult, ...]) -> dict[str, object]:
        trial = trials[0]
        cost, test = network_cost(trial.spec), trial.tested()
        return {
            **test.figures(),
            **({} if test.correct is None else {"correct": int(test.correct.sum())}),
            "headlines": [one.tested().headline for one in trials],
            "videos": len(test.paths),
            "macs": cost.macs,
            "params": cost.params,
            "clip": cost.clip,
            "views": test.views,
            "kept": trial.kept,
        }

    same = finals.same_videos
    paired = {}
    if same is not None:
        paired = {
            "only_searched_right": same.only_searched_right,
            "only_x3d_right": same.only_x3d_right,
            "mcnemar_p": same.p_value,
        }
    ahead = finals.ahead
    return {
        "targets": dict(outcome.targets),
        "searched": figures(finals.searched),
        "x3d": figures(finals.x3d),
        "trainings_each": len(finals.seeds),
        "seeds": list(finals.seeds),
        "ahead": {"mean": ahead.mean, "standard_error": ahead.error if len(finals.seeds) > 1 else None},
        **paired,
        "measured_ms": dict(outcome.measured_ms),
        **({"alpha_steps": searched.alpha_steps, "search": searched.summary()} if searched else {}),
        **({"race": race_summary(outcome.race)} if outcome.race else {}),
        "phases_sec": {phase.name: phase.wall_sec for phase in outcome.phases},
    }
