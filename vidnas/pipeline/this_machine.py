"""What measured milliseconds hold for: a device of this machine, its threads, and versions."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vidnas.arch.latency import Device
from vidnas.base.errors import VidnasError
from vidnas.base.log import log
from vidnas.deploy.timing.openvino_stopwatch import OpenVinoStopwatch
from vidnas.deploy.timing.stopwatch import Stopwatch
from vidnas.deploy.timing.torch_stopwatch import TorchStopwatch
from vidnas.engine.run.runtime import cpu_name, tune_allocator
from vidnas.nn import native


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


def check_measured_here(record: Mapping[str, Any], device: Device, path: Path, what: str, mend: str) -> None:
    """Refuse measurements that do not hold here; versions other than theirs are only noted.

    Args:
        record: device, machine, threads and versions of the measurements.
        device: that is asked for.
        path: their file.
        what: they are, in words.
        mend: what to do about it.

    Raises:
        VidnasError: they are of another device, machine or thread count.
    """
    here: dict[str, str | int] = {"device": device, "machine": machine_name(device)}
    if device != "cuda":
        here["threads"] = torch.get_num_threads()
    for name, value in here.items():
        if record[name] != value:
            raise VidnasError(f"{path}: {what} of {name} {record[name]}, here it is {value}; {mend}")
    versions = record["versions"]
    changed = {name: now for name, now in measured_versions(device).items() if versions.get(name) != now}
    if changed:
        before = ", ".join(f"{name} {versions.get(name, 'none')}" for name in changed)
        after = ", ".join(f"{name} {now}" for name, now in changed.items())
        log.info(f"note: {path} was measured with {before}, now there is {after}; remove it to measure again")
