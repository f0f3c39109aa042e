"""How a search runs: the settings of the supernet loop and their rules."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from vidnas.base.errors import VidnasError
from vidnas.base.limits import AboveZero, Natural, NotNegative, Positive, Share, check_limits
from vidnas.engine.config import MachineConfig, OptimConfig
from vidnas.search.alpha import AlphaSettings, alpha_lr_by_rule
from vidnas.search.objective import CostMode, CostPressure
from vidnas.search.parsec import TemperatureMode
from vidnas.search.space.windows import WindowMode
from vidnas.search.super_units import KernelSharing

BASELINES = ("random", "evolution")


# Settings that do not change the numbers, so a resumed search may.
_FREE_ON_RESUME = {field.name for field in fields(MachineConfig)} | {"baselines"}


@dataclass(frozen=True)
class SearchConfig(OptimConfig, MachineConfig):
    """How a search runs. The defaults suit small data sets on one machine; `recipes/` holds the paper's settings.

    Attributes:
        epochs: passes over the weights' part of the training list.
        steps: steps instead of epochs; null follows `epochs`.
        warmup_fraction: share of the steps at the start that train weights only, alpha uniform (supplement: 200 of
            600 epochs).
        alpha_batch_size: clips that every sampled architecture is scored on in a step on alpha; null is batch_size.
        alpha_every: steps on the weights per step on alpha, after the warm-up.
        samples: K architectures per step on alpha; null takes a quarter of the entropy that is left, at least 4.
        weight_samples: architectures per step on the weights.
        weight_mode: `uniform` gives them equal weight; `two_pass` and `streamed` weigh them by PARSEC's omega;
            `sandwich` adds the largest and the smallest, and all learn from the largest, which learns from labels.
        label_smoothing: share of the target spread over all classes, for the weights in `uniform` and `sandwich`
            mode; scores are plain likelihoods.
        skip_inactive: weights that no architecture of a step used keep their value and momentum in it.
        micro_batches: parts a batch (a shard, where there are several) goes through the network in, to save memory;
            norms see one at a time.
        shards: equal parts of every batch, each with norm statistics, in `uniform` and `sandwich` mode also
            architectures, of its own, shared by the processes; null is one per process. With the same number of shards
            any number of processes gives the same search.
        alpha_lr: learning rate of Adam on alpha; null is 45 / steps on alpha, at most 0.05.
        temperature: what scores are divided by: auto, paper or mean.
        min_effective: for `auto`, the effective sample size as a share of K.
        cost_mode: how the cost presses: dual (finds the target), fixed, or log_mean.
        beta: factor of the cost at the start; null is, for dual, the spread of the first scores, else 1.
        windows: which channels a candidate uses: fair (the paper), cyclic or naive.
        kernels: `separate` gives every kernel its own weights; `cropped` makes the small ones centres of the largest.
        warm_start: how far a zero-cost proxy moves alpha at the start (`vidnas.engine.supernet.warm_start`); 0 leaves
            it uniform.
        candidates: most probable architectures within the budget that are judged on the holdout at the end.
        budget_use: share of the budget that they use at least; `dual` presses towards it from below.
        baselines: searches to compare with, as many evaluations each: random, evolution, or random,evolution.
        norm_batches: batches from which a candidate's norm statistics are estimated first.
        precision: fp32, or bf16 (mixed).
        seed: seed of everything random.
    """

    epochs: Positive = 60
    steps: Positive | None = None
    warmup_fraction: Share = 1 / 3
    alpha_batch_size: Positive | None = None
    alpha_every: Positive = 1
    samples: Annotated[int, Field(ge=2)] | None = None
    weight_samples: Positive = 1
    weight_mode: Literal["uniform", "two_pass", "streamed", "sandwich"] = "uniform"
    label_smoothing: Share = 0.0
    grad_clip: AboveZero | None = 5.0
    skip_inactive: bool = False
    micro_batches: Positive = 1
    shards: Positive | None = None
    alpha_lr: AboveZero | None = None
    temperature: TemperatureMode = "auto"
    min_effective: Annotated[float, Field(gt=0, le=1)] = 0.5
    cost_mode: CostMode = "dual"
    beta: AboveZero | None = None
    windows: WindowMode = "fair"
    kernels: KernelSharing = "separate"
    warm_start: NotNegative = 0.0
    candidates: Positive = 8
    budget_use: Share = 0.97
    baselines: str = ""
    norm_batches: Positive = 10
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: Natural = 0
    checkpoint_every_steps: Positive = 200

    def __post_init__(self) -> None:
        check_limits(self, "search")
        # A supernet scores by likelihoods; `accuracy` is for scorers of log accuracies.
        self._require("temperature", self.temperature != "accuracy", "auto, paper or mean")
        names = self.baseline_names
        known = set(names) <= set(BASELINES) and len(set(names)) == len(names)
        self._require("baselines", known, f"of {', '.join(BASELINES)}, with a comma between them")
        one_part = self.micro_batches == 1 or self.weight_mode != "streamed"
        self._require("weight_mode", one_part, "another than streamed where micro_batches is above 1")
        shards = self.shards or 1
        for name in ("batch_size", "alpha_batch_size"):
            rule = f"a multiple of {shards}, the number of shards (one per process unless search.shards is given)"
            self._require(name, (getattr(self, name) or shards) % shards == 0, rule)
        one_shard = shards == 1 or self.weight_mode != "streamed"
        self._require("weight_mode", one_shard, "another than streamed where there are several shards or processes")
        self._require("warm_start", shards == 1 or not self.warm_start, "0 where there are several shards or processes")

    def fixed_settings(self) -> dict[str, Any]:
        """The settings that a resumed search must share with the one it goes on from."""
        return {name: value for name, value in asdict(self).items() if name not in _FREE_ON_RESUME}

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
            use=self.budget_use if by_scores else 0.0,
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

    def with_length(self, steps: int) -> Self:
        """With so many steps, where the length is that of the defaults."""
        by_default = self.steps is None and self.epochs == SearchConfig.epochs
        return replace(self, steps=steps) if by_default else self

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
