"""The progress bar of a training run, in steps of the whole run."""

from typing import Any

from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from vidnas.engine.keeper import RunKeeper


class StepProgress(TQDMProgressBar):
    """Shows steps done of all, also of those before a resume, and the last line of metrics."""

    def __init__(self, keeper: RunKeeper) -> None:
        super().__init__(leave=False)
        self.keeper = keeper

    def init_train_tqdm(self) -> Tqdm:
        """A bar that starts where the run stands."""
        bar = super().init_train_tqdm()
        bar.total, bar.initial, bar.n = self.keeper.pace.num_steps, self.keeper.done, self.keeper.done
        bar.set_description("training")
        return bar

    def on_train_epoch_start(self, *_: Any) -> None:
        """Lightning's single epoch is the rest of the run; the bar is set up already."""

    def on_train_batch_end(self, *_: Any) -> None:
        """Move to the keeper's step."""
        bar = self.train_progress_bar
        if bar.n != self.keeper.done:
            bar.n = self.keeper.done
            figures = {name: value for name, value in self.keeper.last.items() if name in ("loss", "top1", "val_top1")}
            bar.set_postfix(figures, refresh=False)
            bar.refresh()

    def on_train_epoch_end(self, *_: Any) -> None:
        """Nothing: `on_train_end` closes the bar."""
