"""The loop that a training and a supernet search share: step after step, a state every so often, a stop in between.

All randomness of a step is a function of (seed, step), and batches are one of the step, so a state need not remember
where either of them stood.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import RLock
from typing import Protocol

from tqdm import tqdm

from vidnas.base.interrupt import Interrupted, StopSignals
from vidnas.data.dataset import Batch
from vidnas.engine.run.processes import all_reduce_max, rank_zero_error

# tqdm's own lock would leave a semaphore of the system behind in every worker process that is ended.
tqdm.set_lock(RLock())
# Where batches come from: a function of the first step that is wanted.
Batches = Callable[[int], Iterable[Batch]]


class Learner(Protocol):
    """What is brought to its end step by step."""

    @property
    def step(self) -> int:
        """Steps done."""

    @property
    def num_steps(self) -> int:
        """Length of the whole run."""

    def take_step(self) -> str:
        """Take one step, which then counts as done; returns what the bar shows behind it."""

    def save(self) -> None:
        """Write everything with a memory to the disk. All processes call it."""


def run_steps(learner: Learner, bar: tqdm, state: Path, *, save_every_steps: int) -> None:
    """Take the steps that are left.

    Where there are several processes all of them call this, and take every step together.

    Args:
        learner: as it stands in the state, or at its start.
        bar: of the whole run.
        state: where it saves, for the message.
        save_every_steps: steps between states; there is one after the last step.

    Raises:
        Interrupted: Ctrl-C or SIGTERM, whichever process got it; the step is done and the state saved.
    """
    saved = learner.step
    with bar, StopSignals() as stop:
        while learner.step < learner.num_steps:
            try:
                shown = learner.take_step()
            except RuntimeError as error:
                # A signal to all processes may also end the workers that make clips, in the middle of a step.
                if stop.received is None:
                    raise
                raise _interrupted(saved, learner.num_steps, state, stop.received) from error
            bar.set_postfix_str(shown, refresh=False)
            bar.update()
            # A signal to one process stops all of them, after the same step.
            signum = int(all_reduce_max(stop.received or 0))
            if signum or learner.step % save_every_steps == 0 or learner.step == learner.num_steps:
                learner.save()
                saved = learner.step
            if signum:
                raise _interrupted(saved, learner.num_steps, state, signum)


def _interrupted(saved: int, num_steps: int, state: Path, signum: int) -> Exception:
    where = f"stopped; {saved} of {num_steps} steps are saved in {state}"
    return rank_zero_error(Interrupted(f"{where}: the same command with --resume goes on", signum))
