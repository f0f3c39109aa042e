"""The whole job: find a network, train it and X3D at equal cost, test both on the same videos, report."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vidnas.arch.cost import network_cost
from vidnas.arch.latency import Device, LatencyTable
from vidnas.arch.spec import ArchSpec
from vidnas.base.files import write_json
from vidnas.base.log import is_first_process, log
from vidnas.data.augment import Views
from vidnas.data.datamodule import DataConfig
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import IN_THIS_PROCESS, Executor
from vidnas.engine.trials.job import TrialResult
from vidnas.pipeline.baselines import search_with_baselines
from vidnas.pipeline.finals import Finals, headline, train_finals
from vidnas.pipeline.latency import time_networks
from vidnas.pipeline.lists import Lists
from vidnas.pipeline.method import supernet_warning
from vidnas.pipeline.plan import SearchPlan, x3d_baseline
from vidnas.pipeline.race.race import Race
from vidnas.pipeline.race.result import RaceResult
from vidnas.pipeline.race.result import summary as race_summary
from vidnas.pipeline.search import SearchResult
from vidnas.report.data import Phase
from vidnas.report.verdict import paired_text
from vidnas.search.proposals import Proposal, different_in_turn


@dataclass(frozen=True)
class RunPaths:
    """What lies where in the folder of a run, beside the last trainings (`vidnas.pipeline.finals.final_folders`)."""

    root: Path

    @property
    def search(self) -> Path:
        """Archive, curves, derived spec, state."""
        return self.root / "search"

    @property
    def race(self) -> Path:
        """Trials and standings of a race."""
        return self.root / "race"

    @property
    def result(self) -> Path:
        """The comparison in figures."""
        return self.root / "result.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"


@dataclass(frozen=True)
class Searched:
    """A search on a supernet: what it was, and what it found."""

    plan: SearchPlan
    result: SearchResult


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
    seeds: int = 1
    executor: Executor = IN_THIS_PROCESS
    resume: bool = False


def run_search(
    lists: Lists, plan: SearchPlan, search_data: SearchData, search: SearchConfig, settings: RunSettings
) -> RunOutcome:
    """Search on a supernet, then train and test the network found and X3D.

    Several processes all call this; the first one writes and logs.

    Args:
        lists: training and test list.
        plan: the search, settled.
        search_data: the parts of the search as clips.
        search: settings of the search.
        settings: of the rest.

    Raises:
        Interrupted: stopped by a signal; everything done so far is kept.
    """
    if told := supernet_warning(search.schedule(search_data.steps_per_epoch).total):
        log.info(f"note: {told}")
    searched, phase = _search(plan, search_data, search, settings)
    spec = searched.result.spec
    x3d = x3d_baseline(spec, network_cost(spec).macs)
    device = LatencyTable.load(searched.result.folder.latency).device if "ms" in plan.targets else None
    return _conclude(lists, plan.targets, spec, x3d, settings, searched, [phase], device)


def run_race(lists: Lists, race: Race, settings: RunSettings) -> RunOutcome:
    """Race, then train and test the winner and X3D at its clip and cost.

    Args:
        lists: training and test list.
        race: on the training list.
        settings: of the rest.

    Raises:
        Interrupted: stopped by a signal; everything done so far is kept.
    """
    start = time.perf_counter()
    race.choose_clip()
    return _conclude_race(lists, race, (), settings, None, start)


def run_search_and_race(
    lists: Lists, race: Race, plan: SearchPlan, search_data: SearchData, search: SearchConfig, settings: RunSettings
) -> RunOutcome:
    """Search on a supernet at the clip that the race has chosen, then race with what it proposes, and as `run_race`."""
    searched, _ = _search(plan, search_data, search, settings)
    start = time.perf_counter()
    return _conclude_race(lists, race, supernet_proposals(searched), settings, searched, start)


def supernet_proposals(searched: Searched) -> list[Proposal]:
    """The candidates of a search, the one that it derived first, in turn with those of baselines on its supernet."""
    space, record = searched.plan.space, searched.result.record
    found = {"supernet": record["candidates"]}
    found |= {
        f"{name} on the supernet": baseline["candidates"] for name, baseline in record.get("baselines", {}).items()
    }
    sources = [
        [Proposal(space.decode(tuple(candidate["choice"])), source) for candidate in candidates]
        for source, candidates in found.items()
    ]
    return list(different_in_turn(sources))


def _search(plan: SearchPlan, data: SearchData, search: SearchConfig, settings: RunSettings) -> tuple[Searched, Phase]:
    start = time.perf_counter()
    result = search_with_baselines(plan, settings.data, data, search, settings.paths.search, resume=settings.resume)
    return Searched(plan, result), Phase("search", time.perf_counter() - start)


def _conclude_race(
    lists: Lists,
    race: Race,
    supernet: list[Proposal] | tuple[()],
    settings: RunSettings,
    searched: Searched | None,
    start: float,
) -> RunOutcome:
    result = race.choose_network(supernet)
    phases = [Phase("race", time.perf_counter() - start)]
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
    start = time.perf_counter()
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
    phases.append(Phase("last trainings and tests", time.perf_counter() - start))
    measured_ms: Mapping[str, float] = {}
    if device is not None and is_first_process():
        # Both in turns: what a machine takes for the same network is another some hours later.
        measured_ms = time_networks({"searched": spec, "x3d": x3d}, device)
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
    finals = outcome.finals

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
        **({"alpha_steps": outcome.searched.result.record["alpha_steps"]} if outcome.searched else {}),
        **({"race": race_summary(outcome.race)} if outcome.race else {}),
        "phases_sec": {phase.name: phase.wall_sec for phase in outcome.phases},
    }
