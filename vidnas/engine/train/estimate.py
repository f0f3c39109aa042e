"""What a step of a training takes, from a few of them on noise."""

import time
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.data.dataset import Batch
from vidnas.data.video_list import target_of
from vidnas.engine.run import runtime
from vidnas.engine.run.fabric import make_fabric, quiet_lightning
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.train import fresh_network
from vidnas.engine.train.training import Pace, Training

_MEASURED_STEPS = 3
# No step that is measured ends an epoch or writes curves.
_NEVER = 1_000_000


def least_bytes(spec: ArchSpec, config: TrainConfig) -> int:
    """What a step cannot do without: weights, gradients, and what convolutions write, unless it is computed again."""
    cost = network_cost(spec)
    clips = 0 if config.activation_checkpointing else config.batch_size // config.accumulate
    return 2 * 4 * cost.params + (4 if config.precision == "fp32" else 2) * clips * cost.activations


def step_seconds(spec: ArchSpec, config: TrainConfig, threads: int | None = None) -> float:
    """Of the clock, of an optimiser step with these settings, the making of clips not counted.

    Args:
        spec: the network.
        config: settings of the training.
        threads: of the CPU; None is as many as there are.

    Raises:
        VidnasError: a device or a precision that is not to be had here.
        RuntimeError: memory runs out, see `vidnas.engine.run.runtime.ran_out_of_memory`.
    """
    before = torch.get_num_threads()
    runtime.tune_allocator()
    runtime.set_threads(threads)
    runtime.use_repeatable_kernels()
    try:
        with TemporaryDirectory() as folder, quiet_lightning():
            training = Training(
                fresh_network(spec, config.seed),
                replace(config, log_every_steps=_NEVER),
                Pace(_NEVER, _NEVER),
                RunFolder(Path(folder)),
                {},
                make_fabric(runtime.choose_device(config.device), config.precision),
                lambda _: repeat(_noise(spec, config.batch_size // config.accumulate)),
                reports=False,
            )
            training.network.activation_checkpointing = config.activation_checkpointing
            times = [_time_step(training) for _ in range(1 + _MEASURED_STEPS)]
            training.close()
            return min(times[1:])  # the first one warms up
    finally:
        torch.set_num_threads(before)


def _noise(spec: ArchSpec, size: int) -> Batch:
    clip, head = spec.clip, spec.head
    clips = torch.randn(size, 3, clip.frames, clip.size, clip.size).to(memory_format=torch.channels_last_3d)
    target = target_of((0,) if head.kind == "multi_label" else 0, head.num_classes)
    targets = torch.from_numpy(np.stack([target] * size))
    return Batch(clips, targets, torch.ones(size, dtype=torch.bool), torch.zeros(size, dtype=torch.int64))


def _time_step(training: Training) -> float:
    start = time.perf_counter()
    training.take_step()
    if training.fabric.device.type == "cuda":
        torch.cuda.synchronize(training.fabric.device)
    return time.perf_counter() - start
