"""A small task with its space: six motions that no single frame shows, searched, and single networks trained on it."""

import random
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from motion_clips import MotionClips

from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.supernet.candidates import judge, probable_candidates
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.folder import SearchFolder
from vidnas.engine.supernet.search import SupernetSearch, run_search
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.optim import learning_rate, make_optimizer
from vidnas.nn.build import build
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.derive import Candidate
from vidnas.search.space.space import Choice, Space

CLASSES = ("move_left", "move_right", "move_up", "move_down", "grow", "shrink")
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
DEVICE = torch.device("cpu")


class Task:
    """A space and a target, the lists of a data set, and fixed random architectures."""

    def __init__(self, seed: int, space: Space, target_macs: float) -> None:
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
            F.cross_entropy(network(batch.clips), batch.targets, label_smoothing=STAND_ALONE.label_smoothing).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = [(network(b.clips).argmax(1) == b.targets).sum().item() for b in self.test.in_order(60)]
        return {"choice": list(choice), "macs": self.table.cost(choice), "top1": sum(right) / len(self.test)}

    def search(self, config: SearchConfig) -> dict[str, Any]:
        """One search, the scores of the fixed architectures on its supernet, and what it derives."""
        schedule = config.schedule(len(self.weights) // config.batch_size)
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
            )
        norm_batches = self.weights.shuffled(config.batch_size, config.seed + 2, config.norm_batches)(0)
        norm_clips = [batch.clips for batch in norm_batches]
        holdout = list(self.holdout.in_order(config.score_batch_size))
        pool = [Candidate(choice, self.table.cost(choice), 0.0, None) for choice in self.pool]
        judged = {j.derived.choice: j for j in judge(search.supernet, pool, norm_clips, holdout, DEVICE)}
        distribution = search.alpha.distribution
        candidates = probable_candidates(distribution, search.alpha.budgets, config.candidates)
        best = judge(search.supernet, candidates, norm_clips, holdout, DEVICE)[0].derived
        return {
            "recalibrated": [judged[choice].log_likelihood for choice in self.pool],
            "entropy_share": distribution.entropy() / distribution.initial_entropy,
            "mean_macs": float(self.table.costs(distribution.sample(1000, config.seed, 0)).mean()),
            "most_probable_macs": self.table.cost(distribution.most_probable()),
            "derived": self.stand_alone(best.choice, config.seed),
        }
