"""What each part of a run takes of the clock, over all attempts at it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, write_json
from vidnas.base.log import is_first_process


class PhaseClock:
    """Seconds by phase, in a file, to which every attempt adds its own.

    Args:
        path: the file.
        every_sec: how often it is written meanwhile; a process that is killed loses no more.
    """

    def __init__(self, path: Path, every_sec: float = 30.0) -> None:
        self._path, self._every_sec = path, every_sec
        self._sec: dict[str, float] = read_json(path) if path.exists() else {}

    def sec(self, name: str) -> float:
        """What a phase has taken up to the end of its last part."""
        return self._sec.get(name, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what is done meanwhile, however it ends, to a phase, which may have several parts."""
        before, start = self.sec(name), time.perf_counter()
        ended = Event()

        def keep() -> None:
            self._sec[name] = before + time.perf_counter() - start
            # A full disk is said by those who write what matters more.
            with suppress(VidnasError):
                if is_first_process():
                    write_json(self._path, self._sec)

        def keep_meanwhile() -> None:
            while not ended.wait(self._every_sec):
                keep()

        keeping = Thread(target=keep_meanwhile, daemon=True)
        keeping.start()
        try:
            yield
        finally:
            ended.set()
            keeping.join()
            keep()
