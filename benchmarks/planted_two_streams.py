"""Two streams, their answer known beforehand: is a fusion switched on where nothing else helps, and off elsewhere?

    make planted

In `bound` no network within the target does better than guess without a fusion, in `unbound` none is needed
(`planted/two_streams.py` has the reasons). The target is what the cheapest sufficient network costs. Every network is
also trained alone, which checks the reasons, and so is each stream of the planted one with a head of its own. One
thread; times are CPU seconds.
"""

import argparse
import inspect
import time
from collections.abc import Sequence
from dataclasses import asdict
from math import log
from pathlib import Path
from typing import Any

import torch
from machine import save
from planted.networks import choice_of, planted_budget, task_space
from planted.trials import Job, derived, run, scores_anew, search_config, train_network
from planted.two_streams import TWO_STREAM_TASKS, TwoStreamTask
from planted_problems import ALONE_SEEDS, ALONE_STEPS, alone

# The ascent of the cost's price was settled on 0 to 14.
SEEDS = range(20, 30)
STEPS = 900
FLOOR = log(2)
# Twins differ in the order of sums, in float32.
ROUNDING = 1e-4


def fusion_probability(job: Job) -> float:
    """P(a fusion) under alpha."""
    space, log_p = job.search.supernet.space, job.search.alpha.distribution.log_probabilities()
    (place,) = (v for v, variable in enumerate(space.variables) if variable.kind == "fusion")
    none = space.options(space.variables[place]).index("none")
    return 1 - float(log_p[place, none].exp())


def searched(task: TwoStreamTask, seed: int) -> dict[str, Any]:
    """A search; and on the holdout, with its shared weights, what is left with the fusion of its result off."""
    job = run(task, search_config(seed, STEPS))
    found = derived(task, job)
    cannot = [option for option in task.options if task.insufficient(option)]
    off = found.derived.without_fusion()
    losses = {option: -score for option, score in scores_anew(job, task, [*{*cannot, off}]).items()}
    row = {
        "seed": seed,
        **asdict(found),
        "derived": str(found.derived),
        "most_probable": str(found.most_probable),
        "fusion_probability": fusion_probability(job),
        "loss_fusion_off": losses[off],
        "least_loss_of_proved_insufficient": min(losses[option] for option in cannot),
    }
    print(
        f"  seed {seed}: derived {found.derived} (top-1 {found.top1:.3f}, loss {found.loss:.3f}; without a fusion "
        f"{row['loss_fusion_off']:.4f}),\n    alpha's first {found.most_probable}, P(planted) "
        f"{found.planted_probability:.3f}, P(fusion) {row['fusion_probability']:.3f}, H/H0 {found.entropy_share:.2f}; "
        f"least loss of those that cannot {row['least_loss_of_proved_insufficient']:.4f}; {found.cpu_sec:.0f} s",
        flush=True,
    )
    return row


def streams_alone(task: TwoStreamTask) -> list[dict[str, Any]]:
    """Each stream of the planted network, with a head of its own."""
    space = task_space(task)
    planted = space.decode(choice_of(space, task.planted))
    rows = []
    for stream in range(len(planted.streams)):
        trained = [train_network(task, planted.alone(stream), seed, ALONE_STEPS) for seed in ALONE_SEEDS]
        row = {
            "stream": stream,
            # It is a network without a fusion in whose head the other stream counts for nothing.
            "proved_insufficient": task.insufficient(task.planted.without_fusion()),
            "top1": [result.top1 for result in trained],
            "loss": [result.loss for result in trained],
        }
        rows.append(row)
        results = "  ".join(f"{result.top1:.3f} ({result.loss:.4f})" for result in trained)
        print(f"  stream {stream} of the planted network alone: {results}", flush=True)
    return rows


def two_stream_task(task: TwoStreamTask) -> dict[str, Any]:
    """Reasons, networks alone, and the searches."""
    space = task_space(task)
    target, reason = planted_budget(space, task).target, inspect.getdoc(type(task)) or ""
    print(f"\n{task.name}: {reason}\n{task.planted} is planted, {target / 1e6:.3f} MMACs @ {space.clip}")
    print(f" searches, {STEPS} steps")
    found = [searched(task, seed) for seed in SEEDS]
    print(f" alone, {ALONE_STEPS} steps: top-1 (loss) of seeds {', '.join(map(str, ALONE_SEEDS))}")
    return {
        "task": task.name,
        "reason": reason,
        "planted": str(task.planted),
        "clip": str(space.clip),
        "target_macs": target,
        "searches": found,
        "streams_alone": streams_alone(task),
        "alone": alone(task),
    }


def missed(tasks: Sequence[dict[str, Any]]) -> list[str]:
    """What is not as it was planted, or below a floor that is proved."""
    names = []
    for task in tasks:
        for row in task["searches"]:
            if not row["derived"] == row["most_probable"] == task["planted"]:
                names.append(f"{task['task']}, seed {row['seed']}: another network")
        floors = [row["least_loss_of_proved_insufficient"] for row in task["searches"]]
        trained = [*task["alone"], *task["streams_alone"]]
        floors += [loss for row in trained if row["proved_insufficient"] for loss in row["loss"]]
        if min(floors) < FLOOR - ROUNDING:
            names.append(f"{task['task']}: a loss below the floor, {min(floors)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = [two_stream_task(task) for task in TWO_STREAM_TASKS]
    behind = missed(tasks)
    print(f"not as planted: {'; '.join(behind) or 'none'}")
    record = {
        "cpu_sec": time.process_time(),
        "not_as_planted": behind,
        "floor": FLOOR,
        "search_settings": asdict(search_config(0, STEPS)),
        "alone_steps": ALONE_STEPS,
        "tasks": tasks,
    }
    save(options.out, "make planted", record)


if __name__ == "__main__":
    main()
