"""Whole networks timed on this machine, each once: who asks again, a resumed run too, gets the same milliseconds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vidnas.arch.latency import Device
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, write_json
from vidnas.base.log import is_first_process, log
from vidnas.deploy.timing.stopwatch import Stopwatch
from vidnas.pipeline.this_machine import check_measured_here, machine_name, measured_versions, open_stopwatch

_WHAT, _MEND = "these milliseconds of networks are", "go on there, or start anew in another folder"


class NetworkTimes:
    """Milliseconds of one clip, by network.

    Args:
        device: what runs the networks.
        path: the file that keeps them; read where it exists. None keeps them in memory.
        stopwatch: what times; None is opened when there is something to time.

    Raises:
        VidnasError: the file is broken, or of another device, machine or thread count.
    """

    def __init__(self, device: Device, path: Path | None, stopwatch: Stopwatch | None = None) -> None:
        self.device: Device = device
        self._stopwatch = stopwatch
        self.path = path
        # Trainings in this process may take other threads.
        self._threads = torch.get_num_threads()
        self._ms: dict[str, float] = {}
        if path is not None and path.exists():
            self._ms = _load(path, device)

    def ms(self, specs: Sequence[ArchSpec]) -> list[float]:
        """Milliseconds of each; those that are not known are measured, in turns, and kept.

        Raises:
            VidnasError: no such device here.
        """
        missing = {spec.content_hash: spec for spec in specs if spec.content_hash not in self._ms}
        if missing:
            if not self._ms:
                kept = f", kept in {self.path}" if self.path else ""
                log.info(f"timing networks on {self.device}{kept}; nothing else should run meanwhile")
            with self.own_threads():
                self._stopwatch = self._stopwatch or open_stopwatch(self.device)
                measured = self._stopwatch.networks(list(missing.values()))
            self._ms |= zip(missing, measured, strict=True)
            self._save()
        return [self._ms[spec.content_hash] for spec in specs]

    @contextmanager
    def own_threads(self) -> Iterator[None]:
        """Compute with the threads that there were at the start."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _save(self) -> None:
        if self.path is None or not is_first_process():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "device": self.device,
            "machine": machine_name(self.device),
            "threads": self._threads,
            "versions": measured_versions(self.device),
            "ms": self._ms,
        }
        write_json(self.path, record)


def _load(path: Path, device: Device) -> dict[str, float]:
    record: dict[str, Any] = read_json(path)
    try:
        check_measured_here(record, device, path, _WHAT, _MEND)
        return {str(network): float(ms) for network, ms in record["ms"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VidnasError(f"{path}: not milliseconds as vidnas writes them ({error}); {_MEND}") from error
