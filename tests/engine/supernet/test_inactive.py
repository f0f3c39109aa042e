"""Steps that leave unused slices alone, against the plain optimiser and an optimiser per element."""

import copy

import pytest
import torch
from tiny_training import tiny_config
from torch import nn

from vidnas.engine.supernet.inactive import step_where_used
from vidnas.engine.train.optim import make_optimizer


def two(optimizer: str) -> tuple[nn.Linear, torch.optim.Optimizer]:
    """A matrix that decays and a bias that does not."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 4)
    return layer, make_optimizer(layer, tiny_config(optimizer=optimizer, lr=0.1, weight_decay=0.3))


def set_gradients(layer: nn.Linear, step: int) -> None:
    """Random ones in the first step; later only the first two rows are used."""
    generator = torch.Generator().manual_seed(step)
    for parameter in layer.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        if step:
            parameter.grad[2:] = 0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_unused_stay_bit_equal_and_used_move_as_they_would(optimizer: str) -> None:
    layer, skipping = two(optimizer)
    other, plain = two(optimizer)
    set_gradients(layer, 0)
    step_where_used(skipping)
    # With every element used the two are the same.
    set_gradients(other, 0)
    plain.step()
    for ours, theirs in zip(layer.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    before = copy.deepcopy((layer.state_dict(), skipping.state_dict()["state"]))
    for step in (1, 2, 3):
        set_gradients(layer, step)
        step_where_used(skipping)
        set_gradients(other, step)
        plain.step()
    values, states = before
    for i, name in enumerate(("weight", "bias")):
        ours, theirs = (getattr(module, name) for module in (layer, other))
        assert torch.equal(ours[:2], theirs[:2])
        assert torch.equal(ours[2:], values[name][2:])
        assert not torch.equal(theirs[2:], values[name][2:])  # the plain optimiser drifts on
        for key, kept in states[i].items():
            now, drifted = (o.state_dict()["state"][i][key] for o in (skipping, plain))
            assert key == "step" or torch.equal(now[2:], kept[2:])
            assert torch.equal(now[:2], drifted[:2]) if key != "step" else now == drifted == 4


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_the_first_step_does_not_use_has_no_momentum(optimizer: str) -> None:
    """SGD's first buffer is the gradient with its decay, which an unused element must not inherit."""
    layer, skipping = two(optimizer)
    before = layer.weight.detach().clone()
    set_gradients(layer, 1)
    step_where_used(skipping)
    assert torch.equal(layer.weight[2:], before[2:])
    momenta = [v for k, v in skipping.state[layer.weight].items() if k != "step"]
    assert momenta
    assert all((value[2:] == 0).all() and (value[:2] != 0).all() for value in momenta)


def test_a_parameter_without_gradient_is_left_out() -> None:
    layer, skipping = two("adamw")
    set_gradients(layer, 0)
    layer.bias.grad = None
    step_where_used(skipping)
    assert layer.bias not in skipping.state
    assert len(skipping.state[layer.weight]) == 3
