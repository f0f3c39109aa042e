"""What every mode of the search is worth on the planted video tasks, each against what it is compared with.

    make bench-modes

The tasks of planted/tasks.py, whose answer is known, with a search so short (160 steps; `make planted` takes 900) that
the default is not sure of it yet. A mode differs in one setting. Of every search is measured

- P(planted) under alpha at the end,
- the separation: over all pairs of a network that can do the task and one that cannot (there is a proof for each), the
  share in which the shared weights score the former higher on the holdout; with norm statistics estimated anew for each
  network, and with those of the batch that is scored, as during the search,
- its seconds of CPU time on one thread.

Differences are paired over tasks and seeds. A killed run goes on where it was: what is measured lies in --work.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import kept, mean_se, save
from planted.tasks import TASKS, Task
from planted.trials import planted_probability, run, scores_anew, scores_of_batch, search_config, separation

from vidnas.engine.run.runtime import tune_allocator

STEPS = 160


@dataclass(frozen=True)
class Mode:
    """Settings that differ from the default of the planted tasks, and the mode it is compared with."""

    settings: Mapping[str, Any]
    against: str = "default"


MODES = {
    "default": Mode({}),
    "one architecture": Mode({"weight_samples": 1}),
    "four architectures": Mode({"weight_samples": 4}),
    "two_pass": Mode({"weight_mode": "two_pass"}),
    "streamed": Mode({"weight_mode": "streamed"}),
    # Two sampled architectures, the largest and the smallest.
    "sandwich": Mode({"weight_mode": "sandwich"}, "four architectures"),
    "kernels cropped": Mode({"kernels": "cropped"}),
    "skip_inactive": Mode({"skip_inactive": True}),
    "warm_start 1": Mode({"warm_start": 1.0}),
    "temperature paper": Mode({"temperature": "paper"}),
    "temperature mean": Mode({"temperature": "mean"}),
    "samples 13": Mode({"samples": 13}),
}


def measured(task: Task, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """One search."""
    job = run(task, search_config(seed, STEPS, **settings))
    return {
        "planted_probability": planted_probability(job, task),
        "separation": separation(scores_anew(job, task, task.options), task),
        "separation_of_batch": separation(scores_of_batch(job, task), task),
        "cpu_sec": job.cpu_sec,
    }


def summarise(runs: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Means over tasks and seeds, and paired differences."""
    table = {}
    for name, by_place in runs.items():
        other = runs[MODES[name].against]
        figures = list(next(iter(by_place.values())))
        entry: dict[str, Any] = {
            "settings": dict(MODES[name].settings),
            "against": MODES[name].against,
            "figures": {key: mean_se([run[key] for run in by_place.values()]) for key in figures},
        }
        if name != MODES[name].against:
            places = by_place.keys() & other.keys()
            entry["difference"] = {key: mean_se([by_place[p][key] - other[p][key] for p in places]) for key in figures}
        adds = [run["separation"] - run["separation_of_batch"] for run in by_place.values()]
        entry["statistics_anew_add"] = mean_se(adds)
        table[name] = entry
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="Folder of what is measured already.")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in MODES}
    # All modes of a seed before the next seed: what is there after a stop can be compared.
    for seed in range(options.seeds):
        for task in TASKS:
            for name, mode in MODES.items():
                path = options.work / f"{task.name}_{seed}_{name.replace(' ', '_')}.json"
                runs[name][f"{task.name} {seed}"] = kept(
                    path, lambda task=task, seed=seed, mode=mode: measured(task, seed, mode.settings)
                )
    table = summarise(runs)
    for name, entry in table.items():
        print(
            f"{name:<20}", {key: f"{value['mean']:.3f}+-{value['se']:.3f}" for key, value in entry["figures"].items()}
        )
        if "difference" in entry:
            shown = {key: f"{value['mean']:+.3f}+-{value['se']:.3f}" for key, value in entry["difference"].items()}
            print(f"  against {entry['against']}:", shown)
    record = {"steps": STEPS, "seeds": options.seeds, "tasks": [task.name for task in TASKS], "modes": table}
    save(options.out, "make bench-modes", {**record, "runs": runs})


if __name__ == "__main__":
    main()
