"""How a search runs: the settings of the supernet loop and their rules."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from vidnas.base.errors import VidnasError
from vidnas.engine.train.config import Optimizer, decay_by_rule, lr_by_rule
from vidnas.search.alpha import AlphaSettings, alpha_lr_by_rule
from vidnas.search.objective import CostMode, CostPressure
from vidnas.search.parsec import TemperatureMode
from vidnas.search.space.windows import WindowMode
from vidnas.search.super_units import KernelSharing

BASELINES = ("random", "evolution")


@dataclass(frozen=True)
class SearchConfig:
    """How a search runs. The defaults suit small data sets on one machine; `recipes/` holds the paper's settings.

    Attributes:
        epochs: passes over the weights' part of the training list.
        steps: steps instead of epochs; null follows `epochs`.
        warmup_fraction: share of the steps at the start that train weights only, alpha uniform (supplement: 200 of
            600 epochs).
        batch_size: clips per step on the weights.
        alpha_batch_size: clips that every sampled architecture is scored on in a step on alpha; null is batch_size.
        alpha_every: steps on the weights per step on alpha, after the warm-up.
        samples: K architectures per step on alpha; null takes a quarter of the entropy that is left, at least 4.
        weight_samples: architectures per step on the weights.
        weight_mode: `uniform` gives them equal weight; `two_pass` and `streamed` weigh them by PARSEC's omega;
            `sandwich` adds the largest and the smallest, and all learn from the largest, which learns from labels.
        optimizer: of the weights, sgd (the paper) or adamw (small data).
        lr: peak learning rate of the weights; null follows the rule: sgd 0.1 * batch_size / 64, adamw
            0.002 * sqrt(batch_size / 16).
        momentum: of sgd.
        weight_decay: of the weights, norms and biases excepted; null is 5e-5 for sgd and 0.01 for adamw.
        warmup_epochs: linear rise of the learning rate, before a half cosine to 0.
        label_smoothing: of the weights' loss on labels in `uniform` and `sandwich` mode; scores are plain likelihoods.
        grad_clip: largest norm of the gradient, applied once after all architectures; null is off.
        zero_init_residual: start the last norm of residual branches at zero, as X3D does. Over short
            searches the shared weights then stay at chance for long, so it is off. Attention always starts at zero.
        skip_inactive: weights that no architecture of a step used keep their value and momentum in it.
        micro_batches: parts a batch (a shard, where there are several) goes through the network in, to save memory;
            norms see one at a time.
        shards: equal parts of every batch, each with norm statistics, in `uniform` and `sandwich` mode also
            architectures, of its own, shared by the processes; null is one per process. With the same number of shards
            any number of processes gives the same search.
        alpha_lr: learning rate of Adam on alpha; null is 45 / steps on alpha, at most 0.05.
        temperature: what scores are divided by: auto, paper, mean or accuracy.
        min_effective: of `auto`, the effective sample size as a share of K.
        cost_mode: how the cost presses: dual (finds the target), fixed, or log_mean.
        beta: its factor at the start; null is, for dual, the spread of the first scores, else 1.
        windows: which channels a candidate uses: fair (the paper), cyclic or naive.
        kernels: `separate` gives every kernel its own weights; `cropped` makes the small ones centres of the largest.
        warm_start: how far a zero-cost proxy moves alpha at the start (`vidnas.engine.supernet.warm_start`); 0 leaves
            it uniform.
        candidates: most probable architectures under the budget that are judged on the holdout at the end.
        baselines: searches to compare with, as many evaluations each: random, evolution, or random,evolution.
        norm_batches: batches from which a candidate's norm statistics are estimated first.
        precision: fp32, or bf16 (mixed).
        seed: of everything random.
        device: auto, cpu or cuda.
        threads: CPU threads; null is torch's choice, and in a resumed search what it began with.
        checkpoint_every_steps: steps between saved states.
    """

    epochs: int = 60
    steps: int | None = None
    warmup_fraction: float = 1 / 3
    batch_size: int = 16
    alpha_batch_size: int | None = None
    alpha_every: int = 1
    samples: int | None = None
    weight_samples: int = 1
    weight_mode: Literal["uniform", "two_pass", "streamed", "sandwich"] = "uniform"
    optimizer: Optimizer = "adamw"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.0
    grad_clip: float | None = 5.0
    zero_init_residual: bool = False
    skip_inactive: bool = False
    micro_batches: int = 1
    shards: int | None = None
    alpha_lr: float | None = None
    temperature: TemperatureMode = "auto"
    min_effective: float = 0.5
    cost_mode: CostMode = "dual"
    beta: float | None = None
    windows: WindowMode = "fair"
    kernels: KernelSharing = "separate"
    warm_start: float = 0.0
    candidates: int = 8
    baselines: str = ""
    norm_batches: int = 10
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    checkpoint_every_steps: int = 200

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "alpha_every", "weight_samples", "micro_batches", "candidates"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("norm_batches", "checkpoint_every_steps"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("steps", "alpha_batch_size", "shards", "threads"):
            self._require(name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1, or null")
        self._require("samples", self.samples is None or self.samples >= 2, "at least 2, or null")
        for name in ("lr", "grad_clip", "alpha_lr", "beta"):
            self._require(name, getattr(self, name) is None or getattr(self, name) > 0, "above 0, or null")
        self._require("warmup_fraction", 0 <= self.warmup_fraction < 1, "at least 0 and below 1")
        self._require("min_effective", 0 < self.min_effective <= 1, "above 0, at most 1")
        names = self.baseline_names
        known = set(names) <= set(BASELINES) and len(set(names)) == len(names)
        self._require("baselines", known, f"of {', '.join(BASELINES)}, with a comma between them")
        self._require("warm_start", self.warm_start >= 0, "at least 0")
        one_part = self.micro_batches == 1 or self.weight_mode != "streamed"
        self._require("weight_mode", one_part, "another than streamed where micro_batches is above 1")
        shards = self.shards or 1
        for name in ("batch_size", "alpha_batch_size"):
            rule = f"a multiple of {shards}, the number of shards (one per process unless search.shards is given)"
            self._require(name, (getattr(self, name) or shards) % shards == 0, rule)
        one_shard = shards == 1 or self.weight_mode != "streamed"
        self._require("weight_mode", one_shard, "another than streamed where there are several shards or processes")
        self._require("warm_start", shards == 1 or not self.warm_start, "0 where there are several shards or processes")

    @property
    def peak_lr(self) -> float:
        """The weights' learning rate at the top of the schedule, given or by rule."""
        if self.lr is not None:
            return self.lr
        return lr_by_rule(self.optimizer, self.batch_size)

    @property
    def decay(self) -> float:
        """The weights' decay, given or by rule."""
        if self.weight_decay is not None:
            return self.weight_decay
        return decay_by_rule(self.optimizer)

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """The searches to compare with."""
        return tuple(self.baselines.split(",")) if self.baselines else ()

    @property
    def score_batch_size(self) -> int:
        """Clips per step on alpha."""
        return self.alpha_batch_size or self.batch_size

    def alpha_settings(self, steps: int) -> AlphaSettings:
        """The part that the steps on alpha need, of which there will be so many."""
        by_scores = self.cost_mode == "dual" and self.beta is None
        return AlphaSettings(
            samples=self.samples,
            lr=alpha_lr_by_rule(steps) if self.alpha_lr is None else self.alpha_lr,
            temperature=self.temperature,
            min_effective=self.min_effective,
            pressure=None if by_scores else CostPressure(self.cost_mode, 1.0 if self.beta is None else self.beta),
        )

    def for_processes(self, processes: int) -> "SearchConfig":
        """The same with the number of shards settled.

        Raises:
            VidnasError: shards that the processes, or batches that the shards, cannot share equally.
        """
        shards = self.shards or processes
        if shards % processes:
            raise VidnasError(
                f"search.shards: must be a multiple of {processes}, the number of processes (got {shards}); change it, "
                "or start another number of processes"
            )
        if processes > 1 and self.baselines:
            raise VidnasError(
                "search.baselines: for one process only; leave them out, and when the search has ended give the same "
                f"command with --resume, --search.shards {shards} and --baselines to one process"
            )
        return replace(self, shards=shards)

    def schedule(self, steps_per_epoch: int) -> "Schedule":
        """Steps of a run over a list with this many batches."""
        total = self.steps or self.epochs * steps_per_epoch
        return Schedule(
            total=total,
            alpha_start=math.floor(total * self.warmup_fraction),
            alpha_every=self.alpha_every,
            lr_warmup=round(self.warmup_epochs * steps_per_epoch),
            steps_per_epoch=steps_per_epoch,
        )

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise VidnasError(f"search.{name}: must be {rule} (got {getattr(self, name)!r})")


@dataclass(frozen=True)
class Schedule:
    """When what happens in a search; steps count from 0."""

    total: int
    alpha_start: int
    alpha_every: int
    lr_warmup: int
    steps_per_epoch: int

    def alpha_step(self, step: int) -> int | None:
        """The number of the alpha step that follows a step on the weights, or None where none does."""
        after = step - self.alpha_start
        return after // self.alpha_every if after >= 0 and after % self.alpha_every == 0 else None

    def alpha_steps_before(self, step: int) -> int:
        """How many alpha steps have happened before a step."""
        after = step - self.alpha_start
        return -(-after // self.alpha_every) if after > 0 else 0

    @property
    def alpha_steps(self) -> int:
        """Alpha steps of the whole run."""
        return self.alpha_steps_before(self.total)
