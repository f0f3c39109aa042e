"""Files that are written whole or not at all."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from vidnas.base.errors import VidnasError


def replace_file(path: Path, data: bytes | memoryview, keep_as: Path | None = None) -> None:
    """Put `data` under `path` in one step, through a temporary file beside it that reached the disk.

    Args:
        path: the file.
        data: its content.
        keep_as: a second name that the old content keeps.

    Raises:
        VidnasError: the disk is full or refuses; what stood at `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # one writer per folder: a kill leaves one stray file at most
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            path.replace(keep_as)
        temporary.replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VidnasError(
            f"{path}: cannot be written ({reason}); nothing saved before is lost: make room and resume"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """`content` as indented JSON, written whole."""
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


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
