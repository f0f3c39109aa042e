"""The file that a run goes on from: written whole or not at all, one older copy kept, read without pickle."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vidnas.base.errors import VidnasError
from vidnas.base.files import replace_file
from vidnas.base.log import log

State = dict[str, Any]


def save_state(state: State, path: Path) -> None:
    """Write tensors and builtins to `path`; what stood there becomes `previous_path(path)`.

    The file is complete on disk before it gets its name, so a kill at any moment leaves a whole file under one of the
    two names.

    Raises:
        VidnasError: the disk is full or cannot be written; the older state is untouched.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace_file(path, buffer.getbuffer(), keep_as=previous_path(path))


def load_state(path: Path) -> State | None:
    """The newest whole state of a run, or None where none was ever saved.

    Raises:
        VidnasError: there are files, but none can be read.
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
        return dict(state)
    if candidates:
        raise VidnasError(f"{path}: no saved state can be read; delete the folder's *.ckpt files to start afresh")
    return None


def previous_path(path: Path) -> Path:
    """Where the state before the last one is kept."""
    return path.with_name(f"previous_{path.name}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


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


def check_identity(saved: State, own: State, path: Path) -> None:
    """Refuse to go on from the state of another run.

    Args:
        saved: of the state: `name`, `architecture`, `data`, `videos`, `settings`.
        own: the same of the run that wants to go on.
        path: where the state lies, for the message.

    Raises:
        VidnasError: saying what differs.
    """
    differences = []
    if saved["architecture"] != own["architecture"]:
        names = [identity["name"] for identity in (saved, own)]
        differences.append(f"architecture {names[0]} then, {names[1]} now" + (" (changed)" * (names[0] == names[1])))
    if saved["data"] != own["data"]:
        differences.append(f"training list of {saved['videos']} videos then, another one of {own['videos']} now")
    settings = {**saved["settings"], **own["settings"]}
    for name in settings:
        then, now = saved["settings"].get(name), own["settings"].get(name)
        if then != now:
            differences.append(f"{name} {then} then, {now} now")
    if differences:
        raise VidnasError(
            f"{path}: cannot go on from this state: {'; '.join(differences)}; ask for the same, or remove the folder "
            "or choose another to start anew"
        )
