"""Tabular benchmarks: every architecture of a space with its measured results, so that a query is a look-up.

A table is a JSON object. A key is one digit per variable; its value is an object of columns, each a number or a list of
repeated results, of which the mean counts: {"0012": {"test_acc": [91.2, 91.4], "params": 81034}, ...}.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidnas.base.errors import VidnasError
from vidnas.search.budget import Budget, usage
from vidnas.search.space.space import Choice

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """A whole space with its results.

    Attributes:
        source: the file, for messages.
        sizes: number of options of each variable: its largest digit and those below.
        rows: columns of each choice.
    """

    source: str
    sizes: tuple[int, ...]
    rows: Mapping[Choice, Mapping[str, Any]]

    def column(self, name: str) -> Floats:
        """The values of all choices, indexed by choice, of shape `sizes`.

        Raises:
            VidnasError: a choice lacks the column, or has something else than finite numbers in it.
        """
        values = np.empty(self.sizes)
        for choice, row in self.rows.items():
            if name not in row:
                raise VidnasError(
                    f"{self.source}, key {_key(choice)}: has no column {name!r}, only {', '.join(sorted(row))}"
                )
            repeats = row[name] if isinstance(row[name], list) else [row[name]]
            if not repeats or not all(_is_number(value) for value in repeats):
                raise VidnasError(
                    f"{self.source}, key {_key(choice)}: {name} is {str(row[name])[:40]}; give a finite number or a "
                    "list of such"
                )
            values[choice] = fmean(repeats)
        return values

    def accuracies(self, name: str) -> Floats:
        """A column of accuracies in [0, 1]; it is read as percent if any value is above 1.

        Raises:
            VidnasError: as `column`, or a value is no accuracy.
        """
        values = self.column(name)
        if values.min() < 0 or values.max() > 100:
            raise VidnasError(
                f"{self.source}: {name} goes from {values.min():g} to {values.max():g}; accuracies lie within 0 and 1, "
                "or 0 and 100"
            )
        return values / 100 if values.max() > 1 else values

    def costs(self, name: str) -> "ColumnCosts":
        """A column as what architectures cost."""
        return ColumnCosts(name, self.column(name))


def read_table(path: Path) -> Table:
    """Read a table; it must have every choice of its space.

    Raises:
        VidnasError: the file is no such table; the message names the first key that is wrong.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VidnasError(f"{path}: cannot read the table ({error.strerror})") from error
    except ValueError as error:
        raise VidnasError(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict) or not data:
        raise VidnasError(f"{path}: not a table; give an object with a key of digits for every architecture")
    length = len(next(iter(data)))
    for key, row in data.items():
        if not (key.isascii() and key.isdecimal()):
            raise VidnasError(f"{path}: key {key!r} is not a string of digits, one per variable")
        if len(key) != length:
            raise VidnasError(f"{path}: key {key!r} has {len(key)} digits, the first one has {length}")
        if not isinstance(row, dict):
            raise VidnasError(f"{path}, key {key}: not an object of columns")
    rows = {tuple(int(digit) for digit in key): row for key, row in data.items()}
    sizes = tuple(max(digits) + 1 for digits in zip(*rows, strict=True))
    if len(rows) < prod(sizes):
        missing = next(choice for choice in product(*map(range, sizes)) if choice not in rows)
        raise VidnasError(
            f"{path}: has {len(rows)} of the {prod(sizes)} architectures that its digits make, {_key(missing)} for "
            "one is missing; a search needs all of them"
        )
    return Table(str(path), sizes, rows)


@dataclass(frozen=True)
class ColumnCosts:
    """Costs of choices by look-up in one column (a `CostModel`).

    Attributes:
        metric: the column's name.
        values: indexed by choice.
    """

    metric: str
    values: Floats

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of options of each variable."""
        return self.values.shape

    def costs(self, choices: Sequence[Choice]) -> Floats:
        """Cost of each choice, (choices,)."""
        return _look_up(self.values, choices)


class TabularScorer:
    """A supernet's scores, imitated: each choice of a call is judged on `images` images (a `Scorer`).

    Every image is right with the probability of the tabulated accuracy, independently of other images, choices and
    calls. With h hits of B images the score is B log((h + 1/2) / (B + 1)), a summed log-likelihood of the size and
    noise that the log of the accuracy has; the halves keep it finite. The choices of a call share nothing but B. In a
    supernet they share the images, so that their differences are less noisy than these, and the weights, so that
    scores are biased, which these are not.

    Args:
        accuracies: in [0, 1], indexed by choice.
        images: B.
        seed: the n-th call gives the same scores for the same choices.
    """

    def __init__(self, accuracies: Floats, images: int, seed: int) -> None:
        self.accuracies = accuracies
        self.images = images
        self.seed = seed
        self.calls = 0
        self.queries = 0

    def __call__(self, choices: Sequence[Choice]) -> list[float]:
        """Scores of one batch of images."""
        # A spawn key shares no stream with the searches, which draw from (seed, step) under the same seed.
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.calls,)))
        self.calls += 1
        self.queries += len(choices)
        hits = rng.binomial(self.images, _look_up(self.accuracies, choices))
        scores: list[float] = (self.images * np.log((hits + 0.5) / (self.images + 1))).tolist()
        return scores


@dataclass(frozen=True)
class TabularProblem:
    """Find the most accurate choice within the budgets.

    Attributes:
        accuracies: in [0, 1], indexed by choice.
        budgets: on the same space; all are to be kept.
    """

    accuracies: Floats
    budgets: tuple[Budget, ...]

    @cached_property
    def best(self) -> float:
        """The greatest accuracy within the budgets.

        Raises:
            VidnasError: no choice is.
        """
        fits = usage(self.budgets, list(product(*map(range, self.accuracies.shape)))) <= 1
        if not fits.any():
            wanted = ", ".join(f"{budget.costs.metric} <= {budget.target:.4g}" for budget in self.budgets)
            raise VidnasError(f"no architecture of the table has {wanted}; raise the target")
        return float(self.accuracies.ravel()[fits].max())

    def regret(self, choice: Choice) -> float:
        """How much less accurate than the best a choice within the budgets is, in [0, 1]."""
        return self.best - float(self.accuracies[choice])


def _look_up(values: Floats, choices: Sequence[Choice]) -> Floats:
    found: Floats = values[tuple(np.asarray(choices, dtype=np.int64).reshape(len(choices), values.ndim).T)]
    return found


def _key(choice: Choice) -> str:
    return "".join(map(str, choice))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
