"""Problems whose answer is known beforehand: does the search find it?

    make planted

A table of 44 variables, with the same scores permuted beside it as a control; and video tasks whose cheapest sufficient
network follows from how their clips are made (`planted/tasks.py` has the reasons). Every network of the tasks' space is
also trained alone, which checks the reasons. One thread; times are CPU seconds.
"""

import argparse
import inspect
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from machine import save
from planted.networks import choice_of, planted_budget, task_space
from planted.tabular import solve
from planted.tasks import TASKS, Task
from planted.trials import Searched, search, search_config, train_alone

from vidnas.search.costs import CostTable
from vidnas.search.space.published.autox3d import autox3d_space

TABLE_SEEDS = (0, 1, 2, 3)
TABLE_STEPS = 2000
SEARCH_SEEDS = (0, 1, 2)
SEARCH_STEPS = 900
ALONE_SEEDS = (0, 1)
ALONE_STEPS = 300
# Bars of the table: regret of the derived architecture, and how far the mean cost may be off the target.
MAX_REGRET, MAX_OFF_TARGET = 0.05, 0.02


def tabular() -> list[dict[str, Any]]:
    """A row per seed, with the control."""
    table = CostTable.of(autox3d_space())
    print(f"44 variables, {TABLE_STEPS} steps          permuted scores")
    print("seed  regret    F/T   H/H0   sec   regret   H/H0")
    rows = []
    for seed in TABLE_SEEDS:
        found, control = solve(table, seed, TABLE_STEPS), solve(table, seed, TABLE_STEPS, permute=True)
        rows.append({"seed": seed, "found": asdict(found), "permuted": asdict(control)})
        print(
            f"{seed:4}  {found.regret:6.3f}  {found.cost_share:5.3f}  {found.entropy_share:5.3f}  {found.cpu_sec:4.1f}"
            f"   {control.regret:6.3f}  {control.entropy_share:5.3f}",
            flush=True,
        )
    return rows


def alone(task: Task) -> list[dict[str, Any]]:
    """Every network of the space trained alone, cheapest first."""
    space = task_space(task)
    budget = planted_budget(space, task)
    costs = {option: budget.costs.costs([choice_of(space, option)])[0].item() for option in task.options}
    width = max(len(str(option)) for option in task.options)
    rows = []
    for option in sorted(task.options, key=lambda option: costs[option]):
        trained = [train_alone(task, option, seed, ALONE_STEPS) for seed in ALONE_SEEDS]
        row = {
            "network": str(option),
            "macs": costs[option],
            "allowed": costs[option] <= budget.target,
            "planted": option == task.planted,
            "proved_insufficient": task.insufficient(option),
            "top1": [result.top1 for result in trained],
            "loss": [result.loss for result in trained],
        }
        rows.append(row)
        remark = "planted" if row["planted"] else "cannot" if row["proved_insufficient"] else ""
        results = "  ".join(f"{result.top1:.3f} ({result.loss:.3f})" for result in trained)
        print(f"  {row['network']:<{width}} {row['macs'] / 1e6:5.3f} MMACs  {results}  {remark}", flush=True)
    return rows


def searches(task: Task) -> list[Searched]:
    """A search per seed."""
    results = []
    for seed in SEARCH_SEEDS:
        found = search(task, seed, SEARCH_STEPS)
        results.append(found)
        print(
            f"  seed {seed}: derived {found.derived} (top-1 {found.top1:.3f}), alpha's first {found.most_probable}, "
            f"P(planted) {found.planted_probability:.3f}, H/H0 {found.entropy_share:.2f}, {found.cpu_sec:.0f} s",
            flush=True,
        )
    return results


def video_task(task: Task) -> dict[str, Any]:
    """Reasons, every network alone, and the searches."""
    space = task_space(task)
    target = planted_budget(space, task).target
    reason = inspect.getdoc(type(task)) or ""
    print(f"\n{task.name}: {reason}\n{task.planted} is planted, {target / 1e6:.3f} MMACs @ {space.clip}")
    print(f" each network alone, {ALONE_STEPS} steps: top-1 (loss) of seeds {', '.join(map(str, ALONE_SEEDS))}")
    networks = alone(task)
    print(f" searches, {SEARCH_STEPS} steps")
    found = searches(task)
    return {
        "task": task.name,
        "reason": reason,
        "planted": str(task.planted),
        "clip": str(space.clip),
        "target_macs": target,
        "alone": networks,
        "searches": [
            {"seed": seed, **asdict(result), "derived": str(result.derived), "most_probable": str(result.most_probable)}
            for seed, result in zip(SEARCH_SEEDS, found, strict=True)
        ],
    }


def summary(tasks: Sequence[dict[str, Any]]) -> None:
    """A line per task: the planted network's worst seed, the best of all networks that are proved insufficient."""
    print("\n                      searches                           alone: planted        cannot")
    print("task      planted      found   P(planted)   CPU sec      top-1   loss    top-1   loss")
    for task in tasks:
        runs, networks = task["searches"], task["alone"]
        chances = [run["planted_probability"] for run in runs]
        seconds = sum(run["cpu_sec"] for run in runs) / len(runs)
        (planted,) = (row for row in networks if row["planted"])
        cannot = [row for row in networks if row["proved_insufficient"]]
        print(
            f"{task['task']:<8}  {task['planted']:<11}  {_found(task)} of {len(runs)}  "
            f"{min(chances):.3f}-{max(chances):.3f}  {seconds:7.0f}      "
            f"{min(planted['top1']):5.3f}  {max(planted['loss']):5.3f}    "
            f"{max(max(row['top1']) for row in cannot):5.3f}  {min(min(row['loss']) for row in cannot):5.3f}"
        )


def _found(task: dict[str, Any]) -> int:
    return sum(run["derived"] == run["most_probable"] == task["planted"] for run in task["searches"])


def missed(rows: Sequence[dict[str, Any]], tasks: Sequence[dict[str, Any]]) -> list[str]:
    """What did not reach its bar."""
    names = []
    for row in rows:
        found = row["found"]
        if found["regret"] >= MAX_REGRET or abs(found["cost_share"] - 1) >= MAX_OFF_TARGET:
            names.append(f"table, seed {row['seed']}")
    return names + [task["task"] for task in tasks if _found(task) < len(task["searches"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = tabular()
    tasks = [video_task(task) for task in TASKS]
    summary(tasks)
    behind = missed(rows, tasks)
    print(f"below their bars: {', '.join(behind) or 'none'}")
    record = {
        "cpu_sec": time.process_time(),
        "below_their_bars": behind,
        "tabular": {"steps": TABLE_STEPS, "seeds": rows},
        "search_settings": asdict(search_config(0, SEARCH_STEPS)),
        "alone_steps": ALONE_STEPS,
        "tasks": tasks,
    }
    save(options.out, "make planted", record)


if __name__ == "__main__":
    main()
