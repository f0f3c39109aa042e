"""Milliseconds as the cost of a search: a latency table from its file, or measured and put there."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from vidnas.arch.cost import network_cost
from vidnas.arch.latency import Device, LatencyTable
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file
from vidnas.base.log import log
from vidnas.deploy.timing.measure import measure_table
from vidnas.deploy.timing.openvino_stopwatch import OpenVinoStopwatch
from vidnas.deploy.timing.stopwatch import Stopwatch
from vidnas.deploy.timing.torch_stopwatch import TorchStopwatch
from vidnas.engine.run.runtime import cpu_name, tune_allocator
from vidnas.nn import native
from vidnas.search.costs import CostTable
from vidnas.search.latency_costs import latency_costs, spread_choices
from vidnas.search.space.space import Space

# Where the way to the multiply-adds of a target in ms begins, and its steps.
_FIRST_MACS = 50e6
_STEPS, _FURTHEST = 4, 8
_MEND = "name another file or remove this one, and it will be measured"


@dataclass(frozen=True)
class MeasuredLatency:
    """Milliseconds of this machine, for `vidnas.pipeline.plan`.

    Attributes:
        device: what will run the network.
        path: the table; measured and saved where there is none.
    """

    device: Device
    path: Path

    def costs(self, space: Space) -> CostTable:
        """See `latency_budget_costs`."""
        return latency_budget_costs(space, self.device, self.path)

    def macs_within(self, target_ms: float, space_at: Callable[[float], Space]) -> float:
        """The multiply-adds of a network that takes about `target_ms`, from a few networks that are timed.

        Raises:
            VidnasError: no such device here, or no space reaches such a cost.
        """
        return macs_within(target_ms, space_at, open_stopwatch(self.device))


def macs_within(target_ms: float, space_at: Callable[[float], Space], stopwatch: Stopwatch) -> float:
    """The multiply-adds of a network that takes about `target_ms`, from networks of spaces ever nearer to it.

    Raises:
        VidnasError: no space reaches such a cost.
    """
    macs = _FIRST_MACS
    for _ in range(_STEPS):
        space = space_at(macs)
        specs = [space.decode(choice) for choice in spread_choices(space, 5, seed=0)[1:4]]
        rates = [ms / network_cost(spec).macs for spec, ms in zip(specs, stopwatch.networks(specs), strict=True)]
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
    here: dict[str, str | int] = {"device": device, "machine": machine_name(device)}
    if device != "cuda":
        here["threads"] = torch.get_num_threads()
    for name, value in here.items():
        if getattr(table, name) != value:
            raise VidnasError(
                f"{path}: this latency table is of {name} {getattr(table, name)}, here it is {value}; {_MEND}"
            )
    changed = {name: now for name, now in measured_versions(device).items() if table.versions.get(name) != now}
    if changed:
        before = ", ".join(f"{name} {table.versions.get(name, 'none')}" for name in changed)
        after = ", ".join(f"{name} {now}" for name, now in changed.items())
        log.info(f"note: {path} was measured with {before}, now there is {after}; remove it to measure again")
    return table


def time_networks(specs: Mapping[str, ArchSpec], table: Path) -> dict[str, float]:
    """Milliseconds per clip of networks, by name, in turns on the device that a latency table is of.

    Raises:
        VidnasError: the table is broken, or there is no such device here.
    """
    ms = open_stopwatch(LatencyTable.load(table).device).networks(list(specs.values()))
    return dict(zip(specs, ms, strict=True))


def open_stopwatch(device: Device) -> Stopwatch:
    """What times networks on a device, with torch's number of threads.

    Raises:
        VidnasError: no GPU, or no OpenVINO.
    """
    tune_allocator()
    return OpenVinoStopwatch(torch.get_num_threads()) if device == "openvino" else TorchStopwatch(device)


def machine_name(device: Device) -> str:
    """The processor, or the GPU where that computes."""
    return torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else cpu_name()


def measured_versions(device: Device) -> dict[str, str]:
    """What latency depends on besides the machine."""
    found = {name: version(name) for name in ("vidnas", "torch")}
    if device == "openvino":
        return {**found, "openvino": version("openvino")}
    return {**found, "kernels": native.instruction_set() or "none"} if device == "cpu" else found
