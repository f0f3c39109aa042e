"""Throughput of a training, and how long it waits for its data."""

import time
from collections.abc import Mapping


class Clock:
    """Throughput, and the share of time spent waiting for data.

    Args:
        state: what `state_dict` gave, to go on from.
    """

    def __init__(self, state: Mapping[str, float] | None = None) -> None:
        before = state or {"clips": 0, "sec": 0.0, "wait_sec": 0.0}
        self.total_clips = int(before["clips"])
        self.total_sec = before["sec"]
        self.total_wait_sec = before["wait_sec"]
        self.start()

    def start(self) -> None:
        """Begin a lap; what happened since the last one does not count."""
        self._lap_start = self._last = time.perf_counter()
        self._wait_sec, self._clips = 0.0, 0

    def got_batch(self, clips: int) -> None:
        """A batch has arrived."""
        self._wait_sec += time.perf_counter() - self._last
        self._clips += clips

    def done_batch(self) -> None:
        """A batch has been worked off."""
        self._last = time.perf_counter()

    def lap(self, world_size: int) -> dict[str, float]:
        """Clips per second over all processes, and the share of waiting, since the last lap."""
        lap_sec = max(time.perf_counter() - self._lap_start, 1e-9)
        figures = {"clips_per_sec": self._clips * world_size / lap_sec, "data_wait_share": self._wait_sec / lap_sec}
        self.total_clips += self._clips * world_size
        self.total_sec += lap_sec
        self.total_wait_sec += self._wait_sec
        self.start()
        return figures

    def totals(self) -> dict[str, float]:
        """The same over all laps."""
        total_sec = max(self.total_sec, 1e-9)
        return {
            "mean_clips_per_sec": self.total_clips / total_sec,
            "mean_data_wait_share": self.total_wait_sec / total_sec,
            "train_sec": self.total_sec,
        }

    def state_dict(self, world_size: int) -> dict[str, float]:
        """What it has seen so far, the lap that runs included."""
        return {
            "clips": self.total_clips + self._clips * world_size,
            "sec": self.total_sec + time.perf_counter() - self._lap_start,
            "wait_sec": self.total_wait_sec + self._wait_sec,
        }
