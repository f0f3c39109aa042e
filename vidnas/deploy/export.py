"""Write a trained network as a file that another runtime reads, and refuse a file that computes something else.

Everything goes through one `torch.export` program with the norms folded; only stock operators are let through.
"""

import copy
import json
import math
import operator
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.data.augment import JITTER, Views, ViewTransform
from vidnas.deploy.fold import fold_norms
from vidnas.deploy.formats import FORMATS, INPUT_NAME, FileFormat, Format, Runner
from vidnas.deploy.preprocessing import describe_postprocessing, describe_preprocessing
from vidnas.nn.backends import use_backend
from vidnas.nn.build import VideoNetwork
from vidnas.nn.weights import ModelInfo

# Of max|logit|. Summing in another order costs float32 about 1e-6; half precision costs 5e-4 (float16) and 4e-3
# (bfloat16), and a wrong constant, layout or missing layer more than that. In between lies what is refused.
TOLERANCE = 1e-4
# The views that a video is predicted from unless others are asked for.
PREDICTED = Views(10, 1)


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: the file that the runtime opens.
        metadata_path: JSON beside it: classes, names and shapes of input and output, and how a video becomes the input.
        size_mib: of everything the runtime reads.
        max_difference: from eager on random clips, relative to max|logit|; at most `TOLERANCE`.
        metadata: what `metadata_path` holds.
        usage: one line of Python that runs it on `clips`.
    """

    path: Path
    metadata_path: Path
    size_mib: float
    max_difference: float
    metadata: dict[str, Any]
    usage: str


def export(
    network: VideoNetwork,
    info: ModelInfo,
    file_format: Format,
    out: str | Path,
    *,
    clip: ClipSpec | None = None,
    views: Views = PREDICTED,
    dynamic_batch: bool = False,
    overwrite: bool = False,
) -> ExportResult:
    """Write `network` in evaluation mode to `out`, check the file against eager, and describe it in JSON beside it.

    The input is float32 (N, 3, T, S, S), made from a video as the metadata says; the output is logits
    (N, num_classes), or features (N, head.hidden) where there are no classes. S is the clip's size with one crop and
    the short side of testing with three. The network itself is left as it is.

    Args:
        network: what to export; weights are taken as float32.
        info: what it was trained on.
        file_format: `torch` (torch.export), `onnx` or `openvino`.
        out: path of the file, ending in the format's suffix.
        clip: frames and training crop; default the network's own.
        views: clips x crops of a video that it will be given; the number of clips is only noted.
        dynamic_batch: N may vary; otherwise it is 1.
        overwrite: replace files that exist.

    Raises:
        VidnasError: a package is missing, `out` cannot be written or exists, the clip is too small for the network,
            an operator is not a stock one, or the outputs differ. Nothing is left behind then.
    """
    clip = clip or network.spec.clip
    transform = ViewTransform(clip.size, views.spatial, jitter=info.jitter or JITTER)
    seen = clip.model_copy(update={"size": transform.crop})
    target, out = FORMATS[file_format], Path(out)
    metadata_path = out.with_name(f"{out.name}.json")
    target.require_packages()
    _check_place(target, out, metadata_path, overwrite)
    reference = copy.deepcopy(network).cpu().float().eval()
    clips = _random_clips(seen, 3)
    batches = [clips[:1], clips] if dynamic_batch else [clips[:1], clips[1:2]]
    with torch.no_grad(), warnings.catch_warnings():
        # The exporters warn about their own internals; what matters to us is compared.
        warnings.simplefilter("ignore")
        expected = [reference(batch) for batch in batches]
        batch: int | str = "batch" if dynamic_batch else 1
        metadata = {
            **_metadata(network, info, clip, [batch, *clips.shape[1:]], expected[0]),
            "preprocessing": describe_preprocessing(clip, views, transform, info),
            "postprocessing": describe_postprocessing(network.spec.head),
        }
        program = _trace(use_backend(fold_norms(reference), "stock"), seen, dynamic_batch)
        try:
            # Beside the final place, so that files that have passed only need renaming.
            with tempfile.TemporaryDirectory(prefix=".vidnas-export-", dir=out.parent) as name:
                folder = Path(name)
                target.write(program, metadata, folder / out.name)
                size_mib = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
                difference = max_difference(target.load(folder / out.name), batches, expected)
                _refuse_difference(difference, out)
                parity = {"max_difference": difference, "tolerance": TOLERANCE, "relative_to": "max|output| of eager"}
                described = {"format": file_format, **metadata, "parity": parity}
                (folder / metadata_path.name).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
                for path in _files(target, out, metadata_path):
                    os.replace(folder / path.name, path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise VidnasError(f"{out}: cannot be written ({reason}); make room or choose another folder") from error
    return ExportResult(out, metadata_path, size_mib, difference, described, target.usage.format(path=out))


def max_difference(run: Runner, batches: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest |run(batch) - expected| over the batches, each relative to its max|expected|.

    NaN or another shape counts as infinite.
    """
    worst = 0.0
    for batch, wanted in zip(batches, expected, strict=True):
        got = run(batch)
        if got.shape != wanted.shape:
            return math.inf
        scale = wanted.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
        difference = float((got - wanted).abs().max() / scale)
        worst = max(worst, math.inf if math.isnan(difference) else difference)
    return worst


def _refuse_difference(difference: float, out: Path) -> None:
    if difference > TOLERANCE:
        raise VidnasError(
            f"{out}: not written, its output differs from the network's by {difference:.2g} of max|logit| "
            f"(limit {TOLERANCE:g}): export to another format, and report this network"
        )


def _trace(network: VideoNetwork, clip: ClipSpec, dynamic_batch: bool) -> ExportedProgram:
    # A batch of one would be taken for a constant.
    example = torch.zeros(2 if dynamic_batch else 1, 3, clip.frames, clip.size, clip.size)
    shapes = {"x": {0: Dim("batch")}} if dynamic_batch else None
    program = torch.export.export(network, (example,), dynamic_shapes=shapes)
    foreign = {str(node.target) for node in program.graph.nodes if node.op == "call_function" and not _is_stock(node)}
    if foreign:
        raise VidnasError(f"{', '.join(sorted(foreign))}: not a stock operator, other runtimes do not have it")
    return program


def _is_stock(node: torch.fx.Node) -> bool:
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target.namespace == "aten"
    # Arithmetic on sizes.
    return getattr(operator, getattr(node.target, "__name__", ""), None) is node.target


def _random_clips(clip: ClipSpec, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, clip.frames, clip.size, clip.size, generator=generator)


def _metadata(
    network: VideoNetwork, info: ModelInfo, clip: ClipSpec, input_shape: list[int | str], output: Tensor
) -> dict[str, Any]:
    """What the file is, its classes, its input and its output."""
    if not bool(output.isfinite().all()):
        raise VidnasError("the network's own output is not finite: its weights are broken, train again")
    spec = network.spec
    return {
        "architecture": spec.name,
        "spec_hash": spec.content_hash,
        "spec": spec.model_dump(mode="json"),
        "clip": clip.model_dump(mode="json"),
        "mean": list(info.mean),
        "std": list(info.std),
        "classes": list(info.classes),
        "input": {"name": INPUT_NAME, "shape": input_shape, "dtype": "float32"},
        "output": {
            "name": "logits" if spec.head.num_classes else "features",
            "shape": [input_shape[0], output.shape[1]],
            "dtype": "float32",
        },
        "versions": dict(info.versions),
    }


def _check_place(target: FileFormat, out: Path, metadata_path: Path, overwrite: bool) -> None:
    if out.suffix != target.suffix:
        raise VidnasError(f"{out}: the name of this format's files ends in {target.suffix}")
    if not out.parent.is_dir():
        raise VidnasError(f"{out}: there is no folder {out.parent}; make it first")
    if out.is_dir():
        raise VidnasError(f"{out}: is a folder; name a file")
    existing = [path for path in _files(target, out, metadata_path) if path.exists()]
    if existing and not overwrite:
        raise VidnasError(f"{existing[0]}: exists; use another name, or --force to replace it")


def _files(target: FileFormat, out: Path, metadata_path: Path) -> Iterator[Path]:
    """What lies on disk in the end; the file that a user names comes last, when all it needs is there."""
    if target.extra_suffix:
        yield out.with_suffix(target.extra_suffix)
    yield metadata_path
    yield out
