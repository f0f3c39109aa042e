"""What a search will take, from a few measured steps on a throw-away supernet."""

import time
from bisect import bisect_left
from dataclasses import dataclass, replace
from statistics import median

from vidnas.data.dataset import Batch
from vidnas.engine.run.processes import all_reduce_max
from vidnas.engine.run.runtime import peak_memory_mib
from vidnas.engine.supernet.config import Schedule, SearchConfig
from vidnas.engine.supernet.search import SupernetSearch

_MEASURED_STEPS = 3
# Roughly, one JSON line of the archive and one of the curves.
_ARCHIVE_LINE_BYTES, _CURVES_LINE_BYTES = 200, 250


@dataclass(frozen=True)
class SearchEstimate:
    """Cost of a search, on the slowest and largest of its processes.

    Attributes:
        weights_step_sec: seconds of a step on the weights, its batch included.
        alpha_step_sec: seconds of a step on alpha.
        peak_memory_mib: of the process on a CPU (the decoded data set included), of the tensors on a GPU.
        disk_mib: of the run folder's search part.
    """

    weights_step_sec: float
    alpha_step_sec: float
    peak_memory_mib: float
    disk_mib: float

    def total_sec(self, schedule: Schedule) -> float:
        """Seconds of a whole search."""
        return schedule.total * self.weights_step_sec + schedule.alpha_steps * self.alpha_step_sec


def measure_search(search: SupernetSearch, weights_batch: Batch, alpha_batch: Batch) -> SearchEstimate:
    """Run a few steps, the largest architecture among them; `search` is spoilt and must not be used afterwards."""
    # The largest architecture first: it sets the memory, and warms caches up.
    scorer = search.scorer(weights_batch)
    scorer.backward([(search.supernet.space.largest(), 1.0)])
    search.optimizer.zero_grad(set_to_none=True)
    weights_sec, alpha_sec = [], []
    for number in range(_MEASURED_STEPS):
        start = time.perf_counter()
        search.weights_step(weights_batch)
        weights_sec.append(time.perf_counter() - start)
        start = time.perf_counter()
        record = search.alpha_step(number, alpha_batch)
        alpha_sec.append(time.perf_counter() - start)
    parameters = sum(parameter.numel() for parameter in search.supernet.parameters())
    copies = 3 if search.config.optimizer == "adamw" else 2
    lines = search.schedule.alpha_steps * len(record.choices) * _ARCHIVE_LINE_BYTES
    lines += search.schedule.total * _CURVES_LINE_BYTES
    return SearchEstimate(
        weights_step_sec=all_reduce_max(median(weights_sec)),
        alpha_step_sec=all_reduce_max(median(alpha_sec)),
        peak_memory_mib=all_reduce_max(peak_memory_mib(search.fabric.device)),
        # Two states are kept, and a third exists while it is written.
        disk_mib=(3 * copies * 4 * parameters + lines) / 2**20,
    )


def fit_length(config: SearchConfig, estimate: SearchEstimate, steps_per_epoch: int, seconds: float) -> SearchConfig:
    """The settings with as many epochs, or steps where these are given, as fit: at most those, at least one."""

    def of_length(length: int) -> SearchConfig:
        return replace(config, steps=length) if config.steps else replace(config, epochs=length)

    def too_long(length: int) -> bool:
        return estimate.total_sec(of_length(length).schedule(steps_per_epoch)) > seconds

    lengths = range(1, (config.steps or config.epochs) + 1)
    return of_length(max(1, bisect_left(lengths, True, key=too_long)))
