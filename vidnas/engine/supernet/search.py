"""The search on a supernet: a step on the weights, then one on alpha, saved so that a killed run goes on exactly.

All randomness is a function of (seed, step), so the state is only weights, optimisers, alpha, beta and a step number.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from lightning.fabric import Fabric
from tqdm import tqdm

from vidnas.base.errors import VidnasError
from vidnas.base.log import is_first_process, log
from vidnas.data.dataset import Batch
from vidnas.engine.run.loop import Batches, run_steps
from vidnas.engine.run.processes import (
    all_reduce_gradients,
    all_reduce_sum,
    equal_on_all_ranks,
    get_rank,
    get_world_size,
    rank_zero_error,
    together,
)
from vidnas.engine.run.state import check_identity, load_state
from vidnas.engine.supernet.config import Schedule, SearchConfig
from vidnas.engine.supernet.folder import SearchFolder, SearchJournal
from vidnas.engine.supernet.inactive import step_where_used
from vidnas.engine.supernet.shards import ShardedScorer, Shards
from vidnas.engine.supernet.steps import (
    SupernetScorer,
    clip_gradients,
    sandwich_backward,
    streamed_backward,
    two_pass_backward,
    uniform_backward,
)
from vidnas.engine.supernet.warm_start import warm_start
from vidnas.engine.train.optim import learning_rate, make_optimizer
from vidnas.search.alpha import AlphaSearch, AlphaStep
from vidnas.search.archive import Entry, entries
from vidnas.search.budget import Budget
from vidnas.search.space.space import Space
from vidnas.search.supernet import Supernet


class SupernetSearch:
    """All that a search remembers, and its steps.

    Where there are several processes each has all of it, and takes every step with the others: it samples the same
    architectures of alpha, runs its shards of the batch, and adds its scores and gradients to theirs. The supernet is
    not wrapped in DistributedDataParallel, which needs all processes to use the same parameters.

    Args:
        space: what is searched.
        budgets: what its architectures may cost.
        schedule: number and kind of the steps.
        config: settings.
        fabric: of `vidnas.engine.run.fabric.make_fabric`.

    Raises:
        VidnasError: batches, shards and processes that do not divide.
    """

    def __init__(
        self, space: Space, budgets: Sequence[Budget], schedule: Schedule, config: SearchConfig, fabric: Fabric
    ) -> None:
        self.schedule = schedule
        self.config = config = config.for_processes(get_world_size())
        self.shards = Shards(config.shards or 1, get_rank(), get_world_size())
        self.fabric = fabric
        torch.manual_seed(config.seed)
        supernet = Supernet(space, config.windows, config.kernels, zero_init_residual=config.zero_init_residual)
        self.supernet = supernet.to(fabric.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.supernet, config)
        self.alpha = AlphaSearch(budgets, config.alpha_settings(schedule.alpha_steps), config.seed)
        self.step = 0

    def weights_step(self, batch: Batch) -> float:
        """One step on the weights over sampled architectures; returns the mean loss per clip of all processes."""
        config, step = self.config, self.step
        rate = learning_rate(config.peak_lr, step, self.schedule.total, self.schedule.lr_warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.supernet.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._weights_backward(batch)
        all_reduce_gradients(self.supernet.parameters())
        clip_gradients(self.supernet, config.grad_clip)
        if self.config.skip_inactive:
            step_where_used(self.optimizer)
        else:
            self.optimizer.step()
        return loss

    def _weights_backward(self, batch: Batch) -> float:
        """Add up this process's share of the gradient; returns the mean loss per clip of all processes."""
        config, shards = self.config, self.shards
        each_its_own = {"uniform": uniform_backward, "sandwich": sandwich_backward}.get(config.weight_mode)
        # Where their weights do not depend on scores, every shard has architectures of its own.
        number = config.weight_samples * (shards.count if each_its_own else 1)
        # The seeds keep the architectures of the weights apart from those of alpha in the same step.
        choices = self.alpha.distribution.sample(number, config.seed + 1, self.step)
        smoothing = config.label_smoothing if each_its_own else 0.0
        scorer = self.scorer(batch, dropout_seed=config.seed * 1_000_003 + self.step, smoothing=smoothing)
        clips = scorer.batch_size
        if each_its_own:
            backward = partial(each_its_own, share=1 / shards.count)
            scores = shards.table(scorer.each(backward, shards.deal(choices)))
            return -float(scores.mean()) / (clips / shards.count)
        if config.weight_mode == "two_pass":
            totals = two_pass_backward(scorer, choices, config.temperature, config.min_effective)
        else:
            totals = streamed_backward(scorer.scorers[0], choices, 1.0)  # there is one shard
        return -sum(totals) / (len(totals) * clips)

    def alpha_step(self, number: int, batch: Batch) -> AlphaStep:
        """One step on alpha: dropout off, the same clips for every architecture."""
        self.supernet.eval()
        scorer = self.scorer(batch)
        return self.alpha.step(number, scorer, scorer.batch_size)

    def check_alike(self) -> None:
        """Make sure that all processes hold the same weights and alpha.

        Raises:
            VidnasError: they do not.
        """
        if not equal_on_all_ranks([*self.supernet.parameters(), self.alpha.distribution.logits]):
            raise rank_zero_error(
                VidnasError(
                    f"step {self.step}: the processes no longer hold the same weights; they need machines of one kind "
                    "with the same versions; --resume goes on from the last saved state"
                )
            )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and builtins."""
        return {
            "step": self.step,
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alpha": self.alpha.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.step = state["step"]
        self.supernet.load_state_dict(state["supernet"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.alpha.load_state_dict(state["alpha"])

    def scorer(self, batch: Batch, *, dropout_seed: int | None = None, smoothing: float = 0.0) -> ShardedScorer:
        """Scores architectures on a batch, of which this process has its part, moved to this search's device."""
        batches = self.fabric.to_device(batch).chunk(len(self.shards.mine))
        return ShardedScorer(
            [
                SupernetScorer(
                    self.supernet,
                    part.clips,
                    part.targets,
                    part.readable,
                    parts=self.config.micro_batches,
                    autocast=self.fabric.autocast,
                    # Shards lie further apart than the steps of any run.
                    dropout_seed=None if dropout_seed is None else dropout_seed + 100_000_007 * shard,
                    label_smoothing=smoothing,
                )
                for shard, part in zip(self.shards.mine, batches, strict=True)
            ],
            self.shards,
        )


def run_search(
    search: SupernetSearch,
    weights_batches: Batches,
    alpha_batches: Batches,
    folder: SearchFolder,
    identity: Mapping[str, Any],
    *,
    resume: bool,
) -> float:
    """Run all steps that are left, keeping archive, curves and state in the folder.

    Where there are several processes all of them call this; the first one writes. They need to see the same folder.

    Args:
        search: at its start; it is brought to its end.
        weights_batches: this process's part of the training batches from a step on.
        alpha_batches: its part of the scoring batches from an alpha step on.
        folder: where files go; it exists.
        identity: what a resumed run must share with the one before, by name.
        resume: go on from the state in the folder.

    Returns:
        Seconds of the clock that all steps took, before and after any interruption; steps that were lost with it and
        taken again count once.

    Raises:
        Interrupted: Ctrl-C, SIGTERM or SIGHUP, whichever process got it; the state is saved.
        EndedElsewhere: another process ended, and says why.
        VidnasError: the state belongs to something else, or the loss is not finite.
    """
    start = time.perf_counter()
    begun = together(_go_on, search, folder, identity) if resume else _AT_START
    with together(SearchJournal, folder, begun.lines, writes=is_first_process()) as journal:
        if search.step == 0 and search.config.warm_start:
            warm_start(search.alpha, search.supernet.space, alpha_batches(0), search.config, search.fabric)
        run = _JournalledSearch(search, weights_batches, alpha_batches, journal, identity, start - begun.sec)
        run_steps(run, _progress(search), folder.state, save_every_steps=search.config.checkpoint_every_steps)
    return run.sec


class _Begun(NamedTuple):
    """What the state that is gone on from has counted: lines of the files, and seconds."""

    lines: Mapping[str, int]
    sec: float


_AT_START = _Begun({"archive": 0, "curves": 0}, 0.0)


class _JournalledSearch:
    """A search with its batches, which writes down every step."""

    def __init__(
        self,
        search: SupernetSearch,
        weights_batches: Batches,
        alpha_batches: Batches,
        journal: SearchJournal,
        identity: Mapping[str, Any],
        start: float,
    ) -> None:
        self.search = search
        self.journal = journal
        self.identity = dict(identity)
        self._start = start
        self._weights = iter(weights_batches(search.step))
        self._alphas = iter(alpha_batches(search.schedule.alpha_steps_before(search.step)))

    @property
    def step(self) -> int:
        """Steps on the weights done."""
        return self.search.step

    @property
    def num_steps(self) -> int:
        """Length of the whole run."""
        return self.search.schedule.total

    @property
    def sec(self) -> float:
        """Of the clock, that the steps have taken."""
        return time.perf_counter() - self._start

    def take_step(self) -> str:
        """One step on the weights, one on alpha where its turn has come."""
        search, schedule = self.search, self.search.schedule
        line: dict[str, Any] = {"step": search.step, "epoch": search.step / schedule.steps_per_epoch}
        line["loss"] = search.weights_step(together(next, self._weights))
        if not math.isfinite(line["loss"]):
            message = f"step {search.step}: the loss is not finite; lower search.lr or search.grad_clip"
            raise rank_zero_error(VidnasError(message))
        found: list[Entry] = []
        number = schedule.alpha_step(search.step)
        if number is not None:
            batch = together(next, self._alphas)
            record = search.alpha_step(number, batch)
            readable = all_reduce_sum(batch.readable.sum(dtype=torch.float64))
            found = entries(record, int(readable))
            line |= _alpha_line(record, search)
        together(self.journal.add, line, found)
        search.step += 1
        return _postfix(line, search)

    def save(self) -> None:
        """Write the state, if all processes hold the same."""
        self.search.check_alike()
        together(self.journal.save, {**self.search.state_dict(), "identity": self.identity, "sec": self.sec})


def _go_on(search: SupernetSearch, folder: SearchFolder, identity: Mapping[str, Any]) -> _Begun:
    """Put back the state in the folder, if there is one."""
    state = load_state(folder.state)
    if state is None:
        return _AT_START
    check_identity(state["identity"], identity, folder.state)
    search.load_state_dict(state)
    log.info(f"going on at step {search.step} of {search.schedule.total}")
    return _Begun(dict(state["lines"]), state["sec"])


def _progress(search: SupernetSearch) -> tqdm:
    return tqdm(
        total=search.schedule.total,
        initial=search.step,
        desc="search",
        unit="step",
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 30,  # a log file wants few lines
        disable=not is_first_process(),
    )


def _alpha_line(record: AlphaStep, search: SupernetSearch) -> dict[str, Any]:
    weights = torch.tensor(record.weights)
    alpha = search.alpha
    chosen = alpha.distribution.most_probable()
    return {
        "entropy": record.entropy,
        "entropy_share": record.entropy / max(alpha.distribution.initial_entropy, 1e-12),
        "temperature": record.temperature,
        "beta": dict(zip(_metrics(alpha), record.betas, strict=True)),
        "mean_cost": dict(zip(_metrics(alpha), record.mean_costs, strict=True)),
        "derived_cost": {b.costs.metric: b.costs.costs([chosen])[0].item() for b in alpha.budgets},
        "score": float(sum(w * s for w, s in zip(weights.tolist(), record.scores, strict=True))),
        "distinct": len(record.choices),
    }


def _metrics(alpha: AlphaSearch) -> list[str]:
    return [budget.costs.metric for budget in alpha.budgets]


def _postfix(line: Mapping[str, Any], search: SupernetSearch) -> str:
    text = f"loss {line['loss']:.3f}"
    if "entropy_share" in line:
        used = max(line["mean_cost"][budget.costs.metric] / budget.target for budget in search.alpha.budgets)
        text += f", entropy {line['entropy_share']:.0%}, cost {used:.2f} T"
    return text
