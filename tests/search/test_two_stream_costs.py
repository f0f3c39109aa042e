"""Costs of two streams with searched fusions by look-up: against the decoded networks, and against enumeration."""

import random
import time
from itertools import islice, product
from typing import get_args

import numpy as np
import pytest
from latency_examples import planted_table
from random_spaces import random_two_stream_space
from test_supernet import random_choice

from vidnas.arch.cost import network_cost
from vidnas.arch.sub_layers import SubLayer, network_sub_layers
from vidnas.search.costs import CostTable, Metric
from vidnas.search.entropy import entropy_table, network_entropy
from vidnas.search.factor_fronts import best_under, pareto_front
from vidnas.search.factors import Factor, FactorSum
from vidnas.search.latency_costs import latency_costs, reached_shapes
from vidnas.search.sampling import draws_within
from vidnas.search.space.published.auto_tsnet import auto_tsnet_space
from vidnas.search.space.space import Choice, Space

METRICS: tuple[Metric, ...] = get_args(Metric)
# Spaces of 36 to 240 networks, with every kind of fusion among their options.
TINY = (13, 19, 21, 26, 29, 31, 46, 48, 52)


def every_choice(space: Space) -> list[Choice]:
    return list(product(*map(range, space.sizes)))


@pytest.mark.parametrize("metric", METRICS)
def test_costs_of_the_published_space_are_those_of_its_networks(metric: Metric) -> None:
    space = auto_tsnet_space()
    rng = random.Random(0)
    choices = [space.smallest(), space.largest(), *(random_choice(space, rng) for _ in range(20))]
    expected = [getattr(network_cost(space.decode(choice)), metric) for choice in choices]
    assert CostTable.of(space, metric).costs(choices).tolist() == expected


def test_the_tables_of_the_published_space_are_small_and_answer_quickly() -> None:
    start = time.process_time()
    table = CostTable.of(auto_tsnet_space())
    rng = np.random.default_rng(0)
    scores = FactorSum.of(table.sizes, [Factor((v,), rng.normal(size=n)) for v, n in enumerate(table.sizes)])
    front = pareto_front(table.terms, scores)
    list(islice(draws_within(table.terms, 2.0e9, 0), 20))
    # About 1 s altogether; CPU seconds, as the machine may be busy.
    assert time.process_time() - start < 5
    assert len(front.costs) > 100
    # What enters, expansion, channels, and the kind and the channels of what is fused.
    assert max(factor.values.size for factor in table.terms.factors) <= 5 * 7 * 5 * 4 * 4


@pytest.mark.parametrize("seed", TINY)
def test_every_choice_of_a_tiny_space_its_range_front_and_draws(seed: int) -> None:
    space = random_two_stream_space(seed)
    choices = every_choice(space)
    networks = [space.decode(choice) for choice in choices]
    for metric in METRICS:
        costs = CostTable.of(space, metric).costs(choices).tolist()
        assert costs == [getattr(network_cost(network), metric) for network in networks]
    table = CostTable.of(space)
    costs = table.costs(choices)
    assert (table.cheapest()[1], table.dearest()[1]) == (min(costs), max(costs))
    scores = entropy_table(space)
    own = np.array([network_entropy(network) for network in networks])
    assert scores.costs(choices) == pytest.approx(own, rel=1e-12)
    for share in (0.1, 0.5, 0.9):
        limit = min(costs) + share * (max(costs) - min(costs))
        best = best_under(table.terms, scores.terms, limit)
        assert table.cost(best) <= limit
        assert scores.cost(best) == pytest.approx(own[costs <= limit].max(), rel=1e-12)
    front = pareto_front(table.terms, scores.terms)
    for place, (cost, score) in enumerate(zip(front.costs, front.scores, strict=True)):
        assert score == pytest.approx(own[costs <= cost].max(), rel=1e-12)
        assert table.cost(front.choice(place)) == cost


def test_draws_within_a_budget_are_uniform() -> None:
    space = random_two_stream_space(26)
    table = CostTable.of(space)
    choices = every_choice(space)
    costs = table.costs(choices)
    limit = float(np.quantile(costs, 0.1))
    allowed = {choice for choice, cost in zip(choices, costs, strict=True) if cost <= limit}
    drawn = list(islice(draws_within(table.terms, limit, 3), 100 * len(allowed)))
    counts = np.array([drawn.count(choice) for choice in allowed])
    assert set(drawn) == allowed
    # Chi squared has len(allowed) - 1 degrees of freedom, deviation sqrt(2 n): four of these.
    assert ((counts - 100) ** 2 / 100).sum() < len(allowed) + 4 * (2 * len(allowed)) ** 0.5


@pytest.mark.parametrize("seed", TINY[:4])
def test_milliseconds_and_the_sub_layers_that_are_measured_for_them(seed: int) -> None:
    space = random_two_stream_space(seed)
    networks = [space.decode(choice) for choice in every_choice(space)]
    reached = reached_shapes(space)
    found = {sub_layer for network in networks for sub_layer in network_sub_layers(network)}
    assert {SubLayer(layer, channels) for layer, shapes in reached.items() for channels in shapes} == found
    table = planted_table(space)
    expected = [table.network_ms(network) for network in networks]
    assert latency_costs(space, table).costs(every_choice(space)) == pytest.approx(expected, rel=1e-12)
