"""How a network is trained: the settings, their rules, and what a resumed run must not change."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from vidnas.base.errors import VidnasError

Optimizer = Literal["sgd", "adamw"]
# Settings that do not change the numbers, so a resumed run may; threads are held by `RunFolder.threads_to_resume`.
_FREE_ON_RESUME = ("checkpoint_every_steps", "log_every_steps", "device", "threads")


def lr_by_rule(optimizer: Optimizer, batch_size: int) -> float:
    """Peak learning rate where none is given: X3D's for sgd (A.3: 1.6 at 1024), ours for adamw."""
    return 0.1 * batch_size / 64 if optimizer == "sgd" else 0.002 * (batch_size / 16) ** 0.5


def decay_by_rule(optimizer: Optimizer) -> float:
    """Weight decay where none is given."""
    return 5e-5 if optimizer == "sgd" else 0.01


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained. The defaults suit small data sets; `recipes/` holds the papers' settings.

    Attributes:
        epochs: passes over the training list; the incomplete batch at the end of each is dropped.
        steps: optimiser steps, instead of epochs; null follows `epochs`.
        batch_size: clips per optimiser step, over all processes and accumulated parts.
        optimizer: sgd (momentum, as in the papers) or adamw.
        lr: peak learning rate; null follows the rule: sgd 0.1 * batch_size / 64 (X3D A.3: 1.6 at 1024), adamw
            0.002 * sqrt(batch_size / 16). The rate used is printed.
        momentum: of sgd.
        weight_decay: of everything but norms and biases; null is 5e-5 for sgd (the papers) and 0.01 for adamw.
        warmup_epochs: the rate rises linearly over these, then falls along half a cosine to 0.
        label_smoothing: share of the target spread over all classes.
        mixup: alpha of the Beta distribution that blends each batch with its reverse; 0 is off.
        ema: decay per step of an average of the weights, which is then what is validated and kept; 0 is off.
        grad_clip: largest norm of the gradient; null is off.
        precision: fp32, bf16 (mixed), or fp16 (mixed, with loss scaling; on a GPU).
        accumulate: parts in which a batch goes through the network, to save memory. Norms see one part at a time.
        activation_checkpointing: recompute activations in the backward pass, to save memory.
        zero_init_residual: start the last norm of residual branches at zero, as X3D does. Over short schedules
            networks then stay at chance for long, so it is off here and on in the papers' recipes.
        norm_batches: batches from which norm statistics are estimated anew at the end; 0 keeps the running ones.
        val_fraction: share of the training list held out for validation, whole groups at a time; 0 is none.
        val_every_epochs: epochs between validations.
        keep: the weights to keep: `last`, or `best` on the held-out part.
        seed: of everything random.
        device: auto, cpu or cuda.
        devices: processes (GPUs) on this machine; under torchrun its own number counts.
        threads: CPU threads of a process; null is torch's choice, and in a resumed run what it began with.
        checkpoint_every_steps: steps between saved states.
        log_every_steps: steps between lines of metrics.
    """

    epochs: int = 40
    steps: int | None = None
    batch_size: int = 16
    optimizer: Optimizer = "adamw"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.1
    mixup: float = 0.0
    ema: float = 0.0
    grad_clip: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: int = 1
    activation_checkpointing: bool = False
    zero_init_residual: bool = False
    norm_batches: int = 0
    val_fraction: float = 0.0
    val_every_epochs: int = 1
    keep: Literal["last", "best"] = "last"
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    threads: int | None = None
    checkpoint_every_steps: int = 100
    log_every_steps: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "devices", "val_every_epochs"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("checkpoint_every_steps", "log_every_steps"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("steps", "threads"):
            self._require(name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1, or null")
        for name in ("lr", "grad_clip"):
            self._require(name, getattr(self, name) is None or getattr(self, name) > 0, "above 0, or null")
        for name in ("warmup_epochs", "mixup", "norm_batches", "seed"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        self._require("weight_decay", self.weight_decay is None or self.weight_decay >= 0, "at least 0, or null")
        for name in ("momentum", "label_smoothing", "ema", "val_fraction"):
            self._require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        part = self.batch_size // self.accumulate
        self._require(
            "batch_size", part * self.accumulate == self.batch_size, f"a multiple of accumulate ({self.accumulate})"
        )
        self._require("keep", self.keep == "last" or self.val_fraction > 0, "last, or val_fraction above 0 for best")

    @property
    def peak_lr(self) -> float:
        """The learning rate at the top of the schedule, given or by rule."""
        if self.lr is not None:
            return self.lr
        return lr_by_rule(self.optimizer, self.batch_size)

    @property
    def decay(self) -> float:
        """The weight decay, given or by rule."""
        if self.weight_decay is not None:
            return self.weight_decay
        return decay_by_rule(self.optimizer)

    def describe_lr(self) -> str:
        """One line: the rate and the rule behind it."""
        rule = "0.1 x batch / 64" if self.optimizer == "sgd" else "0.002 x sqrt(batch / 16)"
        origin = "as given" if self.lr is not None else f"by rule: {rule}"
        rate = f"lr {self.peak_lr:.4g} at batch {self.batch_size} ({origin})"
        return f"{self.optimizer}, {rate}, weight decay {self.decay:.2g}"

    def describe_length(self) -> str:
        """`15 epochs`, or `300 steps` where these are given."""
        number, unit = (self.epochs, "epoch") if self.steps is None else (self.steps, "step")
        return f"{number} {unit}{'s' * (number != 1)}"

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise VidnasError(f"train.{name}: must be {rule} (got {getattr(self, name)!r})")


def fixed_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that a resumed run must share with the one it goes on from."""
    return {field.name: getattr(config, field.name) for field in fields(config) if field.name not in _FREE_ON_RESUME}
