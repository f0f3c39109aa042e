"""Search: from a plan to a derived architecture, in one folder that can be killed and resumed."""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, replace_file, write_json
from vidnas.base.log import is_first_process, log
from vidnas.data.datamodule import DataConfig
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.processes import get_world_size, together
from vidnas.engine.run.runtime import choose_device, set_threads, tune_allocator, use_repeatable_kernels
from vidnas.engine.run.state import check_identity, load_state
from vidnas.engine.supernet.candidates import Judgement, judge, probable_candidates
from vidnas.engine.supernet.config import Schedule, SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.supernet.estimate import SearchEstimate, measure_search
from vidnas.engine.supernet.folder import SearchFolder
from vidnas.engine.supernet.search import SupernetSearch, run_search
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.tasks.task import Task
from vidnas.pipeline.plan import SearchPlan
from vidnas.pipeline.unreadable import describe_unreadable, gather_unreadable
from vidnas.search.budget import Budget
from vidnas.search.derive import Candidate
from vidnas.search.inherit import inherit
from vidnas.search.space.space import Choice


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        spec: the derived architecture.
        record: as in result.json: choice, cost, candidates, probabilities, entropy, unreadable videos by part.
        folder: everything it left.
        sec: of the clock that it took, what an interruption lost not counted.
    """

    spec: ArchSpec
    record: Mapping[str, Any]
    folder: SearchFolder
    sec: float


@dataclass(frozen=True)
class SearchStep:
    """A search that has ended, all of one or a step of a progressive one.

    Attributes:
        plan: what was searched.
        result: what it found.
    """

    plan: SearchPlan
    result: SearchResult

    @property
    def entropy(self) -> float:
        """Of the distribution over architectures at the end, in nats."""
        found: float = self.result.record["entropy"]
        return found

    @property
    def initial_entropy(self) -> float:
        """At the start, where all architectures are as likely."""
        return math.fsum(math.log(size) for size in self.plan.space.sizes)

    def summary(self) -> dict[str, Any]:
        """What is told of it beside others, as builtins."""
        record = self.result.record
        return {
            "spec": self.result.spec.content_hash,
            "holdout": record["candidates"][0],
            "initial_entropy": self.initial_entropy,
            **{key: record[key] for key in ("entropy", "entropy_share", "cost", "targets", "choice")},
        }


@dataclass(frozen=True)
class BuiltOn:
    """A finished search that another one starts from: with the weights of the network that it has found.

    Attributes:
        plan: its space, target and parts.
        config: its settings.
        steps_per_epoch: of its data.
        result: what it has found.
    """

    plan: SearchPlan
    config: SearchConfig
    steps_per_epoch: int
    result: SearchResult

    @property
    def content_hash(self) -> str:
        """12 hex digits over all that its weights follow from."""
        content = {"identity": self.result.record["identity"], "choice": self.result.record["choice"]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def give_weights(self, search: SupernetSearch) -> None:
        """Put its weights into a search at its start."""
        config = self.config.for_processes(get_world_size())
        before = new_search(self.plan, config.schedule(self.steps_per_epoch), config)
        load_trained(before, self.result.folder, self.result.record["identity"])
        inherit(search.supernet, before.supernet, tuple(self.result.record["choice"]))


def prepare_process(config: SearchConfig, threads: int | None = None) -> SearchConfig:
    """Allocator, threads and repeatable kernels, before the first tensor; under torchrun, meet the other processes.

    Args:
        config: settings.
        threads: of the CPU, where these are not those of the settings.

    Returns:
        The settings, with the number of shards settled.

    Raises:
        VidnasError: batches, shards and processes that do not divide; more processes than GPUs.
    """
    tune_allocator()
    set_threads(threads or config.threads)
    use_repeatable_kernels()
    make_fabric(choose_device(config.device), config.precision)
    return together(config.for_processes, get_world_size())


def estimate_search(plan: SearchPlan, data: SearchData, config: SearchConfig) -> SearchEstimate:
    """Measure a few steps on a supernet that is thrown away."""
    schedule = config.schedule(data.steps_per_epoch)
    search = new_search(plan, schedule, config)
    weights_batch = together(next, iter(data.weights_batches(schedule)(0)))
    alpha_batch = together(next, iter(data.alpha_batches(schedule)(0)))
    return measure_search(search, weights_batch, alpha_batch)


def search_videos(
    plan: SearchPlan,
    data_config: DataConfig,
    data: SearchData,
    config: SearchConfig,
    root: Path,
    *,
    resume: bool = False,
    built_on: BuiltOn | None = None,
) -> SearchResult:
    """Train the supernet and alpha, then derive: candidates under the target are judged on the holdout.

    Several processes, started by torchrun and brought together by `prepare_process`, all call this; the first one
    writes and logs.

    Args:
        plan: space, target and parts.
        data_config: settings of the data, part of what a resumed search must share.
        data: the parts as clips.
        config: settings.
        root: folder; made if missing.
        resume: go on from the state in it, or return the result that is there.
        built_on: an earlier search whose weights this one starts with.

    Raises:
        Interrupted: stopped by a signal; the state is saved.
        VidnasError: as `vidnas.engine.supernet.search.run_search`.
    """
    config = config.for_processes(get_world_size())
    with ExitStack() as held:
        together(held.enter_context, RunFolder(root).lock())
        return _search_locked(plan, data_config, data, config, SearchFolder(root), resume, built_on)


def _search_locked(
    plan: SearchPlan,
    data_config: DataConfig,
    data: SearchData,
    config: SearchConfig,
    folder: SearchFolder,
    resume: bool,
    built_on: BuiltOn | None,
) -> SearchResult:
    schedule = config.schedule(data.steps_per_epoch)
    identity = _identity(plan, data_config, config)
    if built_on is not None:
        identity["built on"] = built_on.content_hash
    if resume and (finished := together(_finished_before, folder, identity)) is not None:
        log.info(f"{folder.derived}: searched already, nothing to do")
        return finished
    together(_open, folder, plan, {"search": asdict(config), "identity": identity}, resume)
    search = new_search(plan, schedule, config)
    if built_on is not None:
        built_on.give_weights(search)
    sec = run_search(
        search,
        data.weights_batches(schedule),
        data.alpha_batches(schedule),
        folder,
        identity,
        resume=resume,
    )
    start = time.perf_counter()
    alpha = search.alpha
    candidates = probable_candidates(alpha.distribution, alpha.budgets, config.candidates, config.budget_use)
    judged = judge_on_holdout(search, candidates, data)
    unreadable = gather_unreadable({"weights": data.weights, "alpha": data.alpha, "holdout": data.holdout})
    if unreadable:
        log.info(describe_unreadable(unreadable, {name: len(part) for name, part in plan.parts.items()}))
    told = {"unreadable": unreadable, "identity": identity, "settings": asdict(config)}
    record = {**_record(search, plan, judged), **told}
    spec = plan.space.decode(judged[0].derived.choice).model_copy(update={"name": "searched"})
    result = SearchResult(spec, record, folder, sec + time.perf_counter() - start)
    together(_write, result)
    predicted = f", predicted {record['cost']['ms']:.3g} ms" if "ms" in plan.targets else ""
    log.info(f"{folder.derived}: {network_cost(spec)}{predicted}, H/H0 {record['entropy_share']:.2f}")
    return result


def _finished_before(folder: SearchFolder, identity: Mapping[str, Any]) -> SearchResult | None:
    if not folder.result.exists():
        return None
    record = read_json(folder.result)
    check_identity(record["identity"], identity, folder.result)
    return SearchResult(ArchSpec.load(folder.derived), record, folder, read_json(folder.time)["sec"])


def _open(folder: SearchFolder, plan: SearchPlan, settings: Mapping[str, Any], resume: bool) -> None:
    if is_first_process():
        RunFolder(folder.root).open(settings, resume=resume)
        replace_file(folder.space, plan.space.to_json())
        if plan.latency_file is not None:
            replace_file(folder.latency, plan.latency_file.read_bytes())


def _write(result: SearchResult) -> None:
    if is_first_process():
        replace_file(result.folder.derived, result.spec.to_json())
        write_json(result.folder.time, {"sec": result.sec})
        write_json(result.folder.result, result.record)


def new_search(plan: SearchPlan, schedule: Schedule, config: SearchConfig) -> SupernetSearch:
    """A search at its start, on the device of the settings."""
    fabric = make_fabric(choose_device(config.device), config.precision)
    return SupernetSearch(plan.space, plan.budgets, schedule, config, fabric)


def load_trained(search: SupernetSearch, folder: SearchFolder, identity: Mapping[str, Any]) -> None:
    """Give a search at its start the weights and the distribution that a finished one ended with.

    Raises:
        VidnasError: they are missing, or those of another search.
    """
    state = load_state(folder.state)
    if state is None:
        raise VidnasError(f"{folder.state}: missing; the trained supernet is in it, so the search must be run again")
    check_identity(state["identity"], identity, folder.state)
    search.supernet.load_state_dict(state["supernet"])
    search.alpha.distribution.load_state_dict(state["alpha"]["alpha"])


def judge_on_holdout(search: SupernetSearch, candidates: Sequence[Candidate], data: SearchData) -> list[Judgement]:
    """Judge candidates with norm statistics of their own, best first."""
    return judge(search.supernet, candidates, data.norm_clips(), data.holdout_batches(), search.fabric.device)


def _record(search: SupernetSearch, plan: SearchPlan, judged: list[Judgement]) -> dict[str, Any]:
    distribution = search.alpha.distribution
    probabilities = distribution.probabilities().tolist()
    chosen = judged[0].derived.choice
    beliefs = [
        {
            "variable": str(variable),
            "options": list(plan.space.option_names(variable)),
            "probabilities": probabilities[i][: variable.size],
            "chosen": chosen[i],
        }
        for i, variable in enumerate(plan.space.variables)
    ]
    return {
        "choice": list(chosen),
        "cost": costs_of(chosen, plan.budgets),
        "targets": plan.targets,
        "clip": str(plan.space.clip),
        "entropy": distribution.entropy(),
        "entropy_share": distribution.entropy() / max(distribution.initial_entropy, 1e-12),
        "alpha_steps": search.schedule.alpha_steps,
        "candidates": [candidate_record(candidate, plan.budgets, task_of(plan.space.head)) for candidate in judged],
        "beliefs": beliefs,
    }


def candidate_record(candidate: Judgement, budgets: Sequence[Budget], task: Task) -> dict[str, Any]:
    """A judged candidate as builtins, with its cost by metric and the task's headline figure.

    The log-likelihood is None where it is not finite, for which JSON has no word.
    """
    return {
        "choice": list(candidate.derived.choice),
        "cost": costs_of(candidate.derived.choice, budgets),
        "log_prob": candidate.derived.log_prob,
        "rank": candidate.derived.rank,
        "holdout_log_likelihood": candidate.log_likelihood if math.isfinite(candidate.log_likelihood) else None,
        f"holdout_{task.headline.name}": candidate.headline,
    }


def costs_of(choice: Choice, budgets: Sequence[Budget]) -> dict[str, float]:
    """By metric, in the unit of each budget."""
    return {budget.costs.metric: budget.costs.costs([choice])[0].item() for budget in budgets}


def parts_identity(plan: SearchPlan) -> dict[str, str]:
    """What tells the parts of a search from others, by name."""
    return {f"{name} list": part.content_hash[:12] for name, part in plan.parts.items()}


def _identity(plan: SearchPlan, data: DataConfig, config: SearchConfig) -> dict[str, Any]:
    """What two runs must share to be the same search, as builtins."""
    settings = {f"search.{name}": value for name, value in config.fixed_settings().items()}
    settings |= {f"clips.{name}": value for name, value in data.fixed_settings().items()}
    return {"space": plan.space.content_hash, "targets": plan.targets, **parts_identity(plan), **settings}
