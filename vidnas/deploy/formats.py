"""The file formats that a network is exported to: how each is written, loaded back and used."""

import errno
import importlib.util
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

from vidnas.base.errors import VidnasError

Format = Literal["torch", "onnx", "openvino"]
Runner = Callable[[Tensor], Tensor]
INPUT_NAME = "clips"
METADATA_KEY = "vidnas"


@dataclass(frozen=True)
class FileFormat:
    """One format.

    Attributes:
        suffix: of the file that a user names.
        extra_suffix: of a second file beside it (the weights, where they live apart), or None.
        packages: what writing and checking need beyond vidnas's own dependencies.
        write: (program, metadata, path) -> None.
        load: path -> a function from clips (N, 3, T, S, S) to the output, run by the format's own runtime on the CPU.
        usage: one line of Python that runs the file; `{path}` stands for it.
    """

    suffix: str
    extra_suffix: str | None
    packages: tuple[str, ...]
    write: Callable[[ExportedProgram, Mapping[str, Any], Path], None]
    load: Callable[[Path], Runner]
    usage: str

    def require_packages(self) -> None:
        """Raise VidnasError when a package that the format needs is not installed."""
        require_packages(self.packages, f"{self.suffix} files need")


def require_packages(packages: Sequence[str], need: str) -> None:
    """Raise VidnasError, with what `need`s them, when packages of the export extra are not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise VidnasError(f"{need} {', '.join(missing)}: pip install 'vidnas[export]'")


def _write_torch(program: ExportedProgram, metadata: Mapping[str, Any], path: Path) -> None:
    # By way of memory: on a full disk torch's own writer ends the process.
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={f"{METADATA_KEY}.json": json.dumps(metadata)})
    path.write_bytes(buffer.getbuffer())


def _load_torch(path: Path) -> Runner:
    """Run a .pt2 file.

    `torch.export.load` is not safe: it falls back to unpickling whatever a file holds, so a crafted one runs code.
    Files written here hold weights as raw bytes and one example clip as a plain tensor, nothing else; only a file that
    was just written is loaded here. ONNX and OpenVINO files hold no Python objects.
    """
    return torch.export.load(path).module()


def _write_onnx(program: ExportedProgram, metadata: Mapping[str, Any], path: Path) -> None:
    exported = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=[INPUT_NAME], output_names=[metadata["output"]["name"]]
    )
    assert exported is not None
    graph = exported.model.graph
    foreign = {f"{node.domain}::{node.op_type}" for node in graph if node.domain not in ("", "ai.onnx")}
    if foreign:
        raise VidnasError(f"ONNX has no standard operator for {', '.join(sorted(foreign))}: export to another format")
    for value in (*graph.inputs, *graph.outputs):
        # The exporter calls a dynamic axis `s77` or the like.
        assert value.shape is not None
        if not isinstance(value.shape[0], int):
            value.shape[0] = "batch"
    exported.model.metadata_props[METADATA_KEY] = json.dumps(metadata)
    exported.save(path)


def _load_onnx(path: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda clips: torch.from_numpy(session.run(None, {INPUT_NAME: clips.numpy()})[0])


def _write_openvino(program: ExportedProgram, metadata: Mapping[str, Any], path: Path) -> None:
    """By way of ONNX: `openvino.convert_model` reports what it does to a server unless told not to."""
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        onnx_file = Path(folder, "model.onnx")
        _write_onnx(program, metadata, onnx_file)
        model = openvino.Core().read_model(onnx_file)
        model.set_rt_info(json.dumps(metadata), METADATA_KEY)
        # Half precision by default; its rounding is beyond what the parity check lets pass.
        try:
            openvino.save_model(model, path, compress_to_fp16=False)
        except RuntimeError as error:
            if "iostream" not in str(error):
                raise
            raise OSError(errno.EIO, "the disk is full or refuses", str(path)) from error


def _load_openvino(path: Path) -> Runner:
    import openvino

    # Without the hint OpenVINO computes in bfloat16 where the processor can.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda clips: torch.from_numpy(compiled({INPUT_NAME: clips.numpy()})[0])


FORMATS: dict[Format, FileFormat] = {
    "torch": FileFormat(
        suffix=".pt2",
        extra_suffix=None,
        packages=(),
        write=_write_torch,
        load=_load_torch,
        usage='torch.export.load("{path}").module()(clips)',
    ),
    "onnx": FileFormat(
        suffix=".onnx",
        extra_suffix=None,
        packages=("onnx", "onnxscript", "onnxruntime"),
        write=_write_onnx,
        load=_load_onnx,
        usage='onnxruntime.InferenceSession("{path}").run(None, {{"clips": clips}})[0]',
    ),
    "openvino": FileFormat(
        suffix=".xml",
        extra_suffix=".bin",
        packages=("openvino", "onnx", "onnxscript"),
        write=_write_openvino,
        load=_load_openvino,
        usage='openvino.Core().compile_model("{path}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})(clips)[0]',
    ),
}
