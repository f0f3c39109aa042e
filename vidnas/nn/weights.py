"""Weights into networks, from our own files and official ones; models into files and back."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vidnas.arch.pixels import MEAN, STD
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.document import Frozen
from vidnas.base.errors import VidnasError
from vidnas.base.files import ANOTHER_PLACE, replace_file
from vidnas.base.mistakes import FieldError, explain
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.official_keys import OurState, projection_norm_of, to_ours
from vidnas.nn.one_stream import as_first_stream, is_one_stream
from vidnas.nn.state_files import one_line, read_state_file

_CLASSIFIER = ("head.fc2.weight", "head.fc2.bias")
_SHOWN = 3


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a weight file and of the network.

    Attributes:
        source: the file.
        dialect: code base whose names it had: `vidnas`, `pytorchvideo` or `SlowFast`.
        loaded: tensors of the network that the file gave.
        replaced: tensors of the network that start afresh, each with the reason.
        left: tensors of the file that the network does not have.
        notes: what was adapted to make them fit.
        beside: what the file holds beside the weights.
    """

    source: str
    dialect: str
    loaded: tuple[str, ...]
    replaced: tuple[tuple[str, str], ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether every tensor went over, nothing was left and nothing adapted."""
        return not (self.replaced or self.left or self.notes)

    def table(self) -> str:
        """One row per fact, whole counts first."""
        rows = [("loaded", f"{len(self.loaded)} tensors")]
        rows += [("replaced", f"{name}: {reason}") for name, reason in self.replaced]
        rows += [("left", name) for name in self.left]
        rows += [("note", note) for note in self.notes]
        rows += [("beside", ", ".join(self.beside))] if self.beside else []
        head = f"{self.source} ({self.dialect} names)"
        return "\n".join([head, *(f"  {kind:<9} {text}" for kind, text in rows)])


class ModelInfo(Frozen):
    """What `model.json` says of the weights beside it.

    Attributes:
        format: version of this file's layout.
        spec: the network, with the clip that it was trained on.
        classes: names, in the order of the logits.
        mean: subtracted from pixels in [0, 1], per colour; there is one rule for all, which others can read here.
        std: divides them after that.
        config: how the network was trained, as plain JSON.
        versions: versions of the packages that wrote the file.
    """

    format: Literal[1] = 1
    spec: ArchSpec
    classes: tuple[str, ...]
    mean: tuple[float, float, float] = (MEAN,) * 3
    std: tuple[float, float, float] = (STD,) * 3
    config: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _as_clips_are_made(self) -> Self:
        for name, value in (("mean", MEAN), ("std", STD)):
            if getattr(self, name) != (value,) * 3:
                raise FieldError(
                    (name,), f"must be {value} of each colour, as clips are made; train the network on such"
                )
        return self

    @property
    def clip(self) -> ClipSpec:
        """The clip that the network was trained on."""
        return self.spec.clip

    @property
    def jitter(self) -> tuple[float, float] | None:
        """The training scales as multiples of the crop, whose lower end is the test scale; None if not known."""
        found = self.config.get("jitter")
        return None if found is None else (float(found[0]), float(found[1]))


def load_weights(network: VideoNetwork, path: str | Path) -> LoadReport:
    """Fill a network from a weight file: ours, pytorchvideo's or SlowFast's; `.safetensors` or torch.save's.

    A classifier of another number of classes keeps its fresh weights, and the weights of a network of one stream
    become stream 0 of a network of two; the report says so. Nothing is changed when an error is raised.

    Raises:
        VidnasError: unreadable, or weights of another architecture; names the first tensors that differ.
    """
    state, beside = _read(path)
    return _fill(network, state, str(path), beside, ())


def build_with_weights(
    spec: ArchSpec, path: str | Path, *, zero_init_residual: bool = True
) -> tuple[VideoNetwork, LoadReport]:
    """Build a network and fill it; takes `projection_norm` from the file, since official files differ in it.

    Args:
        spec: of the network.
        path: the weight file, as for `load_weights`.
        zero_init_residual: of what the file does not have; see `vidnas.nn.initialise.initialise`.

    Raises:
        VidnasError: as `load_weights`.
    """
    state, beside = _read(path)
    notes = []
    streams = list(spec.streams)
    for s, stream in enumerate(streams):
        found = projection_norm_of({name: t for name, t in state.tensors.items() if name.startswith(f"streams.{s}.")})
        if found is not None and stream.projection_norm != found:
            has = f"{spec.name} has {stream.projection_norm!r}"
            notes.append(f"streams.{s}.projection_norm is {found!r}, as in the file ({has})")
            streams[s] = stream.model_copy(update={"projection_norm": found})
    spec = spec.model_copy(update={"streams": tuple(streams)})
    network = build(spec, zero_init_residual=zero_init_residual)
    return network, _fill(network, state, str(path), beside, tuple(notes))


def save_model(
    path: str | Path,
    network: VideoNetwork,
    *,
    classes: Sequence[str],
    config: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """Write `model.safetensors` and `model.json`; each replaces an older one whole, or not at all.

    Args:
        path: an existing folder, or the files' common path without a suffix.
        network: the network to save.
        classes: names in the order of the logits.
        config: how it was trained; plain JSON.

    Raises:
        VidnasError: class names that do not fit the network, config that is not JSON, a disk that refuses.
    """
    weights_path, info_path = _files(path)
    try:
        info = ModelInfo.model_validate(
            {
                "spec": network.spec,
                "classes": tuple(classes),
                "config": dict(config or {}),
                "versions": {
                    "python": platform.python_version(),
                    "torch": version("torch"),
                    "vidnas": version("vidnas"),
                },
            }
        )
        text = info.model_dump_json(indent=2) + "\n"
    except ValueError as error:
        reason = explain(error, ModelInfo) if isinstance(error, ValidationError) else one_line(error)
        raise VidnasError(f"{info_path}: cannot save the model: {reason}") from error
    _check_classes(info, info_path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    metadata = {"spec": network.spec.to_json()}
    # As bytes: safetensors' own file is readable by its owner only.
    replace_file(weights_path, save(tensors, metadata), shared=True, mend=ANOTHER_PLACE)
    replace_file(info_path, text, shared=True, mend=ANOTHER_PLACE)
    return ModelInfo.model_validate_json(text)


def load_model(path: str | Path) -> tuple[VideoNetwork, ModelInfo]:
    """Read what `save_model` wrote: the network in evaluation mode, and what is known of it.

    Args:
        path: a path as for `save_model`, or one of the two files.

    Raises:
        VidnasError: a file is missing, damaged, or does not belong to the other.
    """
    weights_path, info_path = _files(path)
    info = _read_info(info_path)
    saved_as = _spec_of_weights(weights_path)
    if saved_as is not None and saved_as.content_hash != info.spec.content_hash:
        raise VidnasError(
            f"{weights_path}: weights of another network than the one in {info_path.name}; save them again"
        )
    network = build(info.spec)
    report = load_weights(network, weights_path)
    if not report.is_plain:
        raise VidnasError(
            f"{weights_path}: not the network in {info_path.name}: {report.table().splitlines()[2].strip()}"
        )
    return network.eval(), info


def _read(path: str | Path) -> tuple[OurState, tuple[str, ...]]:
    """A weight file under our names, and what else the file holds."""
    path = Path(path)
    file = read_state_file(_files(path)[0] if path.is_dir() else path)
    try:
        return to_ours(file.tensors), file.beside
    except VidnasError as error:
        raise VidnasError(f"{path}: {error}") from error


def _fill(
    network: VideoNetwork, state: OurState, source: str, beside: tuple[str, ...], notes: tuple[str, ...]
) -> LoadReport:
    own, tensors = network.state_dict(), state.tensors
    replaced, left = _classifier_changes(own, tensors)
    fresh = {name for name, _ in replaced}
    if is_one_stream(network.spec, tensors):
        part = as_first_stream(network.spec, own, tensors)
        tensors, notes = part.tensors, (*notes, *part.notes)
        replaced, fresh = [*replaced, *part.replaced], fresh | part.fresh
    given = {name: value for name, value in tensors.items() if name not in left and name not in fresh}
    # Files of old torch versions lack these counters, which only a cumulative average reads.
    counters = [name for name in own if name.endswith("num_batches_tracked") and name not in {*given, *fresh}]
    _check_same_network(own, given, {*fresh, *counters}, network.spec, source)
    network.load_state_dict(given, strict=False)
    if counters:
        replaced.append((f"{len(counters)} norms' num_batches_tracked", "not in the file"))
    return LoadReport(
        source=source,
        dialect=state.dialect,
        loaded=tuple(given),
        replaced=tuple(replaced),
        left=(*left, *state.left),
        notes=notes,
        beside=beside,
    )


def _classifier_changes(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> tuple[list[tuple[str, str]], list[str]]:
    """The last layer is the one that may differ: (tensors that start afresh and why, tensors left in the file)."""
    replaced, left = [], []
    for name in _CLASSIFIER:
        if name not in own:
            left += [name] if name in given else []
        elif name not in given:
            replaced.append((name, "not in the file"))
        elif own[name].shape[0] != given[name].shape[0] and own[name].shape[1:] == given[name].shape[1:]:
            replaced.append((name, f"{given[name].shape[0]} classes in the file, {own[name].shape[0]} in the network"))
    return replaced, left


def _check_same_network(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], replaced: set[str], spec: ArchSpec, source: str
) -> None:
    differences = [
        f"{name} {_shape(given, name)} in the file, {_shape(own, name)} in the network"
        for name in [*own, *(name for name in given if name not in own)]
        if name not in replaced and _shape(own, name) != _shape(given, name)
    ]
    if not differences:
        return
    found = projection_norm_of(given)
    if all(".shortcut_norm." in line for line in differences):
        raise VidnasError(
            f"{source}: its projections have norms as projection_norm {found!r} says, but the network was built with "
            f"{_projection_norm(spec)!r}; create_model(..., weights=FILE) takes the file's"
        )
    more = f"; {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    raise VidnasError(f"{source}: weights of another network than {spec.name}: {'; '.join(differences[:_SHOWN])}{more}")


def _shape(state: Mapping[str, Tensor], name: str) -> str:
    return "x".join(map(str, state[name].shape)) or "scalar" if name in state else "absent"


def _projection_norm(spec: ArchSpec) -> str:
    return ", ".join(dict.fromkeys(stream.projection_norm for stream in spec.streams))


def _files(path: str | Path) -> tuple[Path, Path]:
    path = Path(path)
    if path.is_dir():
        path = path / "model"
    elif path.suffix in (".safetensors", ".json"):
        path = path.with_suffix("")
    return path.with_name(path.name + ".safetensors"), path.with_name(path.name + ".json")


def _read_info(path: Path) -> ModelInfo:
    try:
        info = ModelInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise VidnasError(f"{path}: {explain(error, ModelInfo)}") from error
    except OSError as error:
        raise VidnasError(f"{path}: cannot read the model's description ({error.strerror})") from error
    _check_classes(info, path)
    return info


def _spec_of_weights(path: Path) -> ArchSpec | None:
    """The spec that `save_model` wrote into the weights' header, to notice a pair of files that was mixed up."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("spec")
    except (SafetensorError, OSError) as error:
        raise VidnasError(f"{path}: cannot read the weights ({one_line(error)})") from error
    return None if text is None else ArchSpec.from_json(text, f"{path}, header")


def _check_classes(info: ModelInfo, path: Path) -> None:
    if len(info.classes) != info.spec.head.num_classes:
        raise VidnasError(f"{path}: {len(info.classes)} class names for {info.spec.head.num_classes} classes")
