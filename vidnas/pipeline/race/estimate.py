"""How long the trainings of a race take, from a few steps on noise."""

import time
from collections.abc import Sequence

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


def trials_within(
    hours: float, specs: Sequence[ArchSpec], config: TrainConfig, workers: int, threads: int, trials: int
) -> int:
    """How many trainings fit into a time, up to `trials`.

    Args:
        hours: that they may take together.
        specs: X3D at the clips that start; their times are averaged.
        config: of a training.
        workers: trainings side by side.
        threads: of each.
        trials: that are wanted.

    Raises:
        VidnasError: not even the smallest race fits; says what would.
    """
    steps = config.num_steps(1)
    sec = steps * sum(step_seconds(spec, config, threads) for spec in specs) / len(specs) / _LOST / workers
    fitting = int(hours * 3600 / sec)
    least = least_trials(len(specs))
    if fitting < least:
        raise VidnasError(
            f"race.max_hours {hours:g}: {fitting} trainings of {steps} steps fit, and a race has {least} or more: give "
            f"{1.01 * least * sec / 3600:.2g} hours, fewer --train.steps, or a --clip"
        )
    return min(trials, fitting)


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
