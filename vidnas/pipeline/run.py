"""The whole job: search, train what was found and X3D at equal cost, test both on the same videos, report."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vidnas.arch.cost import format_macs, network_cost
from vidnas.base.files import write_json
from vidnas.base.log import is_first_process, log
from vidnas.data.augment import Views
from vidnas.data.datamodule import DataConfig
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import IN_THIS_PROCESS, Executor
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.baselines import search_with_baselines
from vidnas.pipeline.latency import time_networks
from vidnas.pipeline.lists import Lists
from vidnas.pipeline.plan import SearchPlan, x3d_baseline
from vidnas.pipeline.search import SearchResult
from vidnas.report.data import PairedComparison, Phase
from vidnas.report.verdict import paired_text, trainings


@dataclass(frozen=True)
class RunPaths:
    """What lies where in the folder of a run."""

    root: Path

    @property
    def search(self) -> Path:
        """Archive, curves, derived spec, state."""
        return self.root / "search"

    @property
    def searched(self) -> Path:
        """Training run of the network found, and its test."""
        return self.root / "searched"

    @property
    def x3d(self) -> Path:
        """Training run of X3D at equal cost, and its test."""
        return self.root / "x3d"

    @property
    def result(self) -> Path:
        """The comparison in figures."""
        return self.root / "result.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"


@dataclass(frozen=True)
class RunOutcome:
    """Everything that the page is made from.

    Attributes:
        measured_ms: of one clip on the device of a budget in milliseconds, by the name of the network; else empty.
    """

    lists: Lists
    plan: SearchPlan
    search: SearchResult
    searched: TrialResult
    x3d: TrialResult
    phases: tuple[Phase, ...]
    measured_ms: Mapping[str, float]

    @property
    def paired(self) -> PairedComparison | None:
        """Test videos that only one of the two got right; None where videos are not right or wrong as a whole."""
        searched, x3d = self.searched.tested().correct, self.x3d.tested().correct
        if searched is None or x3d is None:
            return None
        return PairedComparison(int((searched & ~x3d).sum()), int((x3d & ~searched).sum()))


def run_videos(
    lists: Lists,
    plan: SearchPlan,
    data_config: DataConfig,
    search_data: SearchData,
    search_config: SearchConfig,
    train_config: TrainConfig,
    views: Views,
    paths: RunPaths,
    *,
    executor: Executor = IN_THIS_PROCESS,
    resume: bool = False,
) -> RunOutcome:
    """Search, then train and test the network found and X3D. The test list is used once for each, at the end.

    Several processes all call this; the first one writes and logs.

    Args:
        lists: training and test list.
        plan: the search, settled.
        data_config: how clips are made.
        search_data: the parts of the search as clips.
        search_config: settings of the search.
        train_config: settings of both trainings.
        views: of the test.
        paths: the run folder.
        executor: runs the two trainings.
        resume: go on where the folder's files end.

    Raises:
        Interrupted: stopped by a signal; everything done so far is kept.
    """
    phases: list[Phase] = []
    start = time.perf_counter()
    search = search_with_baselines(plan, data_config, search_data, search_config, paths.search, resume=resume)
    phases.append(Phase("search", time.perf_counter() - start))
    macs = network_cost(search.spec).macs
    baseline = x3d_baseline(search.spec, macs)
    named = {"searched": (search.spec, paths.searched), "X3D": (baseline, paths.x3d)}
    jobs = [
        TrialJob(spec, folder, lists.train, lists.test, train_config, data_config, views, resume=resume)
        for spec, folder in named.values()
    ]
    trials = {}
    for name, job in zip(named, jobs, strict=True):
        log.info(f"training {name}: {network_cost(job.spec)}")
        start = time.perf_counter()
        (trial,) = executor([job], lambda *_: None)
        test_sec = trial.tested().wall_sec
        phases.append(Phase(f"train {name}", time.perf_counter() - start - test_sec))
        phases.append(Phase(f"test {name}", test_sec))
        log.info(f"{name}: {trial.tested().describe()}")
        trials[name] = trial
    measured_ms: Mapping[str, float] = {}
    if "ms" in plan.targets and is_first_process():
        # X3D has the multiply-adds of the network found, which may take longer or shorter there.
        measured_ms = time_networks({"searched": search.spec, "x3d": baseline}, search.folder.latency)
    outcome = RunOutcome(lists, plan, search, trials["searched"], trials["X3D"], tuple(phases), measured_ms)
    if is_first_process():
        write_json(paths.result, summary(outcome))
    log.info(headline(outcome))
    if outcome.paired is not None:
        log.info(f"on the same videos: {paired_text(outcome.paired)}")
    return outcome


def summary(outcome: RunOutcome) -> dict[str, object]:
    """The comparison as builtins."""

    def figures(trial: TrialResult) -> dict[str, object]:
        cost, test = network_cost(trial.spec), trial.tested()
        return {
            **test.figures(),
            **({} if test.correct is None else {"correct": int(test.correct.sum())}),
            "videos": len(test.paths),
            "macs": cost.macs,
            "params": cost.params,
            "clip": cost.clip,
            "views": test.views,
            "kept": trial.kept,
        }

    paired = {}
    if outcome.paired is not None:
        paired = {
            "only_searched_right": outcome.paired.only_searched_right,
            "only_x3d_right": outcome.paired.only_x3d_right,
            "mcnemar_p": outcome.paired.p_value,
        }
    return {
        "targets": outcome.plan.targets,
        "searched": figures(outcome.searched),
        "x3d": figures(outcome.x3d),
        "trainings_each": 1,
        **paired,
        "measured_ms": dict(outcome.measured_ms),
        "alpha_steps": outcome.search.record["alpha_steps"],
        "phases_sec": {phase.name: phase.wall_sec for phase in outcome.phases},
    }


def headline(outcome: RunOutcome) -> str:
    """One line: both headline figures, the cost, and what they rest on."""
    searched, x3d = outcome.searched.tested(), outcome.x3d.tested()
    macs = format_macs(network_cost(outcome.searched.spec).macs)
    measured = "".join(f", {name} {ms:.3g} ms" for name, ms in outcome.measured_ms.items())
    return (
        f"searched {100 * searched.headline:.1f}%, X3D {100 * x3d.headline:.1f}% {searched.headline_figure.text} on "
        f"{len(searched.paths)} videos at {macs} @ {outcome.searched.spec.clip}{measured}: "
        f"{trainings(1)}"
    )
