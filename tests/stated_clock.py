"""A made-up machine on which whole networks take milliseconds that follow from a formula, and a table that is off."""

from collections.abc import Sequence

import numpy as np
from latency_examples import planted_ms, planted_table

from vidnas.arch.latency import Device
from vidnas.arch.spec import ArchSpec
from vidnas.arch.sub_layers import network_sub_layers
from vidnas.search.costs import CostTable
from vidnas.search.latency_costs import latency_costs
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
        return latency_costs(space, planted_table(space, every=3, overhead_ms=0.0))

    def _ms(self, spec: ArchSpec) -> float:
        own = np.random.default_rng(int(spec.content_hash, 16)).uniform(1 - self.noise, 1 + self.noise)
        return float(self.level * own * sum(map(planted_ms, network_sub_layers(spec))))
