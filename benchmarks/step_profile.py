"""Which layers the time of a training step goes to.

    make profile-step

X3D-S on a CPU, as in the first table of training_step.py.
"""

import argparse
from pathlib import Path

import torch
from machine import save
from torch.profiler import ProfilerActivity, profile
from training_step import CPU_TABLES, make_step

from vidnas.engine.runtime import tune_allocator

STEPS = 5
# What the profiler calls our functions and operators.
LAYERS = {"_NormAct": "norms and activations", "_Product": "pointwise", "depthwise_conv3d": "depthwise"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_allocator()
    table = CPU_TABLES[0]
    torch.set_num_threads(table.threads)
    step = make_step("ours", table, torch.device("cpu"))
    step()
    step()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(STEPS):
            step()
    events = record.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    shares = dict.fromkeys([*LAYERS.values(), "everything else"], 0.0)
    for event in events:
        layer = next((name for part, name in LAYERS.items() if part in event.key), "everything else")
        # A gradient that autograd made of an operator is named after it, shortened.
        layer = "depthwise" if event.key.startswith("GeneratedBackwardFor_vidnas_depthwise") else layer
        shares[layer] += event.self_cpu_time_total / total
    print(", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    save(options.out, "make profile-step", {"network": table.network, "clip": str(table.clip), "shares": shares})


if __name__ == "__main__":
    main()
