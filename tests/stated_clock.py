"""A made-up machine on which whole networks take milliseconds that follow from a formula, and a table that is off."""

import random
from collections.abc import Sequence

import numpy as np
from latency_examples import planted_ms

from vidnas.arch.latency import Device
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.sub_layers import SubLayer, network_sub_layers, unit_sub_layers
from vidnas.deploy.timing.stopwatch import Call
from vidnas.search.costs import CostTable, cost_factors
from vidnas.search.space.space import Space


class StatedClock:
    """A `vidnas.search.limits.Clock`.

    Args:
        noise: of timing a network, as a share; the same network has the same whenever it is asked for.
        level: what whole networks take, of what the table says.
    """

    device: Device = "cpu"

    def __init__(self, noise: float = 0.02, level: float = 1.2) -> None:
        self.noise, self.level = noise, level
        self.timed: dict[str, float] = {}

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        return [self.timed.setdefault(spec.content_hash, self._ms(spec)) for spec in specs]

    def costs(self, space: Space) -> CostTable:
        return CostTable(space, "ms", cost_factors(space, lambda unit: sum(map(planted_ms, unit_sub_layers(unit)))))

    def _ms(self, spec: ArchSpec) -> float:
        own = np.random.default_rng(int(spec.content_hash, 16)).uniform(1 - self.noise, 1 + self.noise)
        return float(self.level * own * stated_ms(spec))


class StatedStopwatch:
    """A `vidnas.deploy.timing.stopwatch.Stopwatch` that says something else each time, as any does."""

    device: Device = "cpu"

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        return [random.uniform(0.97, 1.03) * stated_ms(spec) for spec in specs]

    def sub_layers(self, shapes: Sequence[SubLayer], frames: int, together: int) -> list[float]:
        raise NotImplementedError("only whole networks are timed")

    def network_call(self, spec: ArchSpec, clip: ClipSpec, batch_size: int = 1) -> Call:
        raise NotImplementedError("only whole networks are timed")


def stated_ms(spec: ArchSpec) -> float:
    """What the machine takes for a whole network."""
    return sum(map(planted_ms, network_sub_layers(spec)))
