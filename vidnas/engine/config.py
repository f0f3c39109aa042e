"""Settings that trainings and searches share. No torch here: a command line is read before it is loaded."""

from dataclasses import dataclass
from typing import Literal

from vidnas.base.limits import AboveZero, NotNegative, Positive, Share

Optimizer = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class OptimConfig:
    """How weights are stepped: of a training, and of a supernet.

    Attributes:
        batch_size: clips per step, over all processes and parts.
        optimizer: sgd (momentum, as in the papers) or adamw.
        lr: peak learning rate; null follows the rule: sgd 0.1 * batch_size / 64 (X3D A.3: 1.6 at 1024), adamw
            0.002 * sqrt(batch_size / 16). The rate used is printed.
        momentum: momentum of sgd.
        weight_decay: decay of all weights but norms and biases; null is 5e-5 for sgd (the papers) and 0.01 for adamw.
        warmup_epochs: the rate rises linearly over these, half of all at most, then falls along half a cosine to 0.
        grad_clip: largest norm of the gradient of a step, all its parts and architectures together; null is off.
        zero_init_residual: start the last norm of residual branches at zero, as X3D does. Over short schedules
            networks then stay at chance for long, so it is off here and on in the papers' recipes. Attention always
            starts at zero.
    """

    batch_size: Positive = 16
    optimizer: Optimizer = "adamw"
    lr: AboveZero | None = None
    momentum: Share = 0.9
    weight_decay: NotNegative | None = None
    warmup_epochs: NotNegative = 2.0
    grad_clip: AboveZero | None = None
    zero_init_residual: bool = False

    @property
    def peak_lr(self) -> float:
        """The learning rate at the top of the schedule, given or by rule."""
        if self.lr is not None:
            return self.lr
        return 0.1 * self.batch_size / 64 if self.optimizer == "sgd" else 0.002 * (self.batch_size / 16) ** 0.5

    @property
    def decay(self) -> float:
        """The weight decay, given or by rule."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 5e-5 if self.optimizer == "sgd" else 0.01

    def describe_lr(self) -> str:
        """One line: the rate and the rule behind it."""
        rule = "0.1 x batch / 64" if self.optimizer == "sgd" else "0.002 x sqrt(batch / 16)"
        origin = "as given" if self.lr is not None else f"by rule: {rule}"
        rate = f"lr {self.peak_lr:.4g} at batch {self.batch_size} ({origin})"
        return f"{self.optimizer}, {rate}, weight decay {self.decay:.2g}"


@dataclass(frozen=True)
class MachineConfig:
    """What a run computes on, and how often it saves: nothing that it is about.

    Attributes:
        device: auto, cpu or cuda.
        threads: CPU threads of a process; null is torch's choice, and in a resumed run what it began with.
        checkpoint_every_steps: steps between saved states.
    """

    device: str = "auto"
    threads: Positive | None = None
    checkpoint_every_steps: Positive = 100
