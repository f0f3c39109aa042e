"""Optimiser steps that leave alone what no sampled architecture used."""

import torch
from torch import Tensor


@torch.no_grad()
def step_where_used(optimizer: torch.optim.Optimizer) -> None:
    """Step; elements whose gradient is exactly zero keep their value and their momentum.

    An optimiser moves every element of a tensor that has a gradient: decay shrinks, and momentum goes on pushing, the
    slices that no sampled architecture used. Adam's step number is one per tensor and counts on for all of it.

    It holds a copy of parameters and optimiser state for the time of the step.
    """
    kept: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []
    for parameter in _moving(optimizer):
        assert parameter.grad is not None
        state = {name: value.clone() for name, value in _elementwise(optimizer, parameter).items()}
        kept.append((parameter.grad == 0, parameter.clone(), state))
    optimizer.step()
    for parameter, (unused, value, state) in zip(_moving(optimizer), kept, strict=True):
        parameter.copy_(torch.where(unused, value, parameter))
        for name, after in _elementwise(optimizer, parameter).items():
            # State that this very step made starts at zero where it is not used.
            after.copy_(torch.where(unused, state.get(name, torch.zeros_like(after)), after))


def _moving(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _elementwise(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """State with one number per element: momenta, not the step."""
    state = optimizer.state.get(parameter, {})
    return {n: v for n, v in state.items() if isinstance(v, Tensor) and n != "step" and v.shape == parameter.shape}
