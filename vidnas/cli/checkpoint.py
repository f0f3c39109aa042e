"""What the verbs that use a trained network share: finding and reading it, and what it was trained with."""

from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.base.errors import VidnasError
from vidnas.base.log import log

if TYPE_CHECKING:
    from vidnas.nn.build import VideoNetwork
    from vidnas.nn.weights import ModelInfo

CHECKPOINT = "a run folder, or its model.safetensors; of a whole `vidnas run` the network that was searched"


def trained_in(path: Path) -> Path:
    """`path`, or `path/searched` with a note where that is the folder of a whole `vidnas run`."""
    inner = path / "searched"
    if (path / "model.safetensors").exists() or not inner.is_dir():
        return path
    log.warning(f"note: {path} is a whole run; taking the network that was searched, {inner}")
    return inner


def load_checkpoint(path: Path) -> "tuple[VideoNetwork, ModelInfo]":
    """The network of a run folder or a model.safetensors, in evaluation mode.

    Raises:
        VidnasError: nothing there, or a run that is not finished.
    """
    from vidnas.nn.weights import load_model

    if not path.exists() and not path.with_name(f"{path.name}.safetensors").exists():
        raise VidnasError(f"{path}: no such run folder or model file")
    if path.is_dir() and not _is_finished(path):
        raise VidnasError(f"{path}: {_why_none(path)}")
    if path.is_file() and path.suffix not in (".safetensors", ".json"):
        raise VidnasError(f"{path}: {_instead_of(path)}")
    return load_model(path)


def trained_jitter(info: "ModelInfo") -> tuple[float, float]:
    """The training scales, which the test scale belongs to."""
    from vidnas.data.augment import JITTER

    return info.jitter or JITTER


def _is_finished(folder: Path) -> bool:
    return (folder / "model.safetensors").exists() and (folder / "model.json").exists()


def _instead_of(file: Path) -> str:
    """What to give in place of a file that is no trained network."""
    for folder in (file.parent, file.parent / "searched"):
        if _is_finished(folder):
            return f"no trained network; give its run folder, {file.parent}"
    if file.suffix in (".ckpt", ".pt", ".pth", ".pyth", ".bin"):
        if (file.parent / "run.json").exists():
            return f"the state of a run, no trained network; in its folder, {_why_none(file.parent)}"
        return (
            "weights without a description of their network; `vidnas train --arch NAME --weights FILE` starts from "
            "them, and leaves a run folder"
        )
    return "no trained network; give a run folder, or its model.safetensors"


def _why_none(folder: Path) -> str:
    """Why a folder holds no trained network."""
    if (folder / "search").is_dir() or (folder / "race").is_dir():
        return "this run has not come to its trainings yet; the same `vidnas run` with --resume goes on"
    if (folder / "searched.json").exists():
        return f"a search, whose network is not trained yet: `vidnas train --arch {folder / 'searched.json'}`"
    if (folder / "winner.json").exists():
        return f"a race, whose winner is not trained yet: `vidnas train --arch {folder / 'winner.json'}`"
    if (folder / "race.json").exists():
        return "a race that is not finished; the same `vidnas race` with --resume goes on"
    if (folder / "space.json").exists():
        return "a search that is not finished; the same `vidnas search` with --resume goes on"
    if (folder / "last.ckpt").exists():
        return "this run is not finished; train it to the end with --resume"
    beside = f"; its run folder is {folder.parent}" if _is_finished(folder.parent) else ""
    return f"no model.safetensors and model.json in it{beside}"
