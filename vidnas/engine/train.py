"""Train a network on a list of videos: a plain function, safe to kill and to call again."""

import math
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.data.clips import describe_coverage
from vidnas.data.datamodule import DataConfig
from vidnas.data.formats import VideoList
from vidnas.data.sampler import repeat_notice
from vidnas.data.split import split
from vidnas.engine import runtime
from vidnas.engine.classifier import Classifier
from vidnas.engine.config import TrainConfig, fixed_settings
from vidnas.engine.coverage import median_duration
from vidnas.engine.keeper import Pace, RunKeeper
from vidnas.engine.loaders import TrainLoaders
from vidnas.engine.processes import first_alone, is_first_process, launched, say_nothing, told_once
from vidnas.engine.progress import StepProgress
from vidnas.engine.recalibrate import recalibrate_norms
from vidnas.engine.run_folder import RunFolder
from vidnas.engine.state import State, check_identity, load_state, previous_path
from vidnas.engine.trainer import make_trainer, quiet_lightning
from vidnas.engine.validation import Validation
from vidnas.errors import VidnasError
from vidnas.interrupt import Interrupted
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.depthwise import describe_backend
from vidnas.nn.weights import load_model, save_model

# Settings of the data that change the numbers; the others say where things lie and how fast they come.
_FIXED_DATA_SETTINGS = ("jitter", "flip", "autoaugment")

Notify = Callable[[str], None]


@dataclass(frozen=True)
class TrainResult:
    """A finished training run.

    Attributes:
        network: with the kept weights, in evaluation mode.
        folder: where everything lies.
        kept: which weights these are, in words.
        steps: optimiser steps of the whole run.
        figures: the newest metrics, the best validation where there was one, speed and memory of this process.
    """

    network: VideoNetwork
    folder: RunFolder
    kept: str
    steps: int
    figures: dict[str, float]


def train(
    network: ArchSpec | VideoNetwork,
    videos: VideoList,
    config: TrainConfig,
    data: DataConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    notify: Notify = print,
) -> TrainResult:
    """Train, and leave model.safetensors and model.json in the run folder.

    Ctrl-C, SIGTERM and SIGHUP end the step, save the state and raise `Interrupted`. A resumed run gives the same
    weights, bit by bit, as one that was never stopped (same machine, same number of threads and processes).

    Args:
        network: a network with its initial weights, or a spec to start afresh from; its classes are those of the list.
        videos: the training list. A held-out part is taken from it where `config.val_fraction` asks for one.
        config: settings.
        data: how clips are made.
        run_dir: the run folder.
        resume: go on from the state in the run folder if there is one; a finished run is returned as it is.
        progress: show a bar on a terminal.
        notify: takes a line for the user.

    Raises:
        VidnasError: a run of something else is in the folder, classes that do not fit, a loss that is not finite, too
            many broken videos, a full disk.
        Interrupted: stopped by a signal; nothing is lost.
    """
    spec = network if isinstance(network, ArchSpec) else network.spec
    if len(videos.classes) != spec.head.num_classes:
        raise VidnasError(
            f"the list has {len(videos.classes)} classes, the network {spec.head.num_classes}; build it for the list's"
        )
    say = first_alone(notify)
    folder = RunFolder(run_dir)
    train_part, held_out = _divide(videos, config)
    identity = _identity(spec, train_part, config, data)
    if resume and folder.is_finished:
        runtime.set_threads(config.threads or folder.threads_begun("train"))
        return _finished_before(folder, identity, say)
    with folder.lock():
        resumed = load_state(folder.state, say) if resume else None
        if resumed is not None:
            check_identity(resumed["identity"], identity, folder.state)
            say(f"going on after step {resumed['step']}")
        threads = config.threads if resumed is None else folder.threads_to_resume(config.threads, "train")
        runtime.tune_allocator()
        runtime.set_threads(threads)
        if is_first_process():
            folder.open({"train": asdict(config), "data": _builtins(asdict(data))}, resume=resume)
        runtime.use_repeatable_kernels()
        device = runtime.choose_device(config.device)
        loaders = TrainLoaders(train_part, data, spec.clip, config, pin_memory=device.type == "cuda")
        pace = Pace(loaders.num_steps, loaders.steps_per_epoch)
        median_sec = median_duration(train_part, loaders.clips.reader)
        say(f"{spec.name}: {network_cost(spec)}; {describe_coverage(spec.clip, median_sec)}")
        say(f"depthwise convolutions: {describe_backend(device)}")
        if repeats := repeat_notice(config.batch_size, len(train_part), "training", "--train.batch-size"):
            say(repeats)
        say(f"{config.describe_lr()}; {pace.num_steps} steps, {pace.steps_per_epoch} per epoch")
        if isinstance(network, ArchSpec):
            network = fresh_network(network, config.seed, zero_init_residual=config.zero_init_residual)
        validate = Validation(held_out, data, config, spec.clip) if held_out is not None else None
        shows_bar = progress and is_first_process() and sys.stdout.isatty()
        keeper = RunKeeper(config, pace, folder, identity, resumed, validate, say_nothing if shows_bar else say)
        if keeper.final is None:
            _fit(network, keeper, loaders, device, shows_bar)
        made_from = {
            "list": videos.content_hash,
            "numbered": videos.numbered,
            "group_regex": data.group_regex,
            "jitter": list(data.jitter),
        }
        result = _finish(network, keeper, loaders, device, made_from, say)
        # A Trainer is a web of cycles, which keeps all of this until Python looks for such.
        loaders.release()
        if validate is not None:
            validate.release()
        return result


def fresh_network(spec: ArchSpec, seed: int, *, zero_init_residual: bool = False) -> VideoNetwork:
    """A network whose initial weights depend on the seed alone; `TrainConfig` explains the option."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec, zero_init_residual=zero_init_residual)


def _divide(videos: VideoList, config: TrainConfig) -> tuple[VideoList, VideoList | None]:
    if not config.val_fraction:
        return videos, None
    parts = split(videos, {"train": 1 - config.val_fraction, "val": config.val_fraction}, config.seed)
    return parts["train"], parts["val"]


def _identity(spec: ArchSpec, train_part: VideoList, config: TrainConfig, data: DataConfig) -> State:
    """What makes two runs the same run, as builtins."""
    settings = {f"train.{name}": value for name, value in fixed_settings(config).items()}
    settings |= {f"clips.{name}": getattr(data, name) for name in _FIXED_DATA_SETTINGS}
    settings["train.devices"] = math.prod(launched(config.devices))  # norms see one process's share of a batch
    return {
        "name": spec.name,
        "architecture": spec.content_hash,
        "classes": list(train_part.classes),
        "data": train_part.content_hash,
        "videos": len(train_part),
        "settings": _builtins(settings),
    }


def _fit(
    network: VideoNetwork, keeper: RunKeeper, loaders: TrainLoaders, device: torch.device, shows_bar: bool
) -> None:
    """Train up to the last step, or raise `Interrupted`."""
    config, pace, start_step = keeper.config, keeper.pace, keeper.done
    module = Classifier(
        network,
        config,
        num_steps=pace.num_steps,
        warmup_steps=round(config.warmup_epochs * pace.steps_per_epoch),
        start_step=start_step,
        make_loader=lambda rank, world_size: loaders.loader(start_step, pace.num_steps, rank, world_size),
    )
    network.activation_checkpointing = config.activation_checkpointing
    with quiet_lightning():
        trainer = make_trainer(
            device,
            config.precision,
            devices=config.devices,
            callbacks=[keeper, StepProgress(keeper)] if shows_bar else [keeper],
            enable_progress_bar=shows_bar,
            max_epochs=1,
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.grad_clip,
        )
        try:
            with keeper.signals:
                trainer.fit(module)
                if keeper.signals.received is not None:
                    raise _interrupted(keeper)
        except (RuntimeError, SystemExit) as error:
            # A signal to all processes also ends the workers that make clips, at any point of a step; one that comes
            # before the first step ends Lightning's preparations in a way of its own.
            if keeper.signals.received is None:
                raise
            raise _interrupted(keeper) from error
    network.activation_checkpointing = False
    if keeper.saved < pace.num_steps:  # a signal to another process
        raise _interrupted(keeper)


def _interrupted(keeper: RunKeeper) -> VidnasError:
    return told_once(
        Interrupted(
            f"stopped; {keeper.saved} of {keeper.pace.num_steps} steps are saved in {keeper.folder.state}: the same "
            "command with --resume goes on",
            keeper.signals.received or signal.SIGTERM,
        )
    )


def _finish(
    network: VideoNetwork,
    keeper: RunKeeper,
    loaders: TrainLoaders,
    device: torch.device,
    made_from: dict[str, Any],
    say: Notify,
) -> TrainResult:
    """Take the weights to keep and write them out, with what testing must know of the data."""
    folder, num_steps = keeper.folder, keeper.pace.num_steps
    kept = _put_kept_weights(network, keeper, loaders, device)
    figures = {**keeper.last, **{f"best_{name}": value for name, value in keeper.best.items()}}
    figures |= {**keeper.clock.totals(), "peak_memory_mib": runtime.peak_memory_mib(device)}
    for error in loaders.clips.quarantine.broken():
        say(f"set aside in training: {error}")
    if is_first_process():
        described = {
            "kept": kept,
            "steps": num_steps,
            "figures": figures,
            **made_from,
            "identity": keeper.identity,
        }
        save_model(folder.root, network, classes=loaders.clips.videos.classes, config=described)
        previous_path(folder.state).unlink(missing_ok=True)
        say(f"{folder.weights}: {kept}")
    return TrainResult(network, folder, kept, num_steps, figures)


def _put_kept_weights(network: VideoNetwork, keeper: RunKeeper, loaders: TrainLoaders, device: torch.device) -> str:
    """Give the network the weights to keep, in evaluation mode; returns which they are."""
    config, final = keeper.config, keeper.final
    assert final is not None
    weights: dict[str, Tensor] = final["network"]
    kept = f"weights after step {keeper.done}"
    if config.ema:
        weights = {name.removeprefix("module."): value for name, value in final["average"].items()}
        weights.pop("n_averaged")
        kept = f"weights averaged with decay {config.ema} up to step {keeper.done}"
    if config.keep == "best":
        best = load_state(keeper.folder.best, say_nothing)
        assert best is not None
        weights = best["network"]
        kept = f"{'averaged ' if config.ema else ''}weights of step {best['step']}, the best on the held-out part"
    network.load_state_dict(weights)
    network.to(device)
    if config.norm_batches:
        batches = loaders.loader(keeper.done, keeper.done + config.norm_batches)
        recalibrate_norms(network, (batch.clips.to(device) for batch in batches))
        kept += f", norm statistics from {config.norm_batches} batches"
    network.eval()
    return kept


def _finished_before(folder: RunFolder, identity: State, say: Notify) -> TrainResult:
    network, info = load_model(folder.root)
    check_identity(info.config["identity"], identity, folder.model_info)
    say(f"{folder.weights}: finished already, nothing to do")
    return TrainResult(network, folder, info.config["kept"], info.config["steps"], info.config["figures"])


def _builtins(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON and a weights-only load take them."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }
