"""The curves of a run: one JSON object per line, and the same for TensorBoard."""

import json
from pathlib import Path

from lightning.fabric.loggers import TensorBoardLogger

from vidnas.base.files import replace_file


class Curves:
    """Writes metrics by step; a resumed run first cuts away what lies after its saved state.

    Args:
        metrics: the file of JSON lines.
        tensorboard: folder of TensorBoard's event files.
        start_step: steps already done; lines of later ones are dropped.
        writes: False on all processes but the first.
    """

    def __init__(self, metrics: Path, tensorboard: Path, start_step: int, *, writes: bool = True) -> None:
        self._path = metrics
        self._writes = writes
        # purge_step hides what an earlier process wrote after the saved state.
        self._tensorboard = TensorBoardLogger(
            tensorboard.parent, name=tensorboard.name, version="", purge_step=start_step + 1
        )
        if writes and metrics.exists():
            kept = [line for line in metrics.read_text(encoding="utf-8").splitlines() if _step(line) <= start_step]
            replace_file(metrics, "".join(f"{line}\n" for line in kept))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add one line for the step just finished (steps count from 1 here)."""
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        self._tensorboard.log_metrics(values, step)

    def close(self) -> None:
        """Nothing more comes."""
        self._tensorboard.finalize("success")


def _step(line: str) -> float:
    """The step of a line; infinite for one that was cut off by a kill."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
