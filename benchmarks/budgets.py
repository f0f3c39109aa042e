"""X3D at given clips and costs on UTD-MHAD, all with the same recipe and length: what a larger budget gives.

    make utd-budgets UTD=DIR

With other `--networks`, as 32x40:20e6 16x56:20e6, what a clip is worth at equal cost, by paired seeds.
Every network is trained on the whole training list from the same seeds and tested once; clips and widths are given
here, nothing is chosen by the test. Beside the result stands what the network had on its own training clips, augmented,
in the last twentieth of the steps: where that is near 100%, more compute has nothing left to learn. Hours; given again
it goes on where it was, also from the result file alone.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

from going_on import hold_to, settings
from machine import command_of
from race_evidence import SETTINGS

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.files import write_json
from vidnas.data.datamodule import DataConfig
from vidnas.data.processes import cores
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.runtime import versions
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import WorkerProcesses, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.lists import Lists, holding, load_lists
from vidnas.pipeline.race.course import Course
from vidnas.search.limits import Limits

# Multiply-adds grow faster than what is seen, so that networks grow as well.
NETWORKS = ("32x40:20e6", "32x56:50e6", "32x80:125e6", "32x112:320e6")


def networks(lists: Lists, names: Sequence[str]) -> list[ArchSpec]:
    """X3D at each clip and number of multiply-adds, frames spread over the video."""
    held = holding(lists.train)

    def named(name: str) -> ArchSpec:
        frames, size, macs = re.split("[x:]", name)
        clip = ClipSpec(frames=int(frames), size=int(size), sampling="uniform")
        return Course(lists.train, held, Limits({"macs": float(macs)}), clip).x3d(clip).spec

    return [named(name) for name in names]


def training_top1(folder: Path) -> float:
    """On augmented training clips, in the last twentieth of the steps."""
    lines = [json.loads(line) for line in RunFolder(folder).metrics.read_text().splitlines()]
    found = [(line["step"], line["top1"]) for line in lines if "loss" in line and "top1" in line]
    return mean(top1 for step, top1 in found if step > 0.95 * found[-1][0])


def rows(specs: Sequence[ArchSpec], entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per network that has been trained."""
    found = []
    for spec in specs:
        own = [entry for entry in entries if entry["network"] == spec.content_hash]
        if own:
            cost = network_cost(spec)
            found.append(
                {
                    "clip": str(spec.clip),
                    "macs": cost.macs,
                    "params": cost.params,
                    "top1": mean(entry["top1"] for entry in own),
                    "training_top1": mean(entry["training_top1"] for entry in own),
                    "trainings": len(own),
                    "top1_by_seed": {entry["seed"]: entry["top1"] for entry in own},
                }
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="FRAMESxSIZE:MULTIPLY-ADDS")
    parser.add_argument("--steps", type=int, help="of every training; default by rule")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = DataConfig(options.data, jitter=SETTINGS["utd"].jitter, workers=0)
    lists = load_lists(data)
    training = TrainConfig(steps=options.steps).with_length(len(lists.train), len(lists.train.classes))
    record: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    lists_held = {"training list": lists.train.content_hash[:12], "test list": lists.test.content_hash[:12]}
    hold_to(record, {**lists_held, **settings(train=training, clips=data)}, options.out)
    entries: list[dict[str, Any]] = record.setdefault("entries", [])
    specs = networks(lists, options.networks)
    known = {(entry["network"], entry["seed"]) for entry in entries}
    # The longest training first: the others fit in beside it.
    longest_first = sorted(specs, key=lambda spec: network_cost(spec).macs, reverse=True)
    wanted = [(spec, seed) for spec in longest_first for seed in options.seeds]
    missing = [(spec, seed) for spec, seed in wanted if (spec.content_hash, seed) not in known]
    jobs = [
        TrialJob(
            spec,
            options.work / f"{spec.content_hash}_{seed}",
            lists.train,
            lists.test,
            replace(training, seed=seed),
            data,
        )
        for spec, seed in missing
    ]

    def save() -> None:
        record["rows"] = rows(specs, entries)
        command = command_of("utd-budgets UTD=DIR", parser, options, apart=("data", "work", "workers"))
        record.update(command=command, date=date.today().isoformat(), versions=versions(), steps=training.steps)
        write_json(options.out, record)

    def note(place: int, trial: TrialResult) -> None:
        spec, seed = missing[place]
        test = trial.tested()
        own = training_top1(trial.folder)
        entries.append({"network": spec.content_hash, "seed": seed, "top1": test.headline, "training_top1": own})
        save()
        print(f"{spec.clip}, seed {seed}: {test.headline:.1%}, on training clips {own:.1%}", flush=True)

    run_jobs(WorkerProcesses(options.workers, 1), jobs, note)
    save()


if __name__ == "__main__":
    main()
