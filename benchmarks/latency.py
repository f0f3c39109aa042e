"""How well a latency table predicts whole networks, beside milliseconds in proportion to multiply-adds.

    make bench-latency

Per space and device a table is filled, which is timed, and then 50 random networks of the space, with costs all over
its range, are timed in turns and compared with what the table says. The peer is given the factor that fits these very
networks best; the table has not seen them.
"""

import argparse
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import save

from vidnas.arch.cost import parse_amount
from vidnas.arch.latency import Device, relative_errors
from vidnas.deploy.timing.measure import measure_table
from vidnas.pipeline.this_machine import machine_name, measured_versions, open_stopwatch
from vidnas.search.costs import CostTable
from vidnas.search.latency_costs import latency_costs, reached_shapes, spread_choices
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.published.registry import resolve_space
from vidnas.search.space.space import Space

CLASSES = 27
SEED = 1


def space_of(name: str) -> Space:
    """A name, a file, or the scaled space for a cost."""
    if name[0].isdigit():
        return auto_space(parse_amount(name), num_classes=CLASSES)[0]
    return resolve_space(name, num_classes=CLASSES)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def judge(predicted: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """Relative errors and rank correlation."""
    errors = relative_errors(predicted, measured)
    common = np.median(np.array(predicted) / np.array(measured))
    return {
        "mean_error": float(errors.mean()),
        # What is left of it if all predictions are divided by one factor: a machine that became slower or faster.
        "mean_error_less_a_factor": float(relative_errors(np.array(predicted) / common, measured).mean()),
        "factor": float(common),
        "largest_error": float(errors.max()),
        "rank_correlation": rank_correlation(predicted, measured),
    }


def compare(name: str, device: Device, networks: int) -> dict[str, Any]:
    """One space on one device."""
    space = space_of(name)
    stopwatch = open_stopwatch(device)
    start = time.perf_counter()
    table = measure_table(
        space,
        stopwatch,
        machine=machine_name(device),
        threads=torch.get_num_threads(),
        versions=measured_versions(device),
    )
    fill_sec = time.perf_counter() - start
    choices = spread_choices(space, networks, SEED)
    measured = np.array(stopwatch.networks([space.decode(choice) for choice in choices]))
    predicted = latency_costs(space, table).costs(choices)
    macs = CostTable.of(space).costs(choices)
    # The factor of least squared relative error.
    rate = macs / measured
    factor = rate.sum() / np.square(rate).sum()
    row = {
        "space": space.name,
        "clip": str(space.clip),
        "device": device,
        "fill_sec": fill_sec,
        "sub_layers_measured": sum(len(curve.points) for curve in table.curves),
        "sub_layers_reached": sum(map(len, reached_shapes(space).values())),
        "held_out_error": table.held_out_error,
        "fit_error": table.fit_error,
        "scale": table.scale,
        "overhead_ms_per_block": table.overhead_ms,
        "networks": networks,
        "ms_range": [float(measured.min()), float(measured.max())],
        "table": judge(predicted, measured),
        "macs": judge(factor * macs, measured),
        "measured_ms": measured.tolist(),
        "predicted_ms": predicted.tolist(),
        "macs_of_networks": macs.tolist(),
    }
    for method in ("table", "macs"):
        print(
            f"{space.name} on {device}, {method}: off by {row[method]['mean_error']:.1%} on average "
            f"({row[method]['mean_error_less_a_factor']:.1%} less a factor of {row[method]['factor']:.3f}), at most "
            f"{row[method]['largest_error']:.1%}, rank correlation {row[method]['rank_correlation']:.3f}",
            flush=True,
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=["tiny", "50M"], help="names, files, or costs of scaled spaces")
    parser.add_argument("--devices", nargs="+", choices=("cpu", "cuda", "openvino"))
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    devices = options.devices or ["cpu", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
    rows = [compare(name, device, options.networks) for name in options.spaces for device in devices]
    save(options.out, "make bench-latency", {"threads": torch.get_num_threads(), "tables": rows})


if __name__ == "__main__":
    main()
