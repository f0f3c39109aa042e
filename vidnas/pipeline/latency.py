"""Milliseconds as the cost of a search: a latency table from its file, or measured and put there."""

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vidnas.arch.cost import network_cost
from vidnas.arch.latency import Device, LatencyTable
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file
from vidnas.base.log import log
from vidnas.deploy.timing.measure import measure_table
from vidnas.pipeline.network_times import NetworkTimes
from vidnas.pipeline.this_machine import check_measured_here, machine_name, measured_versions, open_stopwatch
from vidnas.search.costs import CostTable
from vidnas.search.latency_costs import latency_costs, spread_choices
from vidnas.search.space.space import Space

# Where the way to the multiply-adds of a target in ms begins, and its steps.
_FIRST_MACS = 50e6
_STEPS, _FURTHEST = 4, 8
_MEND = "name another file or remove this one, and it will be measured"


@dataclass(frozen=True)
class MeasuredLatency:
    """Milliseconds of this machine, for `vidnas.pipeline.plan` and races.

    Attributes:
        path: of the latency table; measured and saved where there is none.
        times: whole networks.
    """

    path: Path
    times: NetworkTimes

    @property
    def device(self) -> Device:
        """What will run the network."""
        return self.times.device

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        """See `NetworkTimes.ms`."""
        return self.times.ms(specs)

    def costs(self, space: Space) -> CostTable:
        """See `latency_budget_costs`."""
        with self.times.own_threads():
            return latency_budget_costs(space, self.device, self.path)

    def macs_within(self, target_ms: float, space_at: Callable[[float], Space]) -> float:
        """The multiply-adds of a network that takes about `target_ms`, from a few networks that are timed.

        Raises:
            VidnasError: no such device here, or no space reaches such a cost.
        """
        return macs_within(target_ms, space_at, self.networks)


def measured_latency(
    targets: Collection[str], device: Device, out: Path, table: Path | None, *, keep: bool = True
) -> MeasuredLatency | None:
    """What knows milliseconds, where a budget is in them: of whole networks in `out`, of a space's in a table.

    Args:
        targets: metrics that there are budgets in.
        device: what will run the network.
        out: the run folder.
        table: the latency table; None is in the run folder.
        keep: write whole networks' milliseconds into the folder, so that a resumed run measures nothing again.

    Raises:
        VidnasError: measurements in the folder that do not hold here.
    """
    if "ms" not in targets:
        return None
    times = NetworkTimes(device, out / "milliseconds.json" if keep else None)
    return MeasuredLatency(table or out / "latency.json", times)


def macs_within(
    target_ms: float, space_at: Callable[[float], Space], time_networks: Callable[[Sequence[ArchSpec]], Sequence[float]]
) -> float:
    """The multiply-adds of a network that takes about `target_ms`, from networks of spaces ever nearer to it.

    Raises:
        VidnasError: no space reaches such a cost.
    """
    macs = _FIRST_MACS
    for _ in range(_STEPS):
        space = space_at(macs)
        specs = [space.decode(choice) for choice in spread_choices(space, 5, seed=0)[1:4]]
        rates = [ms / network_cost(spec).macs for spec, ms in zip(specs, time_networks(specs), strict=True)]
        # Small networks take longer for each multiply-add, so a long way is gone in steps.
        macs = min(max(target_ms / statistics.median(rates), macs / _FURTHEST), macs * _FURTHEST)
    return macs


def latency_budget_costs(space: Space, device: Device, path: Path) -> CostTable:
    """Predicted milliseconds per clip of a space's networks on this machine, with torch's number of threads.

    Args:
        space: the space.
        device: what will run the network.
        path: the table; measured and saved where there is none.

    Raises:
        VidnasError: no such device here; the file is broken, or of another device, machine, thread count, clip or
            space.
    """
    if path.exists():
        table = load_table(path, device)
        try:
            return latency_costs(space, table)
        except VidnasError as error:
            raise VidnasError(f"{path}: {error}; {_MEND}") from error
    if not path.parent.is_dir():
        raise VidnasError(f"{path}: there is no folder {path.parent}; make it first")
    stopwatch = open_stopwatch(device)
    log.info(f"{path}: measuring sub-layers of {space.name} on {device}, some minutes on an otherwise idle machine")
    table = measure_table(
        space,
        stopwatch,
        machine=machine_name(device),
        threads=torch.get_num_threads(),
        versions=measured_versions(device),
    )
    replace_file(path, table.to_json())
    return latency_costs(space, table)


def load_table(path: Path, device: Device) -> LatencyTable:
    """A table that was measured here; versions other than its own are only noted.

    Raises:
        VidnasError: it is broken, or of another device, machine or thread count.
    """
    table = LatencyTable.load(path)
    check_measured_here(vars(table), device, path, "this latency table is", _MEND)
    return table


def time_networks(specs: Mapping[str, ArchSpec], device: Device) -> dict[str, float]:
    """Milliseconds per clip of networks, by name, timed now, in turns.

    Raises:
        VidnasError: there is no such device here.
    """
    ms = open_stopwatch(device).networks(list(specs.values()))
    return dict(zip(specs, ms, strict=True))
