"""Files that are written whole or not at all."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from vidnas.base.errors import VidnasError
from vidnas.base.interrupt import StopSignals

# How to mend a failure, of files that a run goes on from and of files that somebody asked for.
RESUME = "nothing saved before is lost: make room and resume"
ANOTHER_PLACE = "make room or choose another place"


def replace_file(
    path: Path,
    data: bytes | memoryview | str,
    *,
    keep_as: Path | None = None,
    shared: bool = False,
    mend: str = RESUME,
) -> None:
    """Put `data` under `path` in one step, through a temporary file beside it that reached the disk.

    Signals that can be held back wait until it is done.

    Args:
        path: the file; a device or a pipe is just written to.
        data: its content; text becomes UTF-8.
        keep_as: a second name that the old content keeps.
        shared: several processes may do so at once. Each then has a temporary file of its own, and a kill leaves it
            behind; otherwise there is one at most.
        mend: end of the message of a failure.

    Raises:
        VidnasError: the disk is full or refuses; what stood at `path` is unchanged.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp" if shared else f".{path.name}.tmp")
    try:
        with StopSignals():
            if path.exists() and not path.is_file():
                path.write_bytes(content)
            else:
                _replace(path, content, temporary, keep_as)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VidnasError(f"{path}: cannot be written ({reason}); {mend}") from error


def _replace(path: Path, content: bytes | memoryview, temporary: Path, keep_as: Path | None) -> None:
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            path.replace(keep_as)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """`content` as indented JSON, written whole."""
    replace_file(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        VidnasError: missing, unreadable, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VidnasError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from error
    except ValueError as error:
        raise VidnasError(f"{path}: not JSON ({error})") from error
