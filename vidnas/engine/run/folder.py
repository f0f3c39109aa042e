"""What lies where in a run folder, and whether a command may write into it."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, write_json
from vidnas.base.log import is_first_process
from vidnas.engine.run.runtime import versions


@dataclass(frozen=True)
class RunFolder:
    """Paths of one training run.

    `model.safetensors` and `model.json` are the result and exist only when it is finished; `last.ckpt` is what
    `--resume` goes on from.
    """

    root: Path

    @property
    def weights(self) -> Path:
        """The trained network, for use."""
        return self.root / "model.safetensors"

    @property
    def model_info(self) -> Path:
        """Spec, classes, clip, settings and versions of the trained network."""
        return self.root / "model.json"

    @property
    def state(self) -> Path:
        """Everything that resuming needs."""
        return self.root / "last.ckpt"

    @property
    def best(self) -> Path:
        """State dict of the best validated network so far, where `keep` asks for it."""
        return self.root / "best.ckpt"

    @property
    def run_record(self) -> Path:
        """Command, settings and versions of the run."""
        return self.root / "run.json"

    @property
    def metrics(self) -> Path:
        """Curves: one JSON object per line."""
        return self.root / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Curves for TensorBoard."""
        return self.root / "tensorboard"

    @property
    def test(self) -> Path:
        """Results on a test list."""
        return self.root / "test"

    @property
    def is_finished(self) -> bool:
        """Whether the network has been trained to the end."""
        return self.weights.exists() and self.model_info.exists()

    def threads_begun(self, part: str) -> int | None:
        """CPU threads that a run began with, or None where none did; `part` of its settings is `train` or `search`."""
        if not self.run_record.exists():
            return None
        record = read_json(self.run_record)
        number: int = record["settings"][part]["threads"] or record["versions"]["threads"]
        return number

    def threads_to_resume(self, given: int | None, part: str) -> int | None:
        """The CPU threads that a run goes on with: others would change its last digits.

        Raises:
            VidnasError: others are asked for.
        """
        begun = self.threads_begun(part)
        if given is not None and begun is not None and given != begun:
            raise VidnasError(
                f"{self.root}: began with {part}.threads {begun}, and {given} would change its last digits; leave "
                f"{part}.threads out, or start in another folder"
            )
        return given or begun

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other commands out of the folder; a killed one lets go of it.

        A command may hold it several times over. Of several processes of one run the first one holds it.

        Raises:
            VidnasError: another process is in it, or the folder cannot be made.
        """
        if not is_first_process():
            yield
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # One object per file, which counts how often it is held.
            lock = FileLock(self.root.resolve() / ".lock", timeout=0, is_singleton=True)
            lock.acquire()
        except Timeout as error:
            raise VidnasError(f"{self.root}: another process is writing this run; wait for it or end it") from error
        except OSError as error:
            raise VidnasError(f"{self.root}: cannot be written ({(error.strerror or str(error)).lower()})") from error
        try:
            yield
        finally:
            lock.release()

    def open(self, settings: Mapping[str, Any], *, resume: bool) -> None:
        """Refuse to write over another run, and note command, settings and versions.

        Raises:
            VidnasError: a run is there and `resume` is off.
        """
        if not resume and (self.is_finished or self.state.exists()):
            what = "a finished run" if self.is_finished else "an unfinished run"
            mend = "choose another --out" if self.is_finished else "add --resume to go on, or choose another --out"
            raise VidnasError(f"{self.root}: holds {what} already; {mend}")
        earlier = read_json(self.run_record)["commands"] if self.run_record.exists() and resume else []
        record = {"commands": [*earlier, sys.argv], "settings": dict(settings), "versions": versions()}
        write_json(self.run_record, record)
