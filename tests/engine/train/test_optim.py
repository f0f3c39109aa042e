"""Schedule and weight decay."""

import math
from itertools import pairwise

import pytest
import torch
from tiny_training import tiny_config, tiny_spec
from torch.nn.modules.batchnorm import _BatchNorm

from vidnas.engine.train.optim import averaged, learning_rate, make_optimizer
from vidnas.nn.build import build


def test_half_cosine_as_in_the_paper():
    # X3D A.3: the rate at iteration n is eta * 0.5 [cos(n / n_max * pi) + 1].
    for step in (0, 1, 250, 999):
        expected = 1.6 * 0.5 * (math.cos(step / 1000 * math.pi) + 1)
        assert learning_rate(1.6, step, 1000, 0) == pytest.approx(expected)


def test_warmup_rises_linearly_onto_the_cosine():
    rates = [learning_rate(1.0, step, 100, 20) for step in range(101)]
    rises = [after - before for before, after in pairwise(rates[:21])]
    assert rises == pytest.approx([rises[0]] * 20)
    assert rates[0] == pytest.approx(rates[20] / 21)
    assert rates[20] == max(rates) == pytest.approx(0.5 * (1 + math.cos(0.2 * math.pi)))
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[100] == pytest.approx(0)


def test_a_warmup_longer_than_the_run_takes_half_of_it():
    assert [learning_rate(1.0, step, 10, 50) for step in range(10)] == [
        learning_rate(1.0, step, 10, 5) for step in range(10)
    ]
    assert learning_rate(1.0, 5, 10, 50) == pytest.approx(0.5)
    assert learning_rate(1.0, 0, 1, 50) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_norms_and_biases_do_not_decay(optimizer):
    network = build(tiny_spec())
    groups = make_optimizer(network, tiny_config(optimizer=optimizer, weight_decay=0.5)).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    vectors = {id(p) for m in network.modules() if isinstance(m, _BatchNorm) for p in m.parameters()}
    vectors |= {id(p) for name, p in network.named_parameters() if name.endswith("bias")}
    assert len(decays) == len(list(network.parameters()))
    assert {key for key, decay in decays.items() if decay == 0} == vectors
    assert {decays[key] for key in decays.keys() - vectors} == {0.5}


def test_sgd_is_momentum_with_coupled_decay():
    network = torch.nn.Linear(3, 2, bias=False)
    optimizer = make_optimizer(network, tiny_config(optimizer="sgd", lr=0.1, weight_decay=0.01))
    weight, velocity = network.weight.detach().double().clone(), 0.0
    for gradient in (torch.full((2, 3), 0.5), torch.full((2, 3), -1.0)):
        network.weight.grad = gradient.clone()
        optimizer.step()
        velocity = 0.9 * velocity + gradient.double() + 0.01 * weight
        weight = weight - 0.1 * velocity
    torch.testing.assert_close(network.weight.double(), weight, rtol=1e-6, atol=1e-6)  # fp32 against fp64


def test_an_average_forgets_the_start_and_then_has_its_decay():
    norm = torch.nn.BatchNorm1d(1)
    average = averaged(norm, 0.998)

    def variance(steps: int, value: float) -> float:
        for _ in range(steps):
            norm.running_var.fill_(value)
            norm.num_batches_tracked += 1
            average.update_parameters(norm)
        assert average.module.num_batches_tracked == norm.num_batches_tracked
        return float(average.module.running_var)

    variance(1, 1.0)
    # 0.998 from the start would leave 0.82 of it here.
    assert variance(100, 0.0) < 1e-10
    # From step 4,490 on (1 + t) / (10 + t) is above the decay.
    variance(4500, 0.0)
    assert variance(500, 1.0) == pytest.approx(1 - 0.998**500, rel=1e-3)
