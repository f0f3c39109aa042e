"""What networks of a race may cost: budgets in any metric, one or several, of which every network keeps all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from statistics import median
from typing import Any, Protocol

from vidnas.arch.cost import format_amount, network_cost
from vidnas.arch.latency import Device
from vidnas.arch.scale import TOLERANCE, scaled_to_cost, use_of
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.search.baselines import choices_within
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable, analytic
from vidnas.search.measured_width import LEAST_MS, Timed, brought_to_ms
from vidnas.search.space.space import Space

# Where widths are first timed, when nothing better is known.
_FIRST_MACS = 50e6
# A table of milliseconds has the order of networks right, and its level to some 10%: that follows from so many of them.
# Of what is left each one is off by some percent, so choices aim below the target.
_LEVEL_NETWORKS, _NEAR_CHEAPEST = 5, 1.2
_MS_AIM = 0.96
# Of the milliseconds of a budget, what is near enough to say how many multiply-adds it is about.
_NEAR_MS = 1.5


class Clock(Protocol):
    """Knows what networks take on a device."""

    @property
    def device(self) -> Device:
        """Its name."""
        ...

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        """Milliseconds of one clip, measured: the same network has the same whenever it is asked for."""
        ...

    def costs(self, space: Space) -> CostTable:
        """Predicted milliseconds of all networks of a space."""
        ...


@dataclass(frozen=True)
class Limits:
    """Budgets that all networks of a race keep, and use up one of but for 1%; of milliseconds 10% may be left.

    Milliseconds are measured, of every network as a whole. Where a space is chosen from, a table predicts them first.

    Attributes:
        targets: by metric (`macs`, `params`, `activations`, `ms`), of one clip.
        clock: knows milliseconds; needed for a budget in them.
        start_macs: multiply-adds of a network that takes about the milliseconds of the budget, where that is known.
    """

    targets: Mapping[str, float]
    clock: Clock | None = None
    start_macs: float = _FIRST_MACS

    def near(self, macs: float) -> "Limits":
        """The same, known to be met by networks of about so many multiply-adds."""
        return replace(self, start_macs=macs)

    @property
    def counted(self) -> dict[str, float]:
        """The budgets that follow from a spec alone."""
        return {metric: target for metric, target in self.targets.items() if metric != "ms"}

    @property
    def timed(self) -> bool:
        """Whether networks have to be timed, which needs a machine that does nothing else."""
        return "ms" in self.targets

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these budgets from others, as builtins."""
        return {**self.targets, **({"device of ms": self.clock.device} if self.clock and self.timed else {})}

    @property
    def bounds_compute(self) -> bool:
        """Whether networks cannot take any number of multiply-adds; parameters allow for clips of any size."""
        return not self.targets.keys().isdisjoint(("macs", "ms"))

    @property
    def text(self) -> str:
        """`20.00 MMACs and 30 ms on cpu`."""
        amounts = (format_amount(metric, target) for metric, target in self.targets.items())
        return " and ".join(amounts) + (f" on {self.clock.device}" if self.clock and self.timed else "")

    def amounts(self, spec: ArchSpec) -> dict[str, float]:
        """What a network takes of each budget."""
        cost = network_cost(spec)
        return {metric: self.ms([spec])[0] if metric == "ms" else getattr(cost, metric) for metric in self.targets}

    def brought(self, structures: Sequence[ArchSpec]) -> list[ArchSpec | None]:
        """Each structure at the width that meets the budgets; None where no width does."""
        if self.timed:
            return self._timed(structures)[0]
        found: list[ArchSpec | None] = []
        for spec in structures:
            try:
                found.append(scaled_to_cost(spec, self.targets))
            except VidnasError:
                found.append(None)
        return found

    def bring(self, structure: ArchSpec) -> ArchSpec:
        """A structure at the width that meets the budgets.

        Raises:
            VidnasError: no width does; the nearest is given.
        """
        if not self.timed:
            return scaled_to_cost(structure, self.targets)
        (spec,), (timed,) = self._timed([structure])
        if spec is None:
            nearest = min(timed, key=lambda one: abs(one.ms - self.targets["ms"]), default=None)
            told = f"; the nearest of {len(timed)} that were timed took {nearest.ms:.3g} ms" if nearest else ""
            raise VidnasError(
                f"{structure.name}: no width of it was found for {self.text} @ {structure.clip}{told}; give another "
                "target or clip, and let nothing else run while networks are timed"
            )
        return spec

    def macs_of(self, structure: ArchSpec) -> float:
        """Multiply-adds that a structure has within the budgets; of milliseconds roughly, where no width met them.

        Raises:
            VidnasError: no width meets the budgets, or comes near the milliseconds.
        """
        if self.timed:
            (spec,), (timed,) = self._timed([structure])
            target = self.targets["ms"]
            near = [one for one in timed if one.ms < _NEAR_MS * target]
            if spec is None and near:
                return min(near, key=lambda one: abs(one.ms - target)).macs
        return float(network_cost(self.bring(structure)).macs)

    def narrowed(self, spec: ArchSpec) -> ArchSpec | None:
        """A network as it is where it keeps all budgets, else as narrow as it must be; None where no width does."""
        return spec if self.kept_by(spec) else self.near(network_cost(spec).macs).brought([spec])[0]

    def kept_by(self, spec: ArchSpec) -> bool:
        """Whether a network keeps all budgets."""
        if self.counted and use_of(spec, self.counted) > 1:
            return False
        return not self.timed or self.ms([spec])[0] <= self.targets["ms"]

    def met_by(self, spec: ArchSpec) -> bool:
        """Whether a network keeps all budgets and uses one of them up, as far as is asked for."""
        if not self.kept_by(spec):
            return False
        if self.counted and use_of(spec, self.counted) >= 1 - TOLERANCE:
            return True
        return self.timed and self.ms([spec])[0] >= LEAST_MS * self.targets["ms"]

    def _timed(self, structures: Sequence[ArchSpec]) -> tuple[list[ArchSpec | None], list[list[Timed]]]:
        assert self.clock is not None
        return brought_to_ms(structures, self.targets["ms"], self.counted, self.start_macs, self.clock.networks)

    def ms(self, specs: Sequence[ArchSpec]) -> list[float]:
        """Milliseconds of networks, measured."""
        assert self.clock is not None
        return self.clock.networks(specs)


@dataclass(frozen=True)
class BoundedSpace:
    """A space, of whose networks those within budgets are wanted."""

    space: Space
    limits: Limits

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets of its choices; milliseconds predicted by a table whose level a few networks have set.

        Raises:
            VidnasError: as the clock's, of a table that is there.
        """
        space, limits = self.space, self.limits
        found = [Budget(CostTable.of(space, analytic(metric)), target) for metric, target in limits.counted.items()]
        if limits.timed:
            assert limits.clock is not None
            target, table = limits.targets["ms"], limits.clock.costs(space)
            near = max(target, _NEAR_CHEAPEST * table.cheapest()[1])
            choices = list(islice(choices_within([Budget(table, near)], 0), _LEVEL_NETWORKS))
            measured = limits.ms([space.decode(choice) for choice in choices])
            level = median(ms / table.cost(choice) for ms, choice in zip(measured, choices, strict=True))
            found.append(Budget(table, _MS_AIM * target / level))
        return tuple(found)
