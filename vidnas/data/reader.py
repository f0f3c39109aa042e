"""Where a clip's frames come from: the video files, or a cache of decoded frames behind the same two questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from vidnas.base.log import note_once
from vidnas.data.container import BrokenVideo
from vidnas.data.decode import VideoInfo, probe, read_frames_and_damage
from vidnas.data.index import VideoIndex


class Reader(Protocol):
    """Frames by path and time.

    Frames keep their shape; those whose short side exceeds the reader's limit are scaled down to it. Two readers
    with the same limit give equal frames.
    """

    @property
    def broken(self) -> Mapping[Path, str]:
        """Files known beforehand to be unusable, with their causes."""
        ...

    @property
    def notices(self) -> Mapping[Path, str]:
        """What the user should know beforehand of files that can be used."""
        ...

    def info(self, path: Path) -> VideoInfo:
        """What the file holds, at its own size.

        Raises:
            BrokenVideo: the file cannot be used.
        """
        ...

    def read(self, path: Path, times_sec: Sequence[float]) -> np.ndarray:
        """Frames (T, H, W, 3) uint8 on the screen at the given seconds.

        Raises:
            BrokenVideo: the file, or one of these frames, cannot be read.
        """
        ...


class FileReader:
    """Decodes what is asked for when it is asked for.

    Args:
        short_side: largest short side in pixels; None keeps every frame's size.
        index: what is known of the files already; others are probed when they are asked for, once per process.
    """

    def __init__(self, short_side: int | None = None, index: VideoIndex | None = None) -> None:
        self.short_side = short_side
        self.broken: Mapping[Path, str] = {} if index is None else index.broken
        self.notices: Mapping[Path, str] = {} if index is None else index.notices
        self._infos = {} if index is None else dict(index.infos)

    def info(self, path: Path) -> VideoInfo:
        """See `Reader`."""
        if path in self.broken:
            raise BrokenVideo(path, self.broken[path])
        if path not in self._infos:
            self._infos[path] = probe(path)
        return self._infos[path]

    def read(self, path: Path, times_sec: Sequence[float]) -> np.ndarray:
        """See `Reader`."""
        info = self.info(path)
        frames, damage = read_frames_and_damage(info, times_sec, short_side=limit(info, self.short_side))
        if damage is not None:
            note_once(f"{path}: {damage}; what follows is missing")
        return frames


def limit(info: VideoInfo, short_side: int | None) -> int | None:
    """The short side to scale to, or None for a video that is small enough as it is."""
    return short_side if short_side is not None and min(info.width, info.height) > short_side else None
