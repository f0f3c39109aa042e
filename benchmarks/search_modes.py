"""What every mode of the search is worth, on one small task with one protocol: each against the default.

    make bench-modes

The task: six motions that no single frame shows, 8 x 32 x 32 clips, three groups of one block with 6 kernels, 3
expansions and 3 widths each, 400 steps. A mode differs from the one it is compared with in one setting. Of every search
is measured

- Kendall's rank correlation, over a fixed set of random architectures, between their score on the trained supernet and
  their accuracy after training on their own (two seeds each); with norm statistics estimated anew for each architecture
  and with those of the batch that is scored, as during the search,
- the accuracy of the architecture it derives, trained on its own, and its cost,
- its seconds of CPU time on one thread.

A killed run goes on where it was: what is measured already lies in --work.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from machine import save
from motion_clips import MotionClips

from vidnas.arch.spec import ClipSpec, HeadSpec, StemSpec
from vidnas.engine.candidates import judge, probable_candidates
from vidnas.engine.config import TrainConfig
from vidnas.engine.optim import learning_rate, make_optimizer
from vidnas.engine.runtime import tune_allocator
from vidnas.engine.search_config import SearchConfig
from vidnas.engine.search_folder import SearchFolder
from vidnas.engine.supernet_search import SupernetSearch, run_search
from vidnas.engine.trainer import make_fabric
from vidnas.nn.build import build
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.derive import Derived
from vidnas.search.rank_correlation import kendall
from vidnas.search.space import Choice, Space
from vidnas.search.spaces.autox3d import KERNELS
from vidnas.search.stream_space import GroupSpace, StreamSpace

CLASSES = ("move_left", "move_right", "move_up", "move_down", "grow", "shrink")
SPACE = Space(
    name="modes",
    clip=ClipSpec(frames=8, size=32, sampling="uniform"),
    streams=(
        StreamSpace(
            stem=StemSpec(channels=8),
            groups=tuple(
                GroupSpace(depth=1, stride=2, channels=channels, expansion=(1.5, 2.25, 3.0), kernel=KERNELS)
                for channels in ((8, 12, 16), (16, 24, 32), (32, 48, 64))
            ),
            expansion_of="input",
            conv5=128,
        ),
    ),
    head=HeadSpec(num_classes=len(CLASSES), hidden=128, dropout=0.2),
)
TARGET_MACS = 2.5e6
# Clips per class.
WEIGHTS, ALPHA, HOLDOUT, TEST = 200, 40, 40, 160
STAND_ALONE = TrainConfig(steps=300, lr=0.012)
STAND_ALONE_WARMUP = 50
SEARCH = SearchConfig(
    steps=400,
    lr=0.012,
    alpha_lr=0.025,
    min_effective=0.25,
    beta=1.0,
    device="cpu",
    threads=1,
    checkpoint_every_steps=10**6,
)
POOL = 20
POOL_SEEDS = 2
DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class Mode:
    """Settings that differ from the default, the mode it is compared with, and the number of seeds."""

    settings: Mapping[str, Any]
    against: str = "default"
    seeds: int = 6


MODES = {
    "default": Mode({}),
    "three architectures": Mode({"weight_samples": 3}),
    "two_pass": Mode({"weight_samples": 3, "weight_mode": "two_pass"}, "three architectures"),
    "sandwich": Mode({"weight_mode": "sandwich"}, "three architectures"),
    "kernels cropped": Mode({"kernels": "cropped"}),
    "skip_inactive": Mode({"skip_inactive": True}),
    "warm_start 1": Mode({"warm_start": 1.0}),
    "temperature paper": Mode({"temperature": "paper"}, seeds=4),
    "temperature mean": Mode({"temperature": "mean"}, seeds=4),
    "samples 13": Mode({"samples": 13}, seeds=4),
    "streamed": Mode({"weight_samples": 3, "weight_mode": "streamed"}, "three architectures", seeds=4),
}


class Task:
    """A space and a target, the lists of a data set, and fixed random architectures."""

    def __init__(self, seed: int, space: Space = SPACE, target_macs: float = TARGET_MACS) -> None:
        self.space, self.target_macs = space, target_macs
        sizes = (WEIGHTS, ALPHA, HOLDOUT, TEST)
        parts = [MotionClips(CLASSES, space.clip, size, seed, part) for part, size in enumerate(sizes)]
        self.weights, self.alpha, self.holdout, self.test = parts
        self.training = self.weights + self.alpha + self.holdout
        self.table = CostTable.of(space)
        rng = random.Random(seed)
        self.pool = [tuple(rng.randrange(size) for size in space.sizes) for _ in range(POOL)]

    def stand_alone(self, choice: Choice, seed: int) -> dict[str, Any]:
        """Train an architecture on its own and test it."""
        torch.manual_seed(seed)
        network = build(self.space.decode(choice), zero_init_residual=False)
        optimizer = make_optimizer(network, STAND_ALONE)
        steps = STAND_ALONE.steps or 0
        batches = self.training.shuffled(STAND_ALONE.batch_size, seed, steps)(0)
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(STAND_ALONE.peak_lr, step, steps, STAND_ALONE_WARMUP)
            torch.manual_seed(seed * 1_000_003 + step)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(batch.clips), batch.labels, label_smoothing=STAND_ALONE.label_smoothing).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = [(network(b.clips).argmax(1) == b.labels).sum().item() for b in self.test.in_order(60)]
        return {"choice": list(choice), "macs": self.table.cost(choice), "top1": sum(right) / len(self.test)}

    def search(self, config: SearchConfig) -> dict[str, Any]:
        """One search, the scores of the fixed architectures on its supernet, and what it derives."""
        schedule = config.schedule(len(self.weights) // config.batch_size)
        start = time.process_time()
        budget = Budget(self.table, self.target_macs)
        search = SupernetSearch(self.space, [budget], schedule, config, make_fabric(DEVICE, config.precision))
        with tempfile.TemporaryDirectory() as folder:
            run_search(
                search,
                self.weights.shuffled(config.batch_size, config.seed, schedule.total),
                self.alpha.shuffled(config.score_batch_size, config.seed + 1, schedule.alpha_steps),
                SearchFolder(Path(folder)),
                {},
                resume=False,
                notify=print,
            )
        cpu_sec = time.process_time() - start
        norm_batches = self.weights.shuffled(config.batch_size, config.seed + 2, config.norm_batches)(0)
        norm_clips = [batch.clips for batch in norm_batches]
        holdout = list(self.holdout.in_order(config.score_batch_size))
        pool = [Derived(choice, self.table.cost(choice), 0.0, None) for choice in self.pool]
        judged = {j.derived.choice: j for j in judge(search.supernet, pool, norm_clips, holdout, DEVICE)}
        search.supernet.eval()
        of_batch = [sum(scores) for scores in zip(*(search.scorer(b)(self.pool) for b in holdout), strict=True)]
        distribution = search.alpha.distribution
        candidates = probable_candidates(distribution, search.alpha.budgets, config.candidates)
        best = judge(search.supernet, candidates, norm_clips, holdout, DEVICE)[0].derived
        return {
            "cpu_sec": cpu_sec,
            "recalibrated": [judged[choice].log_likelihood for choice in self.pool],
            "of_batch": [score / len(self.holdout) for score in of_batch],
            "mean_top1": mean(j.top1 for j in judged.values()),
            "entropy_share": distribution.entropy() / distribution.initial_entropy,
            "mean_macs": float(self.table.costs(distribution.sample(1000, config.seed, 0)).mean()),
            "most_probable_macs": self.table.cost(distribution.most_probable()),
            "derived": self.stand_alone(best.choice, config.seed),
        }


def kept(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was computed before, or now."""
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(json.dumps(compute()))
        part.rename(path)
        print(path.name, flush=True)
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def mean_se(values: Sequence[float]) -> dict[str, float]:
    """Mean and its standard error."""
    return {"mean": mean(values), "se": stdev(values) / sqrt(len(values)) if len(values) > 1 else float("nan")}


def figures(record: Mapping[str, Any], truth: Sequence[float]) -> dict[str, float]:
    """What is reported of one search."""
    return {
        "tau_recalibrated": kendall(record["recalibrated"], truth).tau,
        "tau_of_batch": kendall(record["of_batch"], truth).tau,
        "supernet_top1": record["mean_top1"],
        "derived_top1": record["derived"]["top1"],
        "derived_macs": record["derived"]["macs"],
        "cpu_sec": record["cpu_sec"],
    }


def summarise(runs: Mapping[str, Mapping[int, Mapping[str, float]]]) -> dict[str, Any]:
    """Means over seeds, and paired differences from the mode that each is compared with."""
    table = {}
    for name, by_seed in runs.items():
        other = runs[MODES[name].against]
        shared = sorted(by_seed.keys() & other.keys())
        names = next(iter(by_seed.values())).keys()
        entry: dict[str, Any] = {
            "settings": dict(MODES[name].settings),
            "against": MODES[name].against,
            "seeds": sorted(by_seed),
            "figures": {key: mean_se([run[key] for run in by_seed.values()]) for key in names},
        }
        if name != MODES[name].against:
            entry["difference"] = {key: mean_se([by_seed[s][key] - other[s][key] for s in shared]) for key in names}
        differences = [run["tau_recalibrated"] - run["tau_of_batch"] for run in by_seed.values()]
        entry["recalibration_adds"] = mean_se(differences)
        table[name] = entry
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="Folder of what is measured already.")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    task = Task(options.data_seed)
    alone = [
        [kept(options.work / f"pool_{i}_{s}.json", lambda c=c, s=s: task.stand_alone(c, s)) for s in range(POOL_SEEDS)]
        for i, c in enumerate(task.pool)
    ]
    truth = [mean(record["top1"] for record in records) for records in alone]
    runs: dict[str, dict[int, dict[str, float]]] = {name: {} for name in options.modes}
    seeds = {name: range(options.first_seed, options.first_seed + MODES[name].seeds) for name in options.modes}
    # Modes with most seeds first, and all of a seed before the next: what is there after a stop can be compared.
    order = sorted((-len(seeds[name]), seed, place) for place, name in enumerate(options.modes) for seed in seeds[name])
    for _, seed, place in order:
        name = options.modes[place]
        config = replace(SEARCH, seed=seed, **MODES[name].settings)
        path = options.work / f"{name.replace(' ', '_')}_{seed}.json"
        runs[name][seed] = figures(kept(path, lambda c=config: task.search(c)), truth)
    table = summarise(runs)
    for name, entry in table.items():
        print(name, {key: f"{value['mean']:.4g}+-{value['se']:.2g}" for key, value in entry["figures"].items()})
        if "difference" in entry:
            shown = {key: f"{value['mean']:+.3g}+-{value['se']:.2g}" for key, value in entry["difference"].items()}
            print("   against", entry["against"], shown)
    record = {
        "space": SPACE.name,
        "clip": str(SPACE.clip),
        "classes": CLASSES,
        "clips_per_class": {"weights": WEIGHTS, "alpha": ALPHA, "holdout": HOLDOUT, "test": TEST},
        "target_macs": TARGET_MACS,
        "search_steps": SEARCH.steps,
        "stand_alone_steps": STAND_ALONE.steps,
        "kendall_null_se": kendall(truth, truth).null_standard_error,
        "pool": [
            {"choice": records[0]["choice"], "macs": records[0]["macs"], "top1": [r["top1"] for r in records]}
            for records in alone
        ],
        "tau_of_two_trainings": kendall([r[0]["top1"] for r in alone], [r[1]["top1"] for r in alone]).tau,
        "tau_of_macs": kendall([r[0]["macs"] for r in alone], truth).tau,
        "modes": table,
        "runs": runs,
    }
    if options.out:
        save(options.out, "make bench-modes", record)


if __name__ == "__main__":
    main()
