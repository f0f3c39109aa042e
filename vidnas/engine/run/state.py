"""The file that a run goes on from: written whole or not at all, one older copy kept, read without pickle."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file
from vidnas.base.log import log

State = dict[str, Any]
# Grows whenever what a state of a search or a training holds changes.
FORMAT = 1


def save_state(state: State, path: Path) -> None:
    """Write tensors and builtins to `path`; what stood there becomes `previous_path(path)`.

    The file is complete on disk before it gets its name, so a kill at any moment leaves a whole file under one of the
    two names.

    Raises:
        VidnasError: the disk is full or cannot be written; the older state is untouched.
    """
    buffer = io.BytesIO()
    torch.save({**state, "format": FORMAT}, buffer)
    replace_file(path, buffer.getbuffer(), keep_as=previous_path(path))


def load_state(path: Path) -> State | None:
    """The newest whole state of a run, or None where none was ever saved.

    Raises:
        VidnasError: there are files, but none can be read, or another version of vidnas wrote it.
    """
    candidates = [candidate for candidate in (path, previous_path(path)) if candidate.exists()]
    for candidate in candidates:
        try:
            state = torch.load(candidate, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises a dozen kinds for torn files; all mean the same here
            log.info(f"{candidate}: cannot be read ({_first_line(error)}); trying the state before it")
            continue
        if candidate != path:
            log.info(f"{candidate}: going on from this older state")
        state = dict(state)
        if state.pop("format", None) != FORMAT:
            raise VidnasError(
                f"{candidate}: a state of another version of vidnas; go on with that one, or choose another folder to "
                "start anew"
            )
        return state
    if candidates:
        raise VidnasError(f"{path}: no saved state can be read; delete the folder's *.ckpt files to start afresh")
    return None


def previous_path(path: Path) -> Path:
    """Where the state before the last one is kept."""
    return path.with_name(f"previous_{path.name}")


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """A word that tells tensors, with their names, from any others."""
    digest = hashlib.blake2b(digest_size=6)
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def check_identity(saved: Mapping[str, Any], own: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with something else.

    Args:
        saved: what makes a run the same run, by name, as it was at its start; builtins.
        own: the same of the run that wants to go on.
        path: where the other lies, for the message.

    Raises:
        VidnasError: names all that differs.
    """
    if found := differences(saved, own):
        raise VidnasError(
            f"{path}: cannot go on from this: {found}; ask for the same, or remove the folder or choose another to "
            "start anew"
        )


def differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """All that differs between two identities, in words; empty where they are the same."""
    names = [*own, *(name for name in saved if name not in own)]
    pairs = {name: (saved.get(name), own.get(name)) for name in names}
    return "; ".join(f"{name} {then} then, {now} now" for name, (then, now) in pairs.items() if then != now)
