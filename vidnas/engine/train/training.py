"""What a training remembers, its steps, and what follows each: averaging, curves, validation."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vidnas.base.errors import Diverged
from vidnas.base.log import is_first_process, log
from vidnas.data.dataset import Batch
from vidnas.engine.run.curves import Curves
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.loop import Batches
from vidnas.engine.run.processes import all_reduce_sum, broadcast
from vidnas.engine.run.state import State, save_state
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.train.clock import Clock
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.optim import averaged, learning_rate, make_optimizer
from vidnas.nn.build import VideoNetwork

# Streams of random numbers, kept apart by the spawn key; the sampler and the clips use others.
_MIXUP, _DROPOUT = 101, 102
# Lines about progress in a whole run, at most about twice this.
_LINES = 20


Validate = Callable[[VideoNetwork], dict[str, float]]


@dataclass(frozen=True)
class Pace:
    """Length of a run and of its epochs, in steps."""

    num_steps: int
    steps_per_epoch: int

    def ends_epochs(self, done: int, epochs: int) -> bool:
        """Whether a multiple of `epochs` epochs, or the run, ends with step number `done`."""
        return done == self.num_steps or done % (self.steps_per_epoch * epochs) == 0


class Training:
    """A network, its optimiser, and all else that has a memory; `vidnas.engine.run.loop` takes its steps.

    A step is one optimiser step, on `config.accumulate` batches one after another. Every random number is a function
    of (seed, step, part, rank), and the learning rate one of the step.

    Args:
        network: to be trained, in place; a part of it in evaluation mode stays so.
        config: settings.
        pace: when things happen.
        folder: where things go.
        identity: what a resumed run must share with this one; builtins.
        fabric: of `vidnas.engine.run.fabric.make_fabric`; the network moves to its device.
        batches: this process's parts of batches, from a step on.
        resumed: the saved state to go on from, or None.
        validate: figures of a network on the held-out part, or None where there is none.
        reports: whether it logs lines about progress, now and then.

    Attributes:
        step: optimiser steps done.
        last: the newest figures.
        best: those of the best validation so far, with its step.
        average: the averaged weights, where the settings ask for them.
        final: the state after the last step, on every process.
        clock: speed, over all processes that the run went through; steps that were lost do not count.
    """

    def __init__(
        self,
        network: VideoNetwork,
        config: TrainConfig,
        pace: Pace,
        folder: RunFolder,
        identity: State,
        fabric: Fabric,
        batches: Batches,
        *,
        resumed: State | None = None,
        validate: Validate | None = None,
        reports: bool = True,
    ) -> None:
        self.config = config
        self.pace = pace
        self.folder = folder
        self.identity = identity
        self.fabric = fabric
        self.validate = validate
        self.reports = reports
        self.network = network
        self.task = task_of(network.spec.head)
        self.network.to(fabric.device)
        # The wrapped ones do what precision and several processes ask for; what is saved is plain.
        self._optimizer = make_optimizer(network, config)
        self._module, self._stepper = fabric.setup(network, self._optimizer)
        self._scaler = getattr(fabric.strategy.precision, "scaler", None)
        # Sums since the last line of metrics: loss, hits, clips. On the device, so that no step waits for them.
        self._sums = torch.zeros(3, dtype=torch.float64, device=fabric.device)
        self.average: AveragedModel | None = None
        if config.ema:
            self.average = averaged(network, config.ema)
        self.step = 0
        self.best: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.final = resumed if resumed is not None and resumed["step"] == pace.num_steps else None
        if resumed is not None:
            self._put_back(resumed)
        self.clock = Clock(resumed and resumed["clock"])
        self._batches = _from(batches, self.step)
        self._curves = Curves(folder.metrics, folder.tensorboard, self.step, writes=is_first_process())
        self._line_every_epochs = max(1, pace.num_steps // pace.steps_per_epoch // _LINES)
        self._warmup_steps = round(config.warmup_epochs * pace.steps_per_epoch)

    @property
    def num_steps(self) -> int:
        """Length of the whole run."""
        return self.pace.num_steps

    def step_lr(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(self.config.peak_lr, step, self.num_steps, self._warmup_steps)

    def take_step(self) -> str:
        """Take one optimiser step and do what follows; returns the newest figures for the bar.

        Raises:
            Diverged: the loss, or a score in validation, is not finite.
            VidnasError: the data are at fault.
        """
        config = self.config
        for group in self._optimizer.param_groups:
            group["lr"] = self.step_lr(self.step)
        for part in range(config.accumulate):
            batch = next(self._batches)
            self.clock.got_batch(len(batch.targets))
            with self.fabric.no_backward_sync(self._module, enabled=part + 1 < config.accumulate):
                self.fabric.backward(self._loss(self.fabric.to_device(batch), part) / config.accumulate)
            self.clock.done_batch()
        if config.grad_clip is not None:
            self.fabric.clip_gradients(self._module, self._stepper, max_norm=config.grad_clip, error_if_nonfinite=False)
        self._stepper.step()
        self._stepper.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.step += 1
        self._follow_up(self.step)
        return ", ".join(f"{name} {self.last[name]:.3f}" for name in self._shown() if name in self.last)

    def save(self) -> None:
        """Write the state; after the last step it also becomes `final`."""
        self._share_statistics()
        state = {
            "step": self.step,
            "identity": self.identity,
            "spec": self.network.spec.model_dump(mode="json"),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": self._scaler.state_dict() if self._scaler is not None else None,
            # Of each process, so that curves go on with the same bits.
            "sums": self.fabric.all_gather(self._sums).view(-1, len(self._sums)),
            "best": self.best,
            "last": self.last,
            "clock": self.clock.state_dict(self.fabric.world_size),
        }
        if self.step == self.num_steps:
            self.final = state
        if is_first_process():
            save_state(state, self.folder.state)

    def close(self) -> None:
        """Close the curves, and let no process read what the first one still writes."""
        self._curves.close()
        self.fabric.barrier()

    def _put_back(self, state: State) -> None:
        self.step = state["step"]
        self.best, self.last = dict(state["best"]), dict(state["last"])
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._sums.copy_(state["sums"][self.fabric.global_rank])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])

    def _loss(self, batch: Batch, part: int) -> Tensor:
        """Mean loss of a batch of clips, blended with its reverse where mixup is on."""
        clips, targets, smoothing = batch.clips, batch.targets, self.config.label_smoothing
        share = self._mixup_share(part)
        if share < 1:
            clips = torch.lerp(clips.flip(0), clips, share)
        torch.manual_seed(self._seed(part, _DROPOUT))
        logits = self._module(clips)
        loss = self.task.loss(logits.float(), targets, smoothing)
        if share < 1:
            loss = torch.lerp(self.task.loss(logits.float(), targets.flip(0), smoothing), loss, share)
        with torch.no_grad():
            hits = self.task.hits(logits, targets)
            self._sums += torch.stack([loss.double() * len(targets), hits.double(), hits.new_tensor(len(targets))])
        return loss

    def _mixup_share(self, part: int) -> float:
        """Weight of a clip against its partner, at least one half; 1 without mixup."""
        alpha = self.config.mixup
        if not alpha:
            return 1.0
        share = float(np.random.default_rng(self._seed(part, _MIXUP)).beta(alpha, alpha))
        return max(share, 1 - share)

    def _seed(self, part: int, stream: int) -> int:
        """63 bits from the place in the run."""
        place = (self.config.seed, self.step, part, self.fabric.global_rank)
        words = np.random.SeedSequence(place, spawn_key=(stream,)).generate_state(1, np.uint64)
        return int(words[0] >> 1)

    def _follow_up(self, done: int) -> None:
        """Write, validate and report, where it is time for it after step number `done`."""
        tells = self.pace.ends_epochs(done, self._line_every_epochs)
        if tells or done % self.config.log_every_steps == 0:
            self._write(done, self._metrics(done))
        if self.validate is not None and self.pace.ends_epochs(done, self.config.val_every_epochs):
            self._validate(done, self.validate)
        if tells and self.reports:
            figures = [text.format(self.last[name]) for name, text in self._shown().items() if name in self.last]
            log.info(f"step {done}/{self.num_steps}  " + "  ".join(figures))

    def _metrics(self, done: int) -> dict[str, float]:
        """What has come together since the last line."""
        loss, hits, clips = all_reduce_sum(self._sums).tolist()
        self._sums.zero_()
        lr = self.step_lr(done - 1)
        if not math.isfinite(loss):
            message = f"step {done}: the loss is {loss}; use a lower train.lr, or train.grad_clip 1 (lr was {lr:.3g})"
            raise Diverged(message)  # on every process
        counted = {"loss": loss / clips, self.task.hit_rate.name: hits / clips}
        return {"lr": lr, **counted, **self.clock.lap(self.fabric.world_size)}

    def _shown(self) -> dict[str, str]:
        """Names of the figures that the user follows, and how they are written."""
        hit_rate, headline = self.task.hit_rate, self.task.headline
        return {
            "loss": "loss {:.3f}",
            hit_rate.name: f"{hit_rate.text} {{:.1%}}",
            f"val_{headline.name}": f"held-out {headline.text} {{:.1%}}",
        }

    def _validate(self, done: int, validate: Validate) -> None:
        self._share_statistics()
        network = self.network if self.average is None else self.average.module
        assert isinstance(network, VideoNetwork)
        figures = validate(network)
        self._write(done, figures)
        # Short lists give ties; the loss decides them.
        if not self.best or self._rank(figures) > self._rank(self.best):
            self.best = {"step": done, **figures}
            if self.config.keep == "best" and is_first_process():
                save_state({"network": network.state_dict(), **self.best}, self.folder.best)
        self.clock.start()

    def _rank(self, figures: dict[str, float]) -> tuple[float, float]:
        return figures[f"val_{self.task.headline.name}"], -figures["val_loss"]

    def _write(self, done: int, values: dict[str, float]) -> None:
        line = {"epoch": done / self.pace.steps_per_epoch, **values}
        self.last |= line
        self._curves.write(done, line)

    def _share_statistics(self) -> None:
        """Give all processes the norm statistics of the first one, as DistributedDataParallel does before each step."""
        broadcast(self.network.buffers())
        if self.average is not None:
            broadcast(self.average.buffers())


def _from(batches: Batches, step: int) -> Iterator[Batch]:
    """They are made when the first one is asked for."""
    yield from batches(step)
