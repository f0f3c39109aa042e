"""Milliseconds of one clip through X3D-S in inference: ours, pytorchvideo's, and exported.

    make bench-infer

All variants take turns in one process, batch 1, 13x160x160; the exported network runs in OpenVINO and ONNX Runtime.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import in_turns, save
from training_step import CPU_TABLES, PEER, make_network

from vidnas.data.augment import MEAN, STD
from vidnas.deploy.export import export
from vidnas.deploy.fold import fold_norms
from vidnas.engine.runtime import tune_allocator
from vidnas.nn.build import VideoNetwork
from vidnas.nn.weights import ModelInfo

TABLE = CPU_TABLES[0]


def onnx_runner(path: Path, threads: int) -> Callable[[Any], Any]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda clips: session.run(None, {name: clips})


def openvino_runner(path: Path, threads: int, precision: str) -> Callable[[Any], Any]:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda clips: request.infer([clips])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_allocator()
    device, clip = torch.device("cpu"), TABLE.clip
    clips = torch.randn(1, 3, clip.frames, clip.size, clip.size)
    last, array = clips.to(memory_format=torch.channels_last_3d), clips.numpy()
    ours, peer = make_network("ours", TABLE).eval(), make_network(PEER, TABLE).eval()
    assert isinstance(ours, VideoNetwork)
    folded = fold_norms(ours)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        files = {form: Path(name) / f"x3d_s.{suffix}" for form, suffix in (("onnx", "onnx"), ("openvino", "xml"))}
        colours = (MEAN,) * 3, (STD,) * 3
        info = ModelInfo(spec=ours.spec, classes=tuple(map(str, range(400))), mean=colours[0], std=colours[1])
        for form, path in files.items():
            export(ours, info, form, path)  # type: ignore[arg-type]
        for threads in (1, 2):
            torch.set_num_threads(threads)
            onnx = onnx_runner(files["onnx"], threads)
            vino = {p: openvino_runner(files["openvino"], threads, p) for p in ("f32", "bf16")}
            methods: dict[str, Callable[[], Any]] = {
                "ours": lambda: ours(last),
                "ours, norms folded": lambda: folded(last),
                PEER: lambda: peer(clips),
                "ONNX Runtime": lambda run=onnx: run(array),  # type: ignore[misc]
                "OpenVINO f32": lambda run=vino["f32"]: run(array),  # type: ignore[misc]
                "OpenVINO bf16": lambda run=vino["bf16"]: run(array),  # type: ignore[misc]
            }
            with torch.inference_mode():
                seconds = in_turns(methods, options.repeats, device)
            ms = {method: value * 1e3 for method, value in seconds.items()}
            rows.append({"threads": threads, "ms": ms})
            print(f"{threads} threads:", ", ".join(f"{method} {value:.1f} ms" for method, value in ms.items()))
    save(options.out, "make bench-infer", {"network": "x3d_s", "clip": str(clip), "batch": 1, "tables": rows})


if __name__ == "__main__":
    main()
