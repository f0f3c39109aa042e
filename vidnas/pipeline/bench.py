"""What one network takes on this machine."""

import statistics
import time
from dataclasses import dataclass

import torch

from vidnas.arch.cost import Cost, network_cost
from vidnas.arch.latency import Device
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.engine.run.runtime import peak_memory_mib, restart_peak_memory
from vidnas.pipeline.this_machine import machine_name, open_stopwatch

_WARM_UP = 3
_LEAST_CALLS, _MOST_CALLS = 15, 200
_ENOUGH_SEC = 3.0


@dataclass(frozen=True)
class Bench:
    """Figures of a network.

    Attributes:
        ms: per clip: first quartile, median and third quartile over the calls.
        calls: how many were timed.
        memory_mib: peak while it ran: of the process on a CPU, of tensors on a GPU.
        memory_before_mib: the same before the network was there.
        cost: of one clip, all positions of the head counted.
        machine: processor or GPU.
        threads: of CPU operators.
    """

    ms: tuple[float, float, float]
    calls: int
    memory_mib: float
    memory_before_mib: float
    cost: Cost
    machine: str
    threads: int


def bench(spec: ArchSpec, device: Device, *, clip: ClipSpec | None = None, batch_size: int = 1) -> Bench:
    """Time a network with random weights, which take as long as trained ones.

    Args:
        spec: the network.
        device: what it runs on; CPU operators use torch's number of threads.
        clip: default the network's own.
        batch_size: clips per call.

    Raises:
        VidnasError: no such device here, or a clip too small for the network.
    """
    clip = clip or spec.clip
    stopwatch = open_stopwatch(device)
    memory_of = torch.device("cuda" if device == "cuda" else "cpu")
    restart_peak_memory(memory_of)
    before = peak_memory_mib(memory_of)
    call = stopwatch.network_call(spec, clip, batch_size)
    restart_peak_memory(memory_of)
    for _ in range(_WARM_UP):
        call()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < _LEAST_CALLS or (len(times) < _MOST_CALLS and time.perf_counter() - start < _ENOUGH_SEC):
        times.append(call() / batch_size)
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return Bench(
        ms=(low, middle, high),
        calls=len(times),
        memory_mib=peak_memory_mib(memory_of),
        memory_before_mib=before,
        cost=network_cost(spec, clip, "all"),
        machine=machine_name(device),
        threads=torch.get_num_threads(),
    )
