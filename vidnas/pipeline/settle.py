"""How long a job takes and how many epochs it gets: measured once, at its start, and kept for its resumption."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidnas.base.files import read_json, write_json
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.supernet.estimate import SearchEstimate, fit_length
from vidnas.engine.train.config import TrainConfig
from vidnas.pipeline.plan import SearchPlan
from vidnas.pipeline.race.estimate import format_hours
from vidnas.pipeline.search import estimate_search


@dataclass(frozen=True)
class JobSettings:
    """The settings of a job after any time limit.

    Attributes:
        search: settings of the search.
        training: settings of the trainings, for a whole run.
        line: what it will take, for the user.
    """

    search: SearchConfig
    training: TrainConfig | None
    line: str


def settle(
    plan: SearchPlan,
    data: SearchData,
    search: SearchConfig,
    training: TrainConfig | None,
    trainings: int,
    max_hours: float | None,
) -> JobSettings:
    """Measure a few steps, and give the job fewer epochs where it would take longer than `max_hours`.

    Epochs of search and training shrink in the same proportion.

    Args:
        plan: of the search.
        data: its parts as clips.
        search: settings of the search.
        training: settings of the trainings that follow; None where none do.
        trainings: how many follow.
        max_hours: for all; None is as long as it takes.
    """
    if training is not None:
        training = training.with_length(len(plan.train), len(plan.train.classes))
    estimate = estimate_search(plan, data, search)
    steps = data.steps_per_epoch
    wanted = _lengths(plan, steps, search, training)
    whole = _seconds(estimate, plan, steps, search, training, trainings)
    if max_hours is not None and whole > 3600 * max_hours:
        part = 3600 * max_hours / whole
        if training is not None:
            num_steps = training.num_steps(_steps_per_epoch(plan, training))
            training = replace(training.shorten(part), epochs=None, steps=max(1, int(num_steps * part)))
        search = fit_length(search, estimate, steps, part * estimate.total_sec(search.schedule(steps)))
        whole = _seconds(estimate, plan, steps, search, training, trainings)
    return JobSettings(search, training, _describe(whole, estimate, _lengths(plan, steps, search, training), wanted))


def keep(settled: JobSettings, path: Path) -> None:
    """Remember the lengths for a resumed run, which must not measure, and so decide, anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    training = settled.training
    record = {
        "search": {name: getattr(settled.search, name) for name in ("epochs", "steps")},
        "train": {name: getattr(training, name) for name in ("epochs", "steps", "warmup_epochs")} if training else None,
    }
    write_json(path, record)


def kept(search: SearchConfig, training: TrainConfig | None, path: Path) -> JobSettings | None:
    """The settings with the lengths of the start of the run, or None where there was none."""
    if not path.exists():
        return None
    record = read_json(path)
    if training is not None and record["train"] is not None:
        training = replace(training, **record["train"])
    return JobSettings(replace(search, **record["search"]), training, "lengths as settled at the start of the run")


def _seconds(
    estimate: SearchEstimate,
    plan: SearchPlan,
    steps_per_epoch: int,
    search: SearchConfig,
    training: TrainConfig | None,
    trainings: int,
) -> float:
    """The search, its baselines, and for a whole run the last trainings at the speed of its steps on the weights."""
    schedule = search.schedule(steps_per_epoch)
    # A baseline has as many evaluations as the steps on alpha.
    baselines_sec = len(search.baseline_names) * schedule.alpha_steps * estimate.alpha_step_sec
    seconds = estimate.total_sec(schedule) + baselines_sec
    if training is None:
        return seconds
    train_steps = training.num_steps(_steps_per_epoch(plan, training))
    return seconds + trainings * train_steps * estimate.weights_step_sec * training.batch_size / search.batch_size


def _steps_per_epoch(plan: SearchPlan, training: TrainConfig) -> int:
    return max(1, len(plan.train) // training.batch_size)


def _lengths(plan: SearchPlan, steps_per_epoch: int, search: SearchConfig, training: TrainConfig | None) -> list[int]:
    """Steps on alpha, and of each training that follows."""
    alpha = search.schedule(steps_per_epoch).alpha_steps
    return [alpha] + ([training.num_steps(_steps_per_epoch(plan, training))] if training else [])


def _describe(seconds: float, estimate: SearchEstimate, lengths: Sequence[int], wanted: Sequence[int]) -> str:
    """What it takes, and what of the lengths that were wanted the hours leave."""
    cut = lengths != wanted
    by = ", as --max-hours allows" if cut else ""
    told = [
        f"{number:,}{f' of {whole:,}' if cut else ''} steps {what}"
        for number, whole, what in zip(lengths, wanted, ("on alpha", "for each last training"), strict=False)
    ]
    return (
        f"estimated: {format_hours(seconds)} ({', '.join(told)}{by}), peak memory "
        f"{estimate.peak_memory_mib:.0f} MiB, disk {estimate.disk_mib:.0f} MiB"
    )
