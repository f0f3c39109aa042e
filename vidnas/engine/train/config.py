"""How a network is trained: the settings, their rules, and what a resumed run must not change."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from vidnas.base.errors import VidnasError
from vidnas.base.limits import Natural, NotNegative, Positive, Share, check_limits
from vidnas.engine.config import MachineConfig, OptimConfig

# Of the rule for the length of a training; what other lengths came to is in docs/training.md.
_CLIPS, _LEAST_CLASSES = 600, 25
# Settings that do not change the numbers, so a resumed run may; threads are held by `RunFolder.threads_to_resume`.
_FREE_ON_RESUME = {field.name for field in fields(MachineConfig)} | {"log_every_steps"}


@dataclass(frozen=True)
class TrainConfig(OptimConfig, MachineConfig):
    """How a network is trained. The defaults suit small data sets; `recipes/` holds the papers' settings.

    Attributes:
        epochs: passes over the training list; the incomplete batch at the end of each is dropped. null, with steps
            null, is a length by rule: 600 * sqrt(videos * classes) clips, fewer classes than 25 counted as 25, so that
            small lists are learned to the end.
        steps: optimiser steps, instead of epochs.
        label_smoothing: share of the target spread over all classes.
        mixup: alpha of the Beta distribution that blends each batch with its reverse; 0 is off.
        ema: decay per step of an average of the weights, less at the start, which is then what is validated and kept;
            0 is off.
        precision: fp32, bf16 (mixed), or fp16 (mixed, with loss scaling; on a GPU).
        accumulate: parts in which the share of a batch that a process has goes through the network, to save memory.
            batch_size is a multiple of parts times processes. Norms see one part at a time.
        activation_checkpointing: recompute activations in the backward pass, to save memory.
        norm_batches: batches from which norm statistics are estimated anew at the end; 0 keeps the running ones.
        val_fraction: share of the training list held out for validation, whole groups at a time; 0 is none.
        val_every_epochs: epochs between validations.
        keep: the weights to keep: `last`, or `best` on the held-out part.
        seed: seed of everything random.
        devices: processes (GPUs) on this machine; under torchrun its own number counts.
        log_every_steps: steps between lines of metrics.
    """

    epochs: Positive | None = None
    steps: Positive | None = None
    label_smoothing: Share = 0.1
    mixup: NotNegative = 0.0
    ema: Share = 0.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: Positive = 1
    activation_checkpointing: bool = False
    norm_batches: Natural = 0
    val_fraction: Share = 0.0
    val_every_epochs: Positive = 1
    keep: Literal["last", "best"] = "last"
    seed: Natural = 0
    devices: Positive = 1
    log_every_steps: Positive = 10

    def __post_init__(self) -> None:
        check_limits(self, "train")
        if self.batch_size % self.accumulate:
            raise VidnasError(
                f"train.batch_size: must be a multiple of accumulate ({self.accumulate}) (got {self.batch_size})"
            )
        if self.keep == "best" and not self.val_fraction:
            raise VidnasError("train.keep: must be last, or val_fraction above 0 for best (got 'best')")

    def fixed_settings(self) -> dict[str, Any]:
        """The settings that a resumed run must share with the one it goes on from."""
        return {name: value for name, value in asdict(self).items() if name not in _FREE_ON_RESUME}

    def with_length(self, videos: int, classes: int) -> Self:
        """With a length in steps for a list, where neither epochs nor steps were given."""
        if self.epochs or self.steps:
            return self
        clips = _CLIPS * math.sqrt(videos * max(classes, _LEAST_CLASSES))
        return replace(self, steps=math.ceil(clips / self.batch_size))

    def in_steps(self, videos: int, classes: int) -> Self:
        """With its length on a whole list in steps, however it was given, for trainings on parts of that list."""
        config = self.with_length(videos, classes)
        return replace(config, epochs=None, steps=config.num_steps(max(1, videos // self.batch_size)))

    def num_steps(self, steps_per_epoch: int) -> int:
        """Length in steps; it must have one."""
        assert self.epochs or self.steps, "see with_length"
        return self.steps or (self.epochs or 0) * steps_per_epoch

    def shorten(self, part: float) -> Self:
        """A part of the length, rounded up, and of the warm-up."""
        epochs, steps = self.epochs and math.ceil(self.epochs * part), self.steps and math.ceil(self.steps * part)
        return replace(self, epochs=epochs, steps=steps, warmup_epochs=self.warmup_epochs * part)

    def describe_length(self) -> str:
        """`15 epochs`, or `300 steps` where these are given."""
        number, unit = (self.epochs, "epoch") if self.steps is None else (self.steps, "step")
        return f"{number} {unit}{'s' * (number != 1)}" if number else "a length by rule"
