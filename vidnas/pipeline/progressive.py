"""Progressive search: a space of two streams in steps, each built on what the one before has found.

Every step is a search of its own in a folder of its own, with its part of the space, targets, schedule, and alpha and
optimisers at their start. What earlier steps have chosen is fixed, their weights go on and are still trained
(Auto-TSNet sec. 4.2).
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidnas.arch.cost import format_amount, network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file, write_json
from vidnas.base.log import is_first_process, log
from vidnas.data.datamodule import DataConfig
from vidnas.data.video_list import VideoList
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.processes import together
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.supernet.folder import SearchFolder
from vidnas.pipeline.lists import search_parts
from vidnas.pipeline.plan import SearchPlan
from vidnas.pipeline.search import BuiltOn, SearchStep, search_videos
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable, analytic
from vidnas.search.space.progressive import STEPS, step_space
from vidnas.search.space.space import Space

# The paper's 1.4 of 2.0 GMACs before attention, 2.0 of 2.5 with it, and 800, 400 and 200 of 1400 epochs.
STREAM_SHARE, ATTENTION_SHARE, EPOCH_SHARES = 0.7, 0.2, (4 / 7, 2 / 7, 1 / 7)


@dataclass(frozen=True)
class StepSettings:
    """How a step searches.

    Attributes:
        targets: budgets of the whole network that it leaves, by metric: macs, params or activations.
        search: settings.
    """

    targets: Mapping[str, float]
    search: SearchConfig


def divided(
    space: Space, targets: Mapping[str, float], search: SearchConfig, step_macs: Sequence[float] | None = None
) -> list[StepSettings]:
    """The steps of a search of so many epochs under these targets, in the paper's proportions.

    Deviation: attention is left no more than half of what it costs at every place. In the paper's space that is just
    above its fifth; in small networks attention costs less, and a search would end far below its target.

    Args:
        space: the whole.
        targets: of the whole network, by metric.
        search: settings of all steps together.
        step_macs: targets in multiply-adds of the first two steps instead.
    """
    steps = []
    left = {
        metric: min(ATTENTION_SHARE * target, attention_cost(space, metric) / 2) for metric, target in targets.items()
    }
    for step, of_epochs in enumerate(EPOCH_SHARES):
        own = dict(targets)
        if step < 2:
            share = STREAM_SHARE if step == 0 else 1.0
            own = {metric: share * (target - left[metric]) for metric, target in targets.items()}
        if step_macs is not None and step < len(step_macs):
            own["macs"] = step_macs[step]
        epochs = max(1, round(of_epochs * search.epochs))
        number = None if search.steps is None else max(1, round(of_epochs * search.steps))
        warmup = of_epochs * search.warmup_epochs
        steps.append(StepSettings(own, replace(search, epochs=epochs, steps=number, warmup_epochs=warmup)))
    return steps


def attention_cost(space: Space, metric: str) -> float:
    """What attention at every place costs in a network with the middle option of everything else."""
    table = CostTable.of(space, analytic(metric))
    middle = [size // 2 for size in space.sizes]
    most, least = list(middle), list(middle)
    for v, variable in enumerate(space.variables):
        if variable.kind == "attention":
            costs = table.costs([(*middle[:v], option, *middle[v + 1 :]) for option in range(variable.size)])
            most[v], least[v] = int(costs.argmax()), int(costs.argmin())
    return table.cost(tuple(most)) - table.cost(tuple(least))


@dataclass(frozen=True)
class ProgressiveResult:
    """What was found.

    Attributes:
        spec: the network.
        record: what `result.json` in the folder holds.
        steps: all of them, in order.
    """

    spec: ArchSpec
    record: Mapping[str, Any]
    steps: tuple[SearchStep, ...]


def step_folder(step: int) -> str:
    """Where a step has its files, in the folder of the whole."""
    return f"step{step + 1}"


def search_progressively(
    space: Space,
    train: VideoList,
    steps: Sequence[StepSettings],
    data_config: DataConfig,
    root: Path,
    *,
    resume: bool = False,
) -> ProgressiveResult:
    """Search all steps one after the other; killed at any moment, it goes on with `resume` to the same result.

    Args:
        space: two streams, for the classes of the list.
        train: the training list; its parts are made with the seed of the first step.
        steps: as many as `STEPS`.
        data_config: how clips are made.
        root: folder; each step has one in it.
        resume: go on with what is there.

    Raises:
        Interrupted: stopped by a signal; the state is saved.
        VidnasError: a target that some choice of earlier steps would leave no room for, or as `search_videos`.
    """
    check_steps(space, steps)
    parts = search_parts(train, steps[0].search.seed)
    ended: list[SearchStep] = []
    before: BuiltOn | None = None
    with ExitStack() as held:
        together(held.enter_context, RunFolder(root).lock())
        for step, settings in enumerate(steps):
            part = step_space(space, step, before.result.spec if before else None)
            plan = _plan(part, train, parts, settings.targets)
            data = SearchData(train, parts, part.clip, data_config, settings.search)
            log.info(f"step {step + 1} of {len(steps)}, {STEPS[step]}: {plan.explanation}, target {plan.budgets_text}")
            folder = root / step_folder(step)
            result = search_videos(plan, data_config, data, settings.search, folder, resume=resume, built_on=before)
            before = BuiltOn(plan, settings.search, data.steps_per_epoch, result)
            ended.append(SearchStep(plan, result))
        found = ProgressiveResult(ended[-1].result.spec, _record(space, ended), tuple(ended))
        together(_write, found, SearchFolder(root))
    share = found.record["entropy_share"]
    log.info(f"{SearchFolder(root).derived}: {network_cost(found.spec)}, H/H0 {share:.2f} over all steps")
    return found


def check_steps(space: Space, steps: Sequence[StepSettings]) -> None:
    """Make sure before the first step that each can keep its target, whatever the earlier ones find.

    Raises:
        VidnasError: one cannot, or settings do not go together.
    """
    if len(steps) != len(STEPS):
        raise VidnasError(f"a progressive search has {len(STEPS)} steps ({', '.join(STEPS)}), {len(steps)} are given")
    if any(settings.search.baseline_names for settings in steps):
        raise VidnasError("search.baselines: not for a progressive search, whose steps are on supernets of their own")
    metrics = [tuple(settings.targets) for settings in steps]
    if len(set(metrics)) > 1 or not metrics[0]:
        raise VidnasError("every step of a progressive search needs targets of the same metrics")
    for f, fusion in enumerate(space.fusions):
        if "none" not in fusion.kind:
            rule = "a progressive search needs none among the kinds of every fusion, as it comes to them late; add it"
            raise VidnasError(f"space {space.name}: fusions.{f}.kind: {rule}")
    first = step_space(space, 0)
    for metric in metrics[0]:
        targets = [settings.targets[metric] for settings in steps]
        choice, least = CostTable.of(first, analytic(metric)).cheapest()
        second = step_space(space, 1, first.decode(choice))
        # Whatever stream 0 is, the cheapest stream 1 without fusions costs the same beside it.
        beside = CostTable.of(second, analytic(metric)).cheapest()[1] - least
        for step, (target, needed) in enumerate(zip(targets, (least, targets[0] + beside, targets[1]), strict=True)):
            if target < needed:
                raise VidnasError(
                    f"target {format_amount(metric, target)} of step {step + 1} ({STEPS[step]}) is below "
                    f"{format_amount(metric, needed)}, which networks of the steps before it may need @ {space.clip}; "
                    "raise it or lower those"
                )


def _plan(space: Space, train: VideoList, parts: Mapping[str, VideoList], targets: Mapping[str, float]) -> SearchPlan:
    """A target above the dearest network is kept by all."""
    tables = [CostTable.of(space, analytic(metric)) for metric in targets]
    return SearchPlan(
        train=train,
        space=space,
        budgets=tuple(Budget(table, target) for table, target in zip(tables, targets.values(), strict=True)),
        ranges=tuple((table.cheapest()[1], table.dearest()[1]) for table in tables),
        explanation=f"space {space.name}, clip {space.clip}, {space.size:.1e} architectures",
        parts=parts,
    )


def _record(space: Space, ended: Sequence[SearchStep]) -> dict[str, Any]:
    """The steps beside each other, and their entropies added up."""
    steps = [{"step": name, **step.summary()} for name, step in zip(STEPS, ended, strict=True)]
    entropy, initial = sum(step.entropy for step in ended), sum(step.initial_entropy for step in ended)
    return {
        "space": space.content_hash,
        "clip": str(space.clip),
        "steps": steps,
        "entropy": entropy,
        "initial_entropy": initial,
        "entropy_share": entropy / max(initial, 1e-12),
    }


def _write(found: ProgressiveResult, folder: SearchFolder) -> None:
    if is_first_process():
        replace_file(folder.derived, found.spec.to_json())
        write_json(folder.result, found.record)
