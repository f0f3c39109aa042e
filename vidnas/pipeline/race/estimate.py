"""How long the trainings of a race take, from a few steps on noise."""

import math
import time
from collections.abc import Sequence
from statistics import mean

import torch

from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.engine.run import runtime
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.optim import make_optimizer
from vidnas.engine.train.train import fresh_network
from vidnas.pipeline.race.plan import least_trials

_STEPS = 3
# Of the time, what trainings side by side lose to each other, to clips and to tests.
_LOST = 0.75
# Of the hours that would be enough: the next command measures for itself.
_MARGIN = 1.1


def trial_seconds(specs: Sequence[ArchSpec], config: TrainConfig, workers: int, threads: int) -> float:
    """Of the clock per training, where several run side by side.

    Args:
        specs: X3D at the clips that start; their times are averaged.
        config: of a training.
        workers: trainings side by side.
        threads: of each.
    """
    return config.num_steps(1) * mean(step_seconds(spec, config, threads) for spec in specs) / _LOST / workers


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
            f"--max-hours {hours:g}{part}: {fitting} trainings fit, and {least} or more are needed: give {enough}{fewer}"
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


def step_seconds(spec: ArchSpec, config: TrainConfig, threads: int) -> float:
    """Of one training step on the device of the settings."""
    device = runtime.choose_device(config.device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        network = fresh_network(spec, 0).to(device).train()
        optimizer = make_optimizer(network, config)
        clip = spec.clip
        clips = torch.randn(config.batch_size, 3, clip.frames, clip.size, clip.size, device=device)
        clips = clips.to(memory_format=torch.channels_last_3d)
        times = []
        for _ in range(1 + _STEPS):
            start = time.perf_counter()
            loss = network(clips).float().square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss.item()  # waits for the device
            times.append(time.perf_counter() - start)
        return min(times[1:])
    finally:
        torch.set_num_threads(before)
