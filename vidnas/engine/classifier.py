"""One training step of a classifier, for Lightning's Trainer."""

from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from vidnas.data.datamodule import ClipLoader
from vidnas.engine.config import TrainConfig
from vidnas.engine.optim import learning_rate, make_optimizer
from vidnas.nn.build import VideoNetwork

# Streams of random numbers, kept apart by the spawn key; the sampler and the clips use others.
_MIXUP, _DROPOUT = 101, 102


class Classifier(lightning.LightningModule):
    """Loss and step of a network; every random number is a function of (seed, step, part, rank).

    A step is one optimiser step and may be fed in `config.accumulate` parts. The learning rate is set from the step's
    number, not by a scheduler with a state.

    Args:
        network: to be trained.
        config: settings.
        num_steps: length of the whole run.
        warmup_steps: length of the rise.
        start_step: first step of this process, above 0 when resuming.
        make_loader: the batches from there on, for a rank of a number of processes.
    """

    def __init__(
        self,
        network: VideoNetwork,
        config: TrainConfig,
        *,
        num_steps: int,
        warmup_steps: int,
        start_step: int,
        make_loader: Callable[[int, int], ClipLoader],
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.num_steps = num_steps
        self.warmup_steps = warmup_steps
        self.start_step = start_step
        self.make_loader = make_loader
        # Sums since the last line of metrics: loss, correct, clips. On the device, so that no step waits for them.
        self.sums = torch.zeros(3, dtype=torch.float64)

    def train_dataloader(self) -> ClipLoader:
        """This process's share of every step; asked for once the processes know each other."""
        return self.make_loader(self.trainer.global_rank, self.trainer.world_size)

    def configure_optimizers(self) -> Optimizer:
        """The optimiser alone; see `on_train_batch_start` for the rate."""
        return make_optimizer(self.network, self.config)

    def position(self, batch_idx: int) -> tuple[int, int]:
        """Step and part of a batch of this process."""
        step, part = divmod(batch_idx, self.config.accumulate)
        return self.start_step + step, part

    def step_lr(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(self.config.peak_lr, step, self.num_steps, self.warmup_steps)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the rate, and seed dropout for this part of this step."""
        step, part = self.position(batch_idx)
        for group in self.optimizers().param_groups:
            group["lr"] = self.step_lr(step)
        torch.manual_seed(_seed(self.config.seed, step, part, self.global_rank, _DROPOUT))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Cross entropy of a batch of clips, blended with its reverse where mixup is on."""
        clips, labels = batch.clips, batch.labels
        share = self._mixup_share(batch_idx)
        if share < 1:
            clips = torch.lerp(clips.flip(0), clips, share)
        logits = self.network(clips)
        loss = self._loss(logits, labels)
        if share < 1:
            loss = torch.lerp(self._loss(logits, labels.flip(0)), loss, share)
        with torch.no_grad():
            correct = (logits.argmax(1) == labels).sum()
            self.sums += torch.stack([loss.double() * len(labels), correct.double(), correct.new_tensor(len(labels))])
        return loss

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.config.label_smoothing)

    def _mixup_share(self, batch_idx: int) -> float:
        """Weight of a clip against its partner, at least one half; 1 without mixup."""
        alpha = self.config.mixup
        if not alpha:
            return 1.0
        step, part = self.position(batch_idx)
        rng = np.random.default_rng(_seed(self.config.seed, step, part, self.global_rank, _MIXUP))
        share = float(rng.beta(alpha, alpha))
        return max(share, 1 - share)


def _seed(seed: int, step: int, part: int, rank: int, stream: int) -> int:
    """63 bits from the place in the run."""
    words = np.random.SeedSequence((seed, step, part, rank), spawn_key=(stream,)).generate_state(1, np.uint64)
    return int(words[0] >> 1)
