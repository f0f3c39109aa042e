"""Train a network on a list of videos: a plain function, safe to kill and to call again."""

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.log import is_first_process, log
from vidnas.data.augment import POLICY_NAMES
from vidnas.data.clips import describe_coverage
from vidnas.data.datamodule import DataConfig
from vidnas.data.formats import VideoList
from vidnas.data.sampler import repeat_notice
from vidnas.data.split import split
from vidnas.engine.evaluate.coverage import median_duration
from vidnas.engine.run import runtime
from vidnas.engine.run.fabric import make_fabric, quiet_lightning
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.loop import run_steps
from vidnas.engine.run.processes import launched
from vidnas.engine.run.set_aside import set_aside_anywhere
from vidnas.engine.run.state import State, check_identity, digest_of, load_state, previous_path
from vidnas.engine.tasks.registry import check_task
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.loaders import TrainLoaders, check_shares
from vidnas.engine.train.recalibrate import recalibrate_norms
from vidnas.engine.train.training import Pace, Training
from vidnas.engine.train.validation import Validation
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.depthwise import describe_backend
from vidnas.nn.weights import load_model, save_model


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

    Raises:
        VidnasError: a run of something else is in the folder, classes that do not fit, a batch that cannot be shared, a
            loss that is not finite, too many broken videos, a full disk.
        Interrupted: stopped by a signal; nothing is lost.
    """
    spec = network if isinstance(network, ArchSpec) else network.spec
    if len(videos.classes) != spec.head.num_classes:
        raise VidnasError(
            f"the list has {len(videos.classes)} classes, the network {spec.head.num_classes}; build it for the list's"
        )
    check_task(spec.head, videos)
    check_shares(config)
    folder = RunFolder(run_dir)
    train_part, held_out = divided(videos, config)
    config = config.with_length(len(train_part), len(videos.classes))
    identity = _identity(network, train_part, config, data)
    settings = {"train": asdict(config), "data": _builtins(asdict(data))}
    if resume and folder.is_finished:
        runtime.set_threads(config.threads or folder.threads_begun("train"))
        return _finished_before(folder, identity)
    with folder.lock():
        resumed = load_state(folder.state) if resume else None
        if resumed is not None:
            check_identity(resumed["identity"], identity, folder.state)
            log.info(f"going on after step {resumed['step']}")
        threads = config.threads if resumed is None else folder.threads_to_resume(config.threads, "train")
        runtime.tune_allocator()
        runtime.set_threads(threads)
        if is_first_process():
            folder.open(settings, resume=resume)
        runtime.use_repeatable_kernels()
        device = runtime.choose_device(config.device)
        loaders = TrainLoaders(train_part, data, spec.clip, config, pin_memory=device.type == "cuda")
        pace = Pace(loaders.num_steps, loaders.steps_per_epoch)
        median_sec = median_duration(train_part, loaders.clips.reader)
        log.info(f"{spec.name}: {network_cost(spec)}; {describe_coverage(spec.clip, median_sec)}")
        log.info(f"depthwise convolutions: {describe_backend(device)}")
        if repeats := repeat_notice(config.batch_size, len(train_part), "training", "--train.batch-size"):
            log.info(repeats)
        policy = POLICY_NAMES[loaders.clips.transform.augmentation.policy]
        log.info(f"{config.describe_lr()}; {pace.num_steps} steps, {pace.steps_per_epoch} per epoch; {policy}")
        if isinstance(network, ArchSpec):
            network = fresh_network(network, config.seed, zero_init_residual=config.zero_init_residual)
        validate = Validation(held_out, data, config, spec.clip) if held_out is not None else None
        shows_bar = progress and is_first_process() and sys.stdout.isatty()
        with quiet_lightning():
            fabric = make_fabric(device, config.precision, devices=config.devices)
            training = Training(
                network,
                config,
                pace,
                folder,
                identity,
                fabric,
                lambda step: loaders.loader(step, pace.num_steps, fabric.global_rank, fabric.world_size),
                resumed=resumed,
                validate=validate,
                reports=not shows_bar,
            )
            _fit(training, shows_bar)
        made_from = {
            "list": videos.content_hash,
            "numbered": videos.numbered,
            "group_regex": data.group_regex,
            "jitter": list(data.jitter),
            "settings": settings,
        }
        result = _finish(training, loaders, made_from)
        # Lightning's wrappers are a web of cycles, which keeps all of this until Python looks for such.
        loaders.release()
        if validate is not None:
            validate.release()
        return result


def fresh_network(spec: ArchSpec, seed: int, *, zero_init_residual: bool = False) -> VideoNetwork:
    """A network whose initial weights depend on the seed alone; `TrainConfig` explains the option."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec, zero_init_residual=zero_init_residual)


def divided(videos: VideoList, config: TrainConfig) -> tuple[VideoList, VideoList | None]:
    """What a training learns from, and what it validates on, if it does.

    Raises:
        VidnasError: the list cannot be divided so.
    """
    if not config.val_fraction:
        return videos, None
    parts = split(videos, {"train": 1 - config.val_fraction, "val": config.val_fraction}, config.seed)
    return parts["train"], parts["val"]


def _identity(
    network: ArchSpec | VideoNetwork, train_part: VideoList, config: TrainConfig, data: DataConfig
) -> dict[str, Any]:
    """What makes two runs the same run, as builtins; it is asked for before the network is trained."""
    settings = {f"train.{name}": value for name, value in config.fixed_settings().items()}
    settings |= {f"clips.{name}": value for name, value in data.fixed_settings().items()}
    settings["train.devices"] = math.prod(launched(config.devices))  # norms see one process's share of a batch
    # Those of a spec follow from it and the seed.
    given = {} if isinstance(network, ArchSpec) else {"initial weights": digest_of(network.state_dict())}
    spec = network if isinstance(network, ArchSpec) else network.spec
    return {
        "architecture": spec.content_hash[:12],
        **given,
        "training list": f"{len(train_part)} videos ({train_part.content_hash[:12]})",
        **_builtins(settings),
    }


def _fit(training: Training, shows_bar: bool) -> None:
    """Train up to the last step."""
    bar = tqdm(
        desc="training",
        unit="step",
        total=training.num_steps,
        initial=training.step,
        leave=False,
        dynamic_ncols=True,
        file=sys.stdout,
        disable=not shows_bar,
    )
    training.network.activation_checkpointing = training.config.activation_checkpointing
    run_steps(training, bar, training.folder.state, save_every_steps=training.config.checkpoint_every_steps)
    training.network.activation_checkpointing = False
    training.close()


def _finish(training: Training, loaders: TrainLoaders, made_from: dict[str, Any]) -> TrainResult:
    """Take the weights to keep and write them out, with what testing must know of the data."""
    folder, num_steps, network = training.folder, training.num_steps, training.network
    kept = _put_kept_weights(training, loaders)
    figures = {**training.last, **{f"best_{name}": value for name, value in training.best.items()}}
    figures |= {**training.clock.totals(), "peak_memory_mib": runtime.peak_memory_mib(training.fabric.device)}
    for error in set_aside_anywhere(loaders.clips):
        log.info(f"set aside in training: {error}")
    if is_first_process():
        described = {"kept": kept, "steps": num_steps, "figures": figures, **made_from, "identity": training.identity}
        save_model(folder.root, network, classes=loaders.clips.videos.classes, config=described)
        previous_path(folder.state).unlink(missing_ok=True)
        log.info(f"{folder.weights}: {kept}")
    return TrainResult(network, folder, kept, num_steps, figures)


def _put_kept_weights(training: Training, loaders: TrainLoaders) -> str:
    """Give the network the weights to keep, in evaluation mode; returns which they are."""
    config, final, network = training.config, training.final, training.network
    assert final is not None
    weights: dict[str, Tensor] = final["network"]
    kept = f"weights after step {training.step}"
    if config.ema:
        weights = {name.removeprefix("module."): value for name, value in final["average"].items()}
        weights.pop("n_averaged")
        kept = f"weights averaged with decay {config.ema} up to step {training.step}"
    if config.keep == "best":
        best = load_state(training.folder.best)
        assert best is not None
        weights = best["network"]
        kept = f"{'averaged ' if config.ema else ''}weights of step {best['step']}, the best on the held-out part"
    network.load_state_dict(weights)
    if config.norm_batches:
        batches = loaders.loader(training.step, training.step + config.norm_batches)
        recalibrate_norms(network, (training.fabric.to_device(batch.clips) for batch in batches))
        kept += f", norm statistics from {config.norm_batches} batches"
    network.eval()
    return kept


def _finished_before(folder: RunFolder, identity: State) -> TrainResult:
    network, info = load_model(folder.root)
    check_identity(info.config["identity"], identity, folder.model_info)
    log.info(f"{folder.weights}: finished already, nothing to do")
    return TrainResult(network, folder, info.config["kept"], info.config["steps"], info.config["figures"])


def _builtins(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON and a weights-only load take them."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }
