"""Kendall's rank correlation: how far one order of architectures agrees with another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's tau-b of `n` pairs of values, in [-1, 1]; NaN where one side is all ties."""

    tau: float
    n: int

    @property
    def null_standard_error(self) -> float:
        """Standard deviation of tau where the two orders have nothing to do with each other; exact without ties."""
        return math.sqrt(2 * (2 * self.n + 5) / (9 * self.n * (self.n - 1)))

    @property
    def p_value(self) -> float:
        """Two-sided, by the normal approximation: the chance of a |tau| at least as large under no relation."""
        return math.erfc(abs(self.tau) / self.null_standard_error / math.sqrt(2))

    def __str__(self) -> str:
        if math.isnan(self.tau):
            return f"undefined, one side is all ties (n = {self.n})"
        return f"{self.tau:+.3f} (null s.e. {self.null_standard_error:.3f}, p = {self.p_value:.2g}, n = {self.n})"


def kendall(x: Sequence[float], y: Sequence[float]) -> RankCorrelation:
    """Tau-b (Kendall 1945): pairs in the same order less pairs in opposite orders, corrected for ties.

    Raises:
        ValueError: fewer than two values, or not as many of both.
    """
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"a rank correlation needs two or more pairs of values, got {len(x)} and {len(y)}")
    a, b = _signs(x), _signs(y)
    untied = math.sqrt(np.abs(a).sum() * np.abs(b).sum())
    return RankCorrelation(float((a * b).sum()) / untied if untied else math.nan, len(x))


def partial_kendall(x: Sequence[float], y: Sequence[float], given: Sequence[float]) -> float:
    """Tau of x and y with the part that both owe to a third order taken out; NaN where that order says all."""
    xy, xz, yz = kendall(x, y).tau, kendall(x, given).tau, kendall(y, given).tau
    left = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(left) if left > 0 else math.nan


def _signs(values: Sequence[float]) -> NDArray[np.int64]:
    """Per pair of places whether the first value is the larger (1), the smaller (-1) or neither (0)."""
    column = np.asarray(values, dtype=np.float64)
    upper = np.triu_indices(len(column), 1)
    return np.sign(column[upper[0]] - column[upper[1]]).astype(np.int64)
