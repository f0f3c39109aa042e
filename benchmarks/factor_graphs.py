"""How long the look-up, the range, draws and fronts of additive costs take: on the published spaces and on a ladder.

The ladder has the graph of two streams of eleven groups with Auto-TSNet's numbers of options: kernel, expansion,
channels and attention of every group of both, and a fusion after every group, which widens what the next sparse group
reads. Its costs are random; only the graph and the sizes matter. CPU seconds of one thread.

    python benchmarks/factor_graphs.py --out benchmarks/results/factor_graphs.json
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from machine import command_of, save

from vidnas.search.costs import CostTable
from vidnas.search.factor_fronts import best_under, pareto_front
from vidnas.search.factors import Factor, FactorSum, elimination
from vidnas.search.sampling import draws_within
from vidnas.search.space.published.auto_tsnet import auto_tsnet_space
from vidnas.search.space.published.autox3d import autox3d_space

REPEATS = 5
CHOICES = 10_000
DRAWS = 100
# Where between the cheapest and the dearest limits lie.
POSITIONS = (0.02, 0.1, 0.3)
SPARSE_WIDTHS = (3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 5)
DENSE_WIDTHS = (1, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4)
KERNELS, EXPANSIONS, FUSIONS, ATTENTION = 6, 7, 4, 2


def ladder(rng: np.random.Generator) -> FactorSum:
    """Random costs of two streams with fusions."""
    sizes: list[int] = []
    scopes: list[tuple[int, ...]] = []

    def variables(*numbers: int) -> list[int]:
        sizes.extend(numbers)
        return list(range(len(sizes) - len(numbers), len(sizes)))

    read_by_sparse: list[int] = []
    read_by_dense: list[int] = []
    for sparse_widths, dense_widths in zip(SPARSE_WIDTHS, DENSE_WIDTHS, strict=True):
        *sparse, sparse_attention = variables(KERNELS, EXPANSIONS, sparse_widths, ATTENTION)
        *dense, dense_attention = variables(KERNELS, EXPANSIONS, dense_widths, ATTENTION)
        (fusion,) = variables(FUSIONS)
        scopes += [(*read_by_sparse, *sparse), (*read_by_dense, *dense), (dense[-1], fusion)]
        scopes += [(sparse[-1], sparse_attention), (dense[-1], dense_attention)]
        read_by_sparse, read_by_dense = [sparse[-1], dense[-1], fusion], [dense[-1]]
    factors = (Factor(scope, rng.integers(1, 10**6, [sizes[v] for v in scope])) for scope in map(_rising, scopes))
    return FactorSum.of(sizes, factors)


def _rising(scope: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(scope))


def scores_of(costs: FactorSum, rng: np.random.Generator) -> FactorSum:
    """A normal score per option, as of log-probabilities."""
    return FactorSum.of(costs.sizes, [Factor((v,), rng.normal(size=size)) for v, size in enumerate(costs.sizes)])


def measured(costs: FactorSum, rng: np.random.Generator) -> dict[str, float]:
    """Median CPU seconds of each question."""
    scores = scores_of(costs, rng)
    choices = list(map(tuple, rng.integers(costs.sizes, size=(CHOICES, len(costs.sizes))).tolist()))
    least, greatest = costs.least()[1], costs.greatest()[1]
    limits = {position: least + position * (greatest - least) for position in POSITIONS}
    scopes = tuple(factor.variables for factor in costs.factors)
    questions: dict[str, Callable[[], object]] = {
        # Anew each time.
        "elimination": lambda: elimination.__wrapped__(costs.sizes, scopes),
        f"values of {CHOICES} choices": partial(costs.values, choices),
        "range": lambda: (costs.least(), costs.greatest()),
        "front": partial(pareto_front, costs, scores),
    }
    for position, limit in limits.items():
        questions[f"best within {position:g} of the range"] = partial(best_under, costs, scores, limit)
        questions[f"first {DRAWS} draws within {position:g} of the range"] = partial(_draw, costs, limit)
    return {name: _cpu_sec(question) for name, question in questions.items()}


def _draw(costs: FactorSum, limit: float) -> list[tuple[int, ...]]:
    return list(islice(draws_within(costs, limit, seed=0), DRAWS))


def _cpu_sec(question: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        question()
        seconds.append(time.process_time() - start)
    return round(statistics.median(seconds), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    spaces = {space.name: space for space in (autox3d_space(), auto_tsnet_space())}
    graphs = {name: CostTable.of(space).terms for name, space in spaces.items()} | {"ladder": ladder(rng)}
    record = {
        name: {"variables": len(costs.sizes), "choices": float(np.prod(costs.sizes, dtype=float))}
        | {"cpu_sec": measured(costs, rng)}
        for name, costs in graphs.items()
    }
    for name, space in spaces.items():
        record[name]["cpu_sec"] |= {"cost table": _cpu_sec(partial(CostTable.of, space))}
    for name, of_graph in record.items():
        print(f"{name}: {of_graph['variables']} variables, {of_graph['choices']:.1e} choices")
        for question, seconds in of_graph["cpu_sec"].items():
            print(f"  {question:40} {seconds:8.4f} s")
    save(options.out, command_of("bench-factors", parser, options), record)


if __name__ == "__main__":
    main()
