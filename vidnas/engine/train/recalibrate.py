"""Batch norm statistics estimated anew, for weights that the running ones do not belong to."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vidnas.base.errors import VidnasError


@torch.no_grad()
def recalibrate_norms(network: nn.Module, clips: Iterable[Tensor]) -> int:
    """Reset the running statistics of all batch norms and set them to the plain average over batches.

    Everything else (dropout, the weights) stays as in evaluation. Used after averaging weights and for networks taken
    out of a supernet.

    Args:
        network: its norms are changed in place; modes are put back.
        clips: batches (N, C, T, H, W) on the network's device.

    Returns:
        The number of batches used.

    Raises:
        VidnasError: no batch at all.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    modes = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    count = 0
    try:
        for batch in clips:
            network(batch)
            count += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    if not count:
        raise VidnasError("norm statistics need at least one batch of clips")
    return count
