"""Lightning's Fabric, as this package uses it: devices, precision, processes."""

import atexit
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from lightning.fabric import Fabric

from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import ends_with_command
from vidnas.engine.run.processes import launched

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_fabric(device: torch.device, precision: str, *, devices: int = 1) -> Fabric:
    """This process on its device; several processes meet here, more than once if need be.

    Under torchrun their number is torchrun's, else `devices`.

    Raises:
        VidnasError: more processes than GPUs, fp16 without a GPU.
    """
    check_precision(device, precision)
    local, nodes = launched(devices)
    if local * nodes == 1:
        return Fabric(
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
            precision=_PRECISION[precision],
        )
    if device.type == "cuda" and torch.cuda.device_count() < local:
        raise VidnasError(
            f"{local} processes start here, where there are {torch.cuda.device_count()} GPUs; lower --nproc-per-node "
            "or --devices, or compute on the CPU (--device cpu)"
        )
    fabric = Fabric(
        accelerator=device.type, devices=local, num_nodes=nodes, strategy="ddp", precision=_PRECISION[precision]
    )
    ends_with_command(fabric.strategy.launcher)
    with quiet_lightning():
        fabric.launch()
    atexit.unregister(_leave)
    atexit.register(_leave)
    return fabric


def _leave() -> None:
    """End the threads of the backend: one that lets go of a tensor while the interpreter ends aborts the process."""
    if dist.is_initialized():
        dist.destroy_process_group()


def check_precision(device: torch.device, precision: str) -> None:
    """Refuse fp16 without a GPU.

    Raises:
        VidnasError: says what to use.
    """
    if precision == "fp16" and device.type == "cpu":
        raise VidnasError("train.precision: fp16 needs a GPU; use bf16 or fp32 on a CPU")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's remarks on hardware, workers and products, and torch's on strides."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            # DDP's buckets are contiguous, gradients of 1x1x1 kernels channels-last: the same memory, other strides.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
