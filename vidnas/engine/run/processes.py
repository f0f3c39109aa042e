"""Several processes of one run: what they add up, and how one that fails ends all of them.

torchrun starts them (docs/search.md), and they meet in `vidnas.engine.run.fabric`. A process that runs alone adds
nothing and agrees with itself.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vidnas.base.errors import EndedElsewhere, VidnasError
from vidnas.base.log import is_first_process

P = ParamSpec("P")
T = TypeVar("T")

# Gradients travel in pieces of this size: few enough to be quick, small enough not to double their memory.
_BUCKET_ELEMENTS = 1 << 22


def launched(devices: int = 1) -> tuple[int, int]:
    """Processes on this machine, and machines: as torchrun says, else `devices` on one machine."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return devices, 1
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local


def get_world_size() -> int:
    """Processes that have met so far in this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def get_rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if get_world_size() > 1 else 0


def all_reduce_sum(numbers: Tensor) -> Tensor:
    """The sum over all processes, the same bits on each.

    Raises:
        VidnasError: another process has gone away.
    """
    return _reduce(numbers, "sum")


def all_reduce_max(number: float) -> float:
    """The largest of the numbers that the processes give (float64).

    Raises:
        VidnasError: another process has gone away.
    """
    return float(_reduce(torch.tensor(number, dtype=torch.float64), "max"))


def together(work: Callable[P, T], *args: P.args, **settings: P.kwargs) -> T:
    """Do what may fail in one process alone; if it does, it fails in all of them.

    Raises:
        EndedElsewhere: another process failed; the first that did raises its own error.
    """
    if get_world_size() == 1:
        return work(*args, **settings)
    failure: Exception | None = None
    try:
        result = work(*args, **settings)
    except Exception as error:
        failure = error
    here, nowhere = get_rank(), get_world_size()
    first = -int(all_reduce_max(-(nowhere if failure is None else here)))
    if first == nowhere:
        return result
    if failure is not None and first == here:
        raise failure
    raise EndedElsewhere from failure


def rank_zero_error(error: VidnasError) -> VidnasError:
    """An error that all processes raise alike: itself on the first one, silence with its exit code on the others."""
    return error if is_first_process() else EndedElsewhere(error.exit_code)


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their sums over the processes; a parameter that none of them used keeps None.

    Processes may have used different parameters. All end with the same bits in the same layout, so that whatever
    follows (a norm to clip, a step) is the same on each.
    """
    if get_world_size() == 1:
        return
    every = list(parameters)
    used = all_reduce_sum(torch.tensor([parameter.grad is not None for parameter in every], dtype=torch.int32))
    for bucket in _buckets([parameter for parameter, users in zip(every, used.tolist(), strict=True) if users]):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        sums = all_reduce_sum(flat).split([parameter.numel() for parameter in bucket])
        for parameter, total in zip(bucket, sums, strict=True):
            # Fused optimisers read a gradient in the order of its parameter's memory.
            parameter.grad = torch.empty_like(parameter).copy_(total.view_as(parameter))


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of the first process."""
    if get_world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def equal_on_all_ranks(tensors: Iterable[Tensor]) -> bool:
    """Whether all processes hold the same bits."""
    if get_world_size() == 1:
        return True
    digest = hashlib.blake2b(digest_size=6)  # 48 bits, which float64 holds exactly
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    number = int.from_bytes(digest.digest(), "big")
    return all_reduce_max(number) == -all_reduce_max(-number)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterable[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > _BUCKET_ELEMENTS:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _reduce(numbers: Tensor, how: str) -> Tensor:
    if get_world_size() == 1:
        return numbers
    # nccl sees nothing but the memory of GPUs.
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else numbers.device
    sent = numbers.to(device, copy=True)
    try:
        dist.all_reduce(sent, dist.ReduceOp.SUM if how == "sum" else dist.ReduceOp.MAX)
    except RuntimeError as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise VidnasError(
            f"process {get_rank()}: another process of this run has ended or does not answer ({reason[:120]}); "
            "the same command with --resume goes on from the last saved state"
        ) from error
    return sent.to(numbers.device)
