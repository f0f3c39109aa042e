"""Reading the tensors of a weight file without running anything that the file may hold."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vidnas.errors import VidnasError

_WEIGHT_ENTRIES = ("model_state", "state_dict", "model")


class StateFile(NamedTuple):
    """The tensors of a weight file, and the names of what else it holds."""

    tensors: dict[str, Tensor]
    beside: tuple[str, ...]


def read_state_file(path: Path) -> StateFile:
    """Read a `.safetensors` file, or what torch.save wrote: a state dict, bare or in a checkpoint.

    Nothing is unpickled but tensors and builtins.

    Raises:
        VidnasError: missing, damaged, or holding other Python objects.
    """
    if not path.is_file():
        raise VidnasError(f"{path}: no such weight file")
    if path.suffix == ".safetensors":
        try:
            return StateFile(load_file(path), ())
        except (SafetensorError, OSError) as error:
            raise VidnasError(f"{path}: not a whole safetensors file ({one_line(error)})") from error
    return _from_checkpoint(_load_torch(path), path)


def one_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _load_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsupported = re.search(r"GLOBAL (\S+)", str(error))
        if unsupported is None:
            raise VidnasError(f"{path}: not a weight file that torch.save wrote, or a damaged one") from error
        raise VidnasError(
            f"{path}: holds Python objects beside tensors ({unsupported[1]}), and unpickling those can run code. If "
            "you trust the file, keep its tensors only: torch.save(torch.load(FILE, weights_only=False)['state_dict'], "
            "NEW_FILE); they are under 'state_dict' in Lightning's checkpoints (.ckpt), under 'model_state' in "
            "SlowFast's (.pyth), and a module that was pickled whole gives them as .state_dict()"
        ) from error
    except Exception as error:  # the unpickler raises whatever arbitrary bytes lead it to
        raise VidnasError(f"{path}: not a weight file that torch.save wrote, or a damaged one") from error


def _from_checkpoint(content: Any, path: Path) -> StateFile:
    beside: list[str] = []
    if isinstance(content, Mapping):
        entry = next((name for name in _WEIGHT_ENTRIES if isinstance(content.get(name), Mapping)), None)
        if entry is not None:
            beside = [str(name) for name in content if name != entry]
            content = content[entry]
    if not isinstance(content, Mapping):
        raise VidnasError(f"{path}: holds {type(content).__name__}, not a dict of tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    beside += [str(name) for name in content if str(name) not in tensors]
    if not tensors:
        raise VidnasError(f"{path}: holds no tensors")
    return StateFile(tensors, tuple(beside))
