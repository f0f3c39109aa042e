"""What happens at the end of every step: averaging, curves, validation, saving, stopping."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import StopSignals
from vidnas.base.log import log
from vidnas.engine.classifier import Classifier
from vidnas.engine.config import TrainConfig
from vidnas.engine.curves import Curves
from vidnas.engine.processes import copy_from_first, told_once
from vidnas.engine.run_folder import RunFolder
from vidnas.engine.state import State, save_state
from vidnas.nn.build import VideoNetwork

# Lines about progress in a whole run, at most about twice this.
_LINES = 20

Validate = Callable[[VideoNetwork, lightning.Trainer], dict[str, float]]


@dataclass(frozen=True)
class Pace:
    """Length of a run and of its epochs, in steps."""

    num_steps: int
    steps_per_epoch: int

    def ends_epochs(self, done: int, epochs: int) -> bool:
        """Whether a multiple of `epochs` epochs, or the run, ends with step number `done`."""
        return done == self.num_steps or done % (self.steps_per_epoch * epochs) == 0


class RunKeeper(lightning.Callback):
    """Ends each optimiser step, and puts a saved run back where it was.

    Lightning's own resuming restarts the data in the middle of an epoch wrongly and without a word. So its Trainer
    (precision, processes, accumulation, clipping, loggers, progress) sees one epoch that holds exactly the steps still
    to be done, and everything with a memory is saved and put back here: weights, optimiser, loss scale, averaged
    weights, the sums of the current line of metrics, the best validation so far.

    Args:
        config: settings.
        pace: when things happen.
        folder: where things go.
        identity: what a resumed run must share with this one; builtins.
        resumed: the saved state to go on from, or None.
        validate: figures of a network on the held-out part, or None where there is none.
        reports: whether it logs lines about progress, now and then.

    Attributes:
        done: steps finished.
        saved: steps finished in the newest saved state.
        last: the newest figures.
        final: the state after the last step, on every process.
        signals: while `trainer.fit` runs, to be entered around it.
    """

    def __init__(
        self,
        config: TrainConfig,
        pace: Pace,
        folder: RunFolder,
        identity: State,
        resumed: State | None,
        validate: Validate | None,
        *,
        reports: bool = True,
    ) -> None:
        self.config = config
        self.pace = pace
        self.folder = folder
        self.identity = identity
        self.resumed = resumed
        self.validate = validate
        self.reports = reports
        self.done: int = resumed["step"] if resumed else 0
        self.saved = self.done
        self.best: dict[str, float] = dict(resumed["best"]) if resumed else {}
        self.last: dict[str, float] = dict(resumed["last"]) if resumed else {}
        self.line_every_epochs = max(1, pace.num_steps // pace.steps_per_epoch // _LINES)
        self.final: State | None = resumed if self.done == pace.num_steps else None
        self.signals = StopSignals()
        self.average: AveragedModel | None = None
        self.curves: Curves | None = None
        self.clock = Clock()

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Put everything with a memory in its place, on the device that the strategy chose."""
        assert isinstance(module, Classifier)
        module.sums = module.sums.to(module.device)
        if self.config.ema:
            self.average = AveragedModel(
                module.network, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema), use_buffers=True
            )
        if self.resumed is not None:
            module.network.load_state_dict(self.resumed["network"])
            module.optimizers(use_pl_optimizer=False).load_state_dict(self.resumed["optimizer"])
            module.sums.copy_(self.resumed["sums"][trainer.global_rank])
            if self.average is not None:
                self.average.load_state_dict(self.resumed["average"])
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            if scaler is not None:
                scaler.load_state_dict(self.resumed["scaler"])
        self.curves = Curves(self.folder.metrics, self.folder.tensorboard, self.done, writes=trainer.is_global_zero)
        # From Lightning's own handlers, which would stop in the middle of things.
        self.signals.retake()
        self.clock.start()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Stop the clock of waiting for data."""
        self.clock.got_batch(len(batch.labels))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the step that this was the last part of."""
        assert isinstance(module, Classifier)
        self.clock.done_batch()
        if (batch_idx + 1) % self.config.accumulate:
            return
        self.done += 1
        if self.average is not None:
            self.average.update_parameters(module.network)
        tells = self.pace.ends_epochs(self.done, self.line_every_epochs)
        if tells or self.done % self.config.log_every_steps == 0:
            self._log(trainer, module)
        if self.validate is not None and self.pace.ends_epochs(self.done, self.config.val_every_epochs):
            self._validate(trainer, module)
        if tells and self.reports:
            self._report()
        # Every process must stop at the same step.
        stop = trainer.strategy.reduce_boolean_decision(self.signals.received is not None, all=False)
        if stop or self.done % self.config.checkpoint_every_steps == 0 or self.done == self.pace.num_steps:
            self._save(trainer, module)
        trainer.should_stop = stop

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Close the curves, and let no process read what the first one still writes."""
        if self.curves is not None:
            self.curves.tensorboard.finalize("success")
        trainer.strategy.barrier()

    def _log(self, trainer: lightning.Trainer, module: Classifier) -> None:
        sums = trainer.strategy.reduce(module.sums.clone(), reduce_op="sum")
        loss, correct, clips = (float(value) for value in sums)
        module.sums.zero_()
        if not math.isfinite(loss):
            message = (
                f"step {self.done}: the loss is {loss}; use a lower train.lr, or train.grad_clip 1 "
                f"(lr was {module.step_lr(self.done - 1):.3g})"
            )
            raise told_once(VidnasError(message))
        self._write(
            {
                "epoch": self.done / self.pace.steps_per_epoch,
                "lr": module.step_lr(self.done - 1),
                "loss": loss / clips,
                "top1": correct / clips,
                **self.clock.lap(trainer.world_size),
            }
        )

    def _validate(self, trainer: lightning.Trainer, module: Classifier) -> None:
        assert self.validate is not None
        self._share_statistics(module)
        network = module.network if self.average is None else self.average.module
        assert isinstance(network, VideoNetwork)
        figures = self.validate(network, trainer)
        self._write({"epoch": self.done / self.pace.steps_per_epoch, **figures})
        # Short lists give ties; the loss decides them.
        if not self.best or _rank(figures) > _rank(self.best):
            self.best = {"step": self.done, **figures}
            if self.config.keep == "best" and trainer.is_global_zero:
                save_state({"network": network.state_dict(), **self.best}, self.folder.best)
        self.clock.start()

    def _write(self, values: dict[str, float]) -> None:
        assert self.curves is not None
        self.last |= values
        self.curves.write(self.done, values)

    def _report(self) -> None:
        shown = {"loss": "loss {:.3f}", "top1": "top-1 {:.1%}", "val_top1": "held-out top-1 {:.1%}"}
        figures = [text.format(self.last[name]) for name, text in shown.items() if name in self.last]
        log.info(f"step {self.done}/{self.pace.num_steps}  " + "  ".join(figures))

    def _share_statistics(self, module: Classifier) -> None:
        """Give all processes the norm statistics of the first one, as DistributedDataParallel does before each step."""
        copy_from_first(module.network.buffers())
        if self.average is not None:
            copy_from_first(self.average.buffers())

    def _save(self, trainer: lightning.Trainer, module: Classifier) -> None:
        self._share_statistics(module)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        state = {
            "step": self.done,
            "identity": self.identity,
            "spec": module.network.spec.model_dump(mode="json"),
            "network": module.network.state_dict(),
            "optimizer": module.optimizers(use_pl_optimizer=False).state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": scaler.state_dict() if scaler is not None else None,
            # Of each process, so that curves go on with the same bits.
            "sums": trainer.strategy.all_gather(module.sums).view(-1, len(module.sums)),
            "best": self.best,
            "last": self.last,
        }
        if self.done == self.pace.num_steps:
            self.final = state
        if trainer.is_global_zero:
            save_state(state, self.folder.state)
        self.saved = self.done


def _rank(figures: dict[str, float]) -> tuple[float, float]:
    return figures["val_top1"], -figures["val_loss"]


class Clock:
    """Throughput, and the share of time spent waiting for data."""

    def __init__(self) -> None:
        self.total_clips = 0
        self.total_sec = 0.0
        self.total_wait_sec = 0.0
        self.start()

    def start(self) -> None:
        """Begin a lap; what happened since the last one does not count."""
        self._lap_start = self._last = time.perf_counter()
        self._wait_sec, self._clips = 0.0, 0

    def got_batch(self, clips: int) -> None:
        """A batch has arrived."""
        self._wait_sec += time.perf_counter() - self._last
        self._clips += clips

    def done_batch(self) -> None:
        """A batch has been worked off."""
        self._last = time.perf_counter()

    def lap(self, world_size: int) -> dict[str, float]:
        """Clips per second over all processes, and the share of waiting, since the last lap."""
        lap_sec = max(time.perf_counter() - self._lap_start, 1e-9)
        figures = {"clips_per_sec": self._clips * world_size / lap_sec, "data_wait_share": self._wait_sec / lap_sec}
        self.total_clips += self._clips * world_size
        self.total_sec += lap_sec
        self.total_wait_sec += self._wait_sec
        self.start()
        return figures

    def totals(self) -> dict[str, float]:
        """The same over all laps of this process."""
        total_sec = max(self.total_sec, 1e-9)
        return {
            "mean_clips_per_sec": self.total_clips / total_sec,
            "mean_data_wait_share": self.total_wait_sec / total_sec,
            "train_sec": self.total_sec,
        }
