"""Fair, cyclic and naive channel windows (AutoX3D sec. 4.2, Fig. 4 and Table 4), on a small task.

    make fair-windows

The paper's claim: with naive windows small networks train more than large ones, so that the search collapses to
networks below the target (1.7 of 2.0 G) that are worse in the end. The setting was fixed before any of these seeds was
run: the task of motion_task.py, a space of seven widths per group, a fifth of the steps for the weights alone, and a
target at three quarters of the largest architecture, so that it hardly binds; nothing presses towards it from below.
Eight seeds for each kind of window; they share data, seeds and all other settings, so differences are paired. Of every
search is measured

- F / T: mean cost of the final distribution, and cost of its most probable architecture, over the target,
- the accuracy of the derived network, trained on its own, and its cost,
- Kendall's rank correlation, over fixed random architectures, of supernet scores with stand-alone accuracy.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from machine import kept, mean_se, save
from motion_task import CLASSES, SEARCH, Task

from vidnas.arch.spec import ClassificationSpec, ClipSpec, StemSpec
from vidnas.engine.run.runtime import tune_allocator
from vidnas.search.costs import CostTable
from vidnas.search.rank_correlation import kendall
from vidnas.search.space.published.autox3d import KERNELS
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace
from vidnas.search.space.windows import WindowMode

SPACE = Space(
    name="widths",
    clip=ClipSpec(frames=8, size=32, sampling="uniform"),
    streams=(
        StreamSpace(
            stem=StemSpec(channels=8),
            groups=tuple(
                GroupSpace(
                    depth=1, stride=2, channels=tuple(range(c, 8 * c, c)), expansion=(1.5, 3.0), kernel=KERNELS[::2]
                )
                for c in (4, 8, 16)
            ),
            expansion_of="input",
            conv5=128,
        ),
    ),
    head=ClassificationSpec(num_classes=len(CLASSES), hidden=128, dropout=0.2),
)
TARGET_MACS = 0.75 * CostTable.of(SPACE).dearest()[1]
# The pressure from below would undo the collapse that is to be seen.
CONFIG = replace(SEARCH, warmup_fraction=0.2, budget_use=0.0)
SEEDS = range(8)
POOL = 12


def figures(record: Mapping[str, Any], truth: list[float]) -> dict[str, float]:
    """What is reported of one search."""
    return {
        "mean_cost_over_target": record["mean_macs"] / TARGET_MACS,
        "most_probable_cost_over_target": record["most_probable_macs"] / TARGET_MACS,
        "derived_cost_over_target": record["derived"]["macs"] / TARGET_MACS,
        "derived_top1": record["derived"]["top1"],
        "tau": kendall(record["recalibrated"][:POOL], truth).tau,
        "entropy_share": record["entropy_share"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="Folder of what is measured already.")
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    task = Task(0, SPACE, TARGET_MACS)
    modes: tuple[WindowMode, ...] = get_args(WindowMode)
    searches = {
        seed: {
            mode: kept(
                options.work / f"{mode}_{seed}.json",
                lambda seed=seed, mode=mode: task.search(replace(CONFIG, seed=seed, windows=mode)),
            )
            for mode in modes
        }
        for seed in SEEDS
    }
    pool = task.pool[:POOL]
    alone = [kept(options.work / f"pool_{i}.json", lambda c=c: task.stand_alone(c, 0)) for i, c in enumerate(pool)]
    truth = [record["top1"] for record in alone]
    runs = {mode: {seed: figures(searches[seed][mode], truth) for seed in SEEDS} for mode in modes}
    names = list(runs["fair"][0])
    record = {
        "space": SPACE.name,
        "clip": str(SPACE.clip),
        "target_macs": TARGET_MACS,
        "search_steps": CONFIG.steps,
        "warmup_fraction": CONFIG.warmup_fraction,
        "seeds": list(SEEDS),
        "stand_alone_top1": truth,
        "figures": {
            mode: {n: mean_se([r[n] for r in by_seed.values()]) for n in names} for mode, by_seed in runs.items()
        },
        "minus_naive": {
            mode: {n: mean_se([by_seed[s][n] - runs["naive"][s][n] for s in SEEDS]) for n in names}
            for mode, by_seed in runs.items()
            if mode != "naive"
        },
        "runs": runs,
    }
    for part in ("figures", "minus_naive"):
        for mode, entry in record[part].items():  # type: ignore[attr-defined]
            print(part, mode, {name: f"{value['mean']:.3f}+-{value['se']:.3f}" for name, value in entry.items()})
    if options.out:
        save(options.out, "make fair-windows", record)


if __name__ == "__main__":
    main()
