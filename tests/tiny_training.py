"""A network that trains in milliseconds, and settings for it."""

from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, GroupSpec, Kernel, StemSpec, StreamSpec
from vidnas.data.datamodule import DataConfig
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.recalibrate import recalibrate_norms
from vidnas.engine.train.train import fresh_network
from vidnas.nn.build import VideoNetwork

KERNEL = Kernel(t=3, s=3)


def tiny_spec(num_classes: int = 12, dropout: float = 0.2) -> ArchSpec:
    """8 x 32 x 32 clips spread over the video, three blocks, about 8,000 parameters."""
    groups = (
        GroupSpec(depth=1, stride=2, channels=8, expansion=2, kernel=KERNEL),
        GroupSpec(depth=2, stride=2, channels=16, expansion=2, kernel=KERNEL),
    )
    return ArchSpec(
        name="tiny",
        clip=ClipSpec(frames=8, size=32, sampling="uniform"),
        streams=(StreamSpec(stem=StemSpec(channels=8), groups=groups, conv5=32),),
        head=ClassificationSpec(num_classes=num_classes, hidden=32, dropout=dropout),
    )


def tiny_config(**changes: Any) -> TrainConfig:
    """Six steps of 12 clips."""
    settings = {"steps": 6, "batch_size": 12, "checkpoint_every_steps": 2, "log_every_steps": 1, "warmup_epochs": 0.2}
    return TrainConfig(**{**settings, **changes})


def tiny_data(root: Path, **changes: Any) -> DataConfig:
    """Clips made in the main process, straight from the files."""
    return DataConfig(**{"path": root, "workers": 0, "memory_budget_mib": 0, **changes})


def lively_network(num_classes: int = 12) -> VideoNetwork:
    """Random weights whose scores differ from clip to clip by far more than rounding."""
    network = fresh_network(tiny_spec(num_classes), 0)
    generator = torch.Generator().manual_seed(1)
    for norm in (module for module in network.modules() if isinstance(module, _BatchNorm)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
    noise = torch.rand(8, 3, 8, 4, 4, generator=generator).repeat_interleave(8, 3).repeat_interleave(8, 4)
    recalibrate_norms(network, [noise * 4 - 2])
    torch.nn.init.normal_(network.head.fc2.weight, generator=generator)
    return network
