"""Caches of frames that nobody has used for long are removed when another one is made."""

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from vidnas.base.log import log
from vidnas.data.frame_map import is_mapped

UNUSED_DAYS = 30
FRAMES, TIMES, MANIFEST = FILES = ("frames.bin", "times.npy", "manifest.json")
# A cache, what a killed build left behind, and what is known of the videos of a list.
_CACHE = re.compile(r"([0-9a-f]{16})(\.tmp)?")
_INDEX = re.compile(r"[0-9a-f]{16}\.videos\.json")


def mark_used(*paths: Path) -> None:
    """Take down that a cache is used now; one that another user made keeps its time."""
    for path in paths:
        with suppress(OSError):
            os.utime(path)


def remove_unused(parent: Path) -> None:
    """Remove what was unused for 30 days in a folder of caches; what a process uses, or is none of ours, stays."""
    for path in sorted(parent.iterdir()):
        if not _is_old(path):
            continue
        # Timeout is an OSError too.
        with suppress(OSError):
            if _INDEX.fullmatch(path.name):
                path.unlink()
            elif (name := _CACHE.fullmatch(path.name)) and {entry.name for entry in path.iterdir()} <= {*FILES}:
                with FileLock(parent / f"{name[1]}.lock", timeout=0):
                    _remove(path)


def _remove(folder: Path) -> None:
    # Another process may have begun to use it a moment ago.
    if _is_old(folder) and not is_mapped(folder / FRAMES):
        (folder / FRAMES).unlink()
        shutil.rmtree(folder)
        log.debug("%s: a frame cache unused for %d days, removed", folder, UNUSED_DAYS)


def _is_old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - UNUSED_DAYS * 86400
    except OSError:
        return False
