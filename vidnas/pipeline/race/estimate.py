"""How long the trainings of a race take, from a few steps on noise."""

import math
from collections.abc import Sequence
from statistics import mean

from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.engine.run.runtime import choose_device, physical_memory, ran_out_of_memory
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.estimate import least_bytes, step_seconds
from vidnas.pipeline.race.plan import least_trials

# Of the time, what trainings side by side lose to each other, to clips and to tests.
_LOST = 0.75
# Of the hours that would be enough: the next command measures for itself.
_MARGIN = 1.1


def trial_seconds(specs: Sequence[ArchSpec], config: TrainConfig, workers: int, threads: int) -> float:
    """Of the clock per training, where several run side by side.

    Args:
        specs: X3D at the clips that start; their times are averaged.
        config: of a training, its length in steps.
        workers: trainings side by side.
        threads: of each.

    Raises:
        VidnasError: as `mean_step_seconds`.
    """
    assert config.steps, "see TrainConfig.in_steps"
    return config.steps * mean_step_seconds(specs, config, threads) / _LOST / workers


def mean_step_seconds(specs: Sequence[ArchSpec], config: TrainConfig, threads: int | None) -> float:
    """Of the clock per training step of those networks that memory is enough for; the trials of others fail at once.

    Raises:
        VidnasError: it is enough for none.
    """
    times = []
    on_cpu = choose_device(config.device).type == "cpu"
    for spec in specs:
        # On a CPU the system would end the process.
        if on_cpu and least_bytes(spec, config) > physical_memory():
            continue
        try:
            times.append(step_seconds(spec, config, threads))
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
    if not times:
        raise VidnasError(
            f"memory runs out in a training step of X3D at {', '.join(str(spec.clip) for spec in specs)}; use a "
            "smaller train.batch_size, a larger train.accumulate, train.activation_checkpointing, or another --clip"
        )
    return mean(times)


def trials_within(hours: float, trial_sec: float, trials: int, clips: int, reserved: int, share: float = 1.0) -> int:
    """How many trainings fit into a time beside those that follow the race, up to `trials`.

    Args:
        hours: that were given.
        trial_sec: of each.
        trials: that are wanted.
        clips: that start.
        reserved: trainings that follow.
        share: of the hours, that they may take together; the rest is a supernet's.

    Raises:
        VidnasError: not even the smallest race fits; says what would.
    """
    fitting = max(0, int(share * hours * 3600 / trial_sec))
    least = least_trials(clips) + reserved
    if fitting < least:
        part = f", of which {share * hours:g} are not the supernet's" if share < 1 else ""
        enough = f"{_rounded_up(_MARGIN * least * trial_sec / 3600 / share):g} hours"
        fewer = ", fewer --train.steps, or a --clip" if clips > 1 else " or fewer --train.steps"
        raise VidnasError(
            f"--max-hours {hours:g}{part}: {fitting} trainings fit, and {least} or more are needed: give "
            f"{enough}{fewer}"
        )
    return min(trials, fitting - reserved)


def _rounded_up(number: float) -> float:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return unit * math.ceil(number / unit)


def format_hours(seconds: float) -> str:
    """`2 h 5 min`, or minutes alone, one at least."""
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
