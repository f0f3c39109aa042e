"""Optimisers, the learning rate as a pure function of the step, and the average of the weights."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from vidnas.engine.config import OptimConfig


def make_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW, without weight decay on norms and biases.

    Deviation: X3D's official settings decay the biases of squeeze-excitation and fc2 (not the norms); here no vector
    decays.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        # Never fused: that needs momentum of all parameters or of none, and a supernet meets its parameters one by one.
        return torch.optim.SGD(groups, lr=config.peak_lr, momentum=config.momentum)
    # Fused steps take a fifth of the time on a CPU. On a GPU the default is as good, and a fused one would unscale
    # float16 gradients by itself, after they were clipped.
    fused = True if all(p.device.type == "cpu" for p in trained) else None
    return torch.optim.AdamW(groups, lr=config.peak_lr, fused=fused)


def learning_rate(peak: float, step: int, num_steps: int, warmup_steps: int) -> float:
    """Half-period cosine from `peak` to 0, with a linear rise over the first `warmup_steps` (X3D A.3).

    The rise ends on the cosine, so there is no jump; it takes half of all steps at most, since one that took them all
    would end at a rate of 0.
    """
    warmup = min(warmup_steps, num_steps // 2)
    cosine = peak * 0.5 * (1 + math.cos(math.pi * max(step, warmup) / num_steps))
    return cosine * min(1.0, (step + 1) / (warmup + 1))


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A moving average of the weights and the norm statistics.

    Its decay after t steps is (1 + t) / (10 + t) until that is `decay`. With `decay` from the start, 5% of what 1,500
    steps average at 0.998 would be statistics of the first step, whose variances are many times the later ones.
    """
    average = AveragedModel(network, use_buffers=True)

    def follow(averages: PARAM_LIST, values: PARAM_LIST, _: torch.Tensor | int) -> None:
        # Its own count is on the CPU: the one that is given would have a GPU waited for.
        steps = int(average.n_averaged)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + steps) / (10 + steps)))
        else:
            torch._foreach_copy_(averages, values)

    average.multi_avg_fn = follow
    return average
