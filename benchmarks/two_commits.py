"""Whether a change made commands slower: two working trees, the same commands, by turns.

    python benchmarks/two_commits.py OLD NEW --out benchmarks/results/two_commits.json

OLD and NEW are folders with a checkout each, their kernels built. Every command runs in a process of its own, imports
included: `vidnas list`, a training of X3D-XS and a search of the small space, on generated videos from the frame cache.
CPU seconds are of the process with its children; the ratio is that of the medians. The steps that `make bench-train`
and `make bench-search` time are compared in the same way on one thread, imports not counted.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from vidnas.engine.run.runtime import versions

TURNS = 5
# What a tree's own benchmarks time, on one thread; each script prints seconds.
_TRAINING = """
import statistics, time
import torch
from training_step import CPU_TABLES, make_step, tune_allocator
tune_allocator()
torch.set_num_threads(1)
step = make_step("ours", CPU_TABLES[{table}], torch.device("cpu"))
step()
found = []
for _ in range(5):
    start = time.process_time()
    step()
    found.append(time.process_time() - start)
print(statistics.median(found))
"""
_SEARCH = """
import statistics
import torch
from supernet_cost import times, tune_allocator
tune_allocator()
torch.set_num_threads(1)
print(statistics.median(row["sampled_sec"] for row in times(torch.device("cpu"), 3, 2)))
"""
STEPS = {
    "bench-train, x3d_s 13x160x160": _TRAINING.format(table=2),
    "bench-train, x3d_s 8x64x64": _TRAINING.format(table=1),
    "bench-search, autox3d": _SEARCH,
}


def commands(data: Path, out: Path) -> dict[str, list[str]]:
    """By name; all options are known to both trees."""
    quick = ["--data", str(data), "--workers", "0", "--out", str(out)]
    training = ["train", "--arch", "x3d_xs", "--clip", "4x96", "--steps", "40", "--batch-size", "8", "--test", "none"]
    searching = ["search", "--space", "tiny", "--target-macs", "4M", "--search.steps", "150", "--search.threads", "1"]
    return {
        "list": ["list"],
        "train": [*training, "--train.threads", "1", *quick],
        "search": [*searching, *quick],
    }


def timed(tree: Path, words: list[str], out: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command of a tree."""
    shutil.rmtree(out, ignore_errors=True)
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "vidnas", *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall_sec, after = time.perf_counter() - start, os.times()
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_sec, children


def measure(trees: dict[str, Path], data: Path, out: Path, turns: int) -> dict[str, Any]:
    """By command: medians of both trees, and new over old."""
    results = {}
    for name, words in commands(data, out).items():
        found: dict[str, list[tuple[float, float]]] = {tree: [] for tree in trees}
        for turn in range(turns + 1):  # the first fills caches
            for tree in list(trees)[:: 1 if turn % 2 else -1]:
                found[tree].append(timed(trees[tree], words, out))
        medians = {
            tree: [statistics.median(column) for column in zip(*times[1:], strict=True)]
            for tree, times in found.items()
        }
        (old_wall, old_cpu), (new_wall, new_cpu) = medians["old"], medians["new"]
        results[name] = {
            "command": f"vidnas {' '.join(words)}".replace(str(data), "DATA").replace(str(out), "OUT"),
            "old_wall_sec": old_wall,
            "new_wall_sec": new_wall,
            "old_cpu_sec": old_cpu,
            "new_cpu_sec": new_cpu,
            "wall_ratio": new_wall / old_wall,
            "cpu_ratio": new_cpu / old_cpu,
        }
        print(f"{name}: wall {new_wall / old_wall:.3f}, CPU {new_cpu / old_cpu:.3f} of before")
    return results


def step_seconds(tree: Path, script: str) -> float:
    """What a script prints in a process on a tree."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'benchmarks'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def measure_steps(trees: dict[str, Path], turns: int) -> dict[str, Any]:
    """By benchmark: median seconds of a step of both trees, and new over old."""
    results = {}
    for name, script in STEPS.items():
        found: dict[str, list[float]] = {tree: [] for tree in trees}
        for turn in range(turns):
            for tree in list(trees)[:: 1 if turn % 2 else -1]:
                found[tree].append(step_seconds(trees[tree], script))
        old, new = (statistics.median(found[tree]) for tree in ("old", "new"))
        results[name] = {"old_sec": old, "new_sec": new, "ratio": new / old}
        print(f"{name}: {new / old:.3f} of before")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    trees = {"old": options.old.resolve(), "new": options.new.resolve()}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        words = ["data", "generate", str(data), "--classes", "move_left,move_right", "--train", "40", "--test", "2"]
        timed(trees["new"], words, data)
        results = measure(trees, data, Path(folder, "out"), options.turns)
    steps = measure_steps(trees, options.turns)
    commits = {
        name: subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=True
        ).stdout.strip()
        for name, tree in trees.items()
    }
    record = {
        "command": "python benchmarks/two_commits.py OLD NEW",
        "date": date.today().isoformat(),
        "versions": versions(),
        "commits": commits,
        "turns": options.turns,
        "results": results,
        "steps": steps,
    }
    options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"results: {options.out}")


if __name__ == "__main__":
    main()
