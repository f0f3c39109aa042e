"""What the verbs that use a trained network share: reading it, and what it was trained with."""

from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.errors import VidnasError

if TYPE_CHECKING:
    from vidnas.nn.build import VideoNetwork
    from vidnas.nn.weights import ModelInfo


def load_checkpoint(path: Path) -> "tuple[VideoNetwork, ModelInfo]":
    """The network of a run folder or a model.safetensors, in evaluation mode.

    Raises:
        VidnasError: nothing there, or a run that is not finished.
    """
    from vidnas.engine.run_folder import RunFolder
    from vidnas.nn.weights import load_model

    if not path.exists():
        raise VidnasError(f"{path}: no such run folder or model file")
    folder = RunFolder(path)
    if path.is_dir() and not folder.is_finished:
        unfinished = folder.state.exists()
        raise VidnasError(
            f"{path}: "
            + (
                "this run is not finished; train it to the end with --resume"
                if unfinished
                else "no model.safetensors and model.json in it"
            )
        )
    return load_model(path)


def trained_jitter(info: "ModelInfo") -> tuple[float, float]:
    """The training scales, which the test scale belongs to."""
    from vidnas.data.augment import JITTER

    return info.jitter or JITTER
