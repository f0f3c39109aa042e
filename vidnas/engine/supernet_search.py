"""The search on a supernet: a step on the weights, then one on alpha, saved so that a killed run goes on exactly.

All randomness is a function of (seed, step), so the state is only weights, optimisers, alpha, beta and a step number.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from lightning.fabric import Fabric
from tqdm import tqdm

from vidnas.data.dataset import Batch
from vidnas.engine.inactive import step_where_used
from vidnas.engine.interrupt import Interrupted, StopSignals
from vidnas.engine.optim import learning_rate, make_optimizer
from vidnas.engine.search_config import Schedule, SearchConfig
from vidnas.engine.state import load_state, save_state
from vidnas.engine.supernet_steps import (
    SupernetScorer,
    clip_gradients,
    sandwich_backward,
    streamed_backward,
    two_pass_backward,
    uniform_backward,
)
from vidnas.engine.warm_start import warm_start
from vidnas.errors import VidnasError
from vidnas.search.alpha import AlphaSearch, AlphaStep
from vidnas.search.archive import Archive, cut, entries
from vidnas.search.budget import Budget
from vidnas.search.space import Space
from vidnas.search.supernet import Supernet

# Where batches come from: a function of the first step that is wanted.
Batches = Callable[[int], Iterable[Batch]]


@dataclass(frozen=True)
class SearchFolder:
    """Paths of one search."""

    root: Path

    @property
    def archive(self) -> Path:
        """One JSON line per scored sample."""
        return self.root / "archive.jsonl"

    @property
    def curves(self) -> Path:
        """One JSON line per step."""
        return self.root / "curves.jsonl"

    @property
    def state(self) -> Path:
        """What resuming needs; after the end, the trained supernet."""
        return self.root / "last.ckpt"

    @property
    def space(self) -> Path:
        """The search space."""
        return self.root / "space.json"

    @property
    def result(self) -> Path:
        """What was derived, and the probabilities."""
        return self.root / "result.json"

    @property
    def derived(self) -> Path:
        """The derived architecture."""
        return self.root / "searched.json"


class SupernetSearch:
    """All that a search remembers, and its steps.

    Args:
        space: what is searched.
        budgets: what its architectures may cost.
        schedule: number and kind of the steps.
        config: settings.
    """

    def __init__(
        self, space: Space, budgets: Sequence[Budget], schedule: Schedule, config: SearchConfig, fabric: Fabric
    ) -> None:
        self.schedule = schedule
        self.config = config
        self.fabric = fabric
        torch.manual_seed(config.seed)
        supernet = Supernet(space, config.windows, config.kernels, zero_init_residual=config.zero_init_residual)
        self.supernet = supernet.to(fabric.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.supernet, config)
        self.alpha = AlphaSearch(budgets, config.alpha_settings, config.seed)
        self.step = 0

    def weights_step(self, batch: Batch) -> float:
        """One step on the weights over sampled architectures; returns the mean loss per clip."""
        config, step = self.config, self.step
        rate = learning_rate(config.peak_lr, step, self.schedule.total, self.schedule.lr_warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # The seeds keep the architectures of the weights apart from those of alpha in the same step.
        choices = self.alpha.distribution.sample(config.weight_samples, config.seed + 1, step)
        self.supernet.train()
        self.optimizer.zero_grad(set_to_none=True)
        smoothing = config.label_smoothing if config.weight_mode in ("uniform", "sandwich") else 0.0
        scorer = self.scorer(batch, dropout_seed=config.seed * 1_000_003 + step, smoothing=smoothing)
        if config.weight_mode == "uniform":
            scores = uniform_backward(scorer, choices)
        elif config.weight_mode == "sandwich":
            scores = sandwich_backward(scorer, choices)
        elif config.weight_mode == "two_pass":
            scores = two_pass_backward(scorer, choices, config.temperature, config.min_effective)
        else:
            scores = streamed_backward(scorer, choices, 1.0)
        clip_gradients(self.supernet, config.grad_clip)
        if config.skip_inactive:
            step_where_used(self.optimizer)
        else:
            self.optimizer.step()
        return -sum(scores) / (len(scores) * len(batch.labels))

    def alpha_step(self, number: int, batch: Batch) -> AlphaStep:
        """One step on alpha: dropout off, the same clips for every architecture."""
        self.supernet.eval()
        return self.alpha.step(number, self.scorer(batch), len(batch.labels))

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

    def scorer(self, batch: Batch, *, dropout_seed: int | None = None, smoothing: float = 0.0) -> SupernetScorer:
        """Scores architectures on a batch, moved to this search's device."""
        batch = self.fabric.to_device(batch)
        return SupernetScorer(
            self.supernet,
            batch.clips,
            batch.labels,
            parts=self.config.micro_batches,
            autocast=self.fabric.autocast,
            dropout_seed=dropout_seed,
            label_smoothing=smoothing,
        )


def make_fabric(config: SearchConfig, device: torch.device) -> Fabric:
    """One process on a device, in the precision of the settings."""
    precision = "bf16-mixed" if config.precision == "bf16" else "32-true"
    return Fabric(accelerator=device.type, devices=1, precision=precision)


def run_search(
    search: SupernetSearch,
    weights_batches: Batches,
    alpha_batches: Batches,
    folder: SearchFolder,
    fingerprint: Mapping[str, Any],
    *,
    resume: bool,
    notify: Callable[[str], None],
) -> None:
    """Run all steps that are left, keeping archive, curves and state in the folder.

    Args:
        search: at its start; it is brought to its end.
        weights_batches: training batches from a step on.
        alpha_batches: scoring batches from an alpha step on.
        folder: where files go; it exists.
        fingerprint: what a resumed run must share with the one before, by name.
        resume: go on from the state in the folder.
        notify: takes one line for the user.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
        VidnasError: the state belongs to something else, or the loss is not finite.
    """
    lines = {"archive": 0, "curves": 0}
    if resume and (state := load_state(folder.state, notify)) is not None:
        check_fingerprint(state["fingerprint"], fingerprint, folder.state)
        search.load_state_dict(state)
        lines = dict(state["lines"])
        notify(f"going on at step {search.step} of {search.schedule.total}")
    folder.curves.touch()
    cut(folder.curves, lines["curves"])
    folder.archive.touch()
    with (
        Archive(folder.archive, lines=lines["archive"]) as archive,
        folder.curves.open("a", buffering=1) as curves,
        StopSignals() as stop,
    ):

        def save() -> None:
            counted = {"archive": archive.lines, "curves": search.step}
            save_state({**search.state_dict(), "lines": counted, "fingerprint": dict(fingerprint)}, folder.state)

        schedule = search.schedule
        if search.step == 0 and search.config.warm_start:
            warm_start(search.alpha, search.supernet.space, alpha_batches(0), search.config, search.fabric)
        weights = iter(weights_batches(search.step))
        alphas = iter(alpha_batches(schedule.alpha_steps_before(search.step)))
        bar = tqdm(
            total=schedule.total,
            initial=search.step,
            desc="search",
            unit="step",
            dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else 30,  # a log file wants few lines
        )
        with bar:
            while search.step < schedule.total:
                line: dict[str, Any] = {"step": search.step, "epoch": search.step / schedule.steps_per_epoch}
                line["loss"] = search.weights_step(next(weights))
                if not torch.isfinite(torch.tensor(line["loss"])):
                    raise VidnasError(f"step {search.step}: the loss is not finite; lower search.lr or set grad_clip")
                number = schedule.alpha_step(search.step)
                if number is not None:
                    batch = next(alphas)
                    record = search.alpha_step(number, batch)
                    archive.append(entries(record, len(batch.labels)))
                    line |= _alpha_line(record, search)
                _write_line(curves, json.dumps(line), folder.curves)
                search.step += 1
                bar.update()
                bar.set_postfix_str(_postfix(line, search), refresh=False)
                if stop.received is not None:
                    save()
                    raise Interrupted(
                        f"stopped at step {search.step} of {schedule.total}; the state is saved, --resume goes on",
                        stop.received,
                    )
                if search.step % search.config.checkpoint_every_steps == 0 and search.step < schedule.total:
                    save()
        save()


def _write_line(file: TextIO, line: str, path: Path) -> None:
    try:
        file.write(line + "\n")
    except OSError as error:
        raise VidnasError(f"{path}: cannot be written ({error.strerror}); make room and resume the run") from error


def check_fingerprint(saved: Mapping[str, Any], own: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with something else.

    Raises:
        VidnasError: names the first difference.
    """
    for name in own:
        if saved.get(name) != own[name]:
            raise VidnasError(
                f"{path}: was saved with {name} {saved.get(name)!r}, this run has {own[name]!r}; resume with the same, "
                "or start in another folder"
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
