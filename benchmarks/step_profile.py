"""Which layers and operators the time of a training step goes to.

    make profile-step                                  CPU, float32
    make profile-step OPTIONS="--device cuda"          bfloat16 autocast; the time of kernels

X3D-S, as in the first table of training_step.py for the device. Layers are told apart on a CPU only, where ours are
operators of their own. Operators below 1% are left out.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from machine import command_of, save
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile
from training_step import CPU_TABLES, GPU_TABLES, make_step

from vidnas.engine.run.runtime import tune_allocator

STEPS = 5
# What the profiler calls our functions and operators.
LAYERS = {
    "_Chain": "convolutions with their norms",
    "_NormAct": "norms and activations",
    "_Product": "pointwise",
    "_Depthwise": "depthwise",
    "depthwise_conv3d": "depthwise",
}
LEAST = 0.01


def cpu_shares(events: Sequence[FunctionEventAvg]) -> dict[str, float]:
    """Of the time on the CPU, by operator."""
    total = sum(event.self_cpu_time_total for event in events)
    return {event.key: event.self_cpu_time_total / total for event in events}


def gpu_shares(events: Sequence[FunctionEventAvg]) -> dict[str, float]:
    """Of the time of all kernels, by the operator that launched them."""
    kernels = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
    total = sum(event.self_device_time_total for event in kernels)
    return {e.key: e.self_device_time_total / total for e in events if e.device_type == DeviceType.CPU}


def by_layer(shares: dict[str, float]) -> dict[str, float]:
    """Operators put together."""
    layers = dict.fromkeys([*LAYERS.values(), "everything else"], 0.0)
    for operator, share in shares.items():
        layer = next((name for part, name in LAYERS.items() if part in operator), "everything else")
        # A gradient that autograd made of an operator is named after it, shortened.
        layer = "depthwise" if operator.startswith("GeneratedBackwardFor_vidnas_depthwise") else layer
        layers[layer] += share
    return layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_allocator()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    table = (GPU_TABLES if on_gpu else CPU_TABLES)[0]
    torch.set_num_threads(table.threads)
    step = make_step("ours", table, device)
    step()
    step()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as record:
        for _ in range(STEPS):
            step()
    events = record.key_averages()
    shares = gpu_shares(events) if on_gpu else cpu_shares(events)
    largest = sorted((name for name, share in shares.items() if share >= LEAST), key=lambda name: -shares[name])
    result = {
        "network": table.network,
        "clip": str(table.clip),
        "batch": table.batch,
        "device": str(device),
        "operators": {name: shares[name] for name in largest},
    }
    for name in largest:
        print(f"  {name:<60} {shares[name]:6.1%}")
    if not on_gpu:
        result["shares"] = by_layer(shares)
        print(", ".join(f"{name} {share:.0%}" for name, share in result["shares"].items()))
    save(options.out, command_of("profile-step", parser, options), result)


if __name__ == "__main__":
    main()
