"""What every benchmark needs: limits of the machine, timing in turns, means, files of parts and of results."""

import argparse
import json
import shlex
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from vidnas.engine.run.runtime import versions


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(
    methods: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    warm_up: int = 2,
    turn_sec: float = 0.0,
) -> dict[str, float]:
    """Median seconds of each method, which take turns so that what else the machine does hits all of them.

    A turn is one untimed call, which brings back caches and threads, and as many calls as take `turn_sec`; with 0 it is
    one timed call.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for repeat in range(warm_up + repeats):
        for name, run in methods.items():
            calls = 1
            if turn_sec:
                once = _seconds(run, 1, device)
                calls = max(1, round(turn_sec / once))
            spent = _seconds(run, calls, device)
            if repeat >= warm_up:
                seconds[name].append(spent)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _seconds(run: Callable[[], object], calls: int, device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronise(device)
    return (time.perf_counter() - start) / calls


def limits(device: torch.device, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Multiply-adds (two operations each) and bytes per second that this machine reaches on large tensors."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    # Far beyond any cache.
    source = torch.randn((1 << 25) if device.type == "cpu" else (1 << 28), device=device)
    target = torch.empty_like(source)
    methods = {"gemm": lambda: torch.mm(a, b, out=out), "copy": lambda: target.copy_(source)}
    seconds = in_turns(methods, 9, device, turn_sec=0.05)
    return {
        "operations_per_sec": 2 * size**3 / seconds["gemm"],
        "bytes_per_sec": 2 * source.numel() * source.element_size() / seconds["copy"],
    }


def command_of(
    target: str, parser: argparse.ArgumentParser, options: argparse.Namespace, *, apart: Collection[str] = ()
) -> str:
    """How make repeats this run: its target, and what was given beside the file of results and what is `apart`."""
    words = []
    for name, value in vars(options).items():
        if name in ("out", *apart) or value == parser.get_default(name):
            continue
        values = value if isinstance(value, list | tuple) else [] if value is True else [value]
        words.append(shlex.join([f"--{name.replace('_', '-')}", *map(str, values)]))
    # Within the single quotes of make's variable.
    told = " ".join(words).replace("'", '"')
    return f"make {target}" + (f" OPTIONS='{told}'" if words else "")


def save(path: Path, command: str, record: Mapping[str, Any], *, threads_in_record: bool = False) -> None:
    """Write a result with its command, date, machine and versions.

    Args:
        path: the file.
        command: what made it.
        record: the result.
        threads_in_record: it says how many threads each of its tables had; this process's number would mislead.
    """
    used = versions()
    if threads_in_record:
        del used["threads"]
    full = {"command": command, "date": date.today().isoformat(), "versions": used, **record}
    path.write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
    print(f"results: {path}")


def kept(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was computed before, or now."""
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(json.dumps(compute()))
        part.rename(path)
        print(path.name, flush=True)
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def mean_se(values: Sequence[float]) -> dict[str, float]:
    """Mean and its standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return {"mean": statistics.mean(values), "se": error}
