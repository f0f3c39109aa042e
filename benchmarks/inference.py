"""Milliseconds of one clip through X3D-S in inference: ours, pytorchvideo's, and exported.

    make bench-infer                                   CPU, float32, 1 and 2 threads
    make bench-infer OPTIONS="--device cuda"           float32 and bfloat16 autocast

All variants take turns in one process, batch 1, 13x160x160; on a CPU the exported network runs in OpenVINO and ONNX
Runtime too.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import command_of, in_turns, save
from training_step import CPU_TABLES, PEER, make_network

from vidnas.deploy.export import export
from vidnas.deploy.fold import fold_norms
from vidnas.engine.run.runtime import tune_allocator
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


def in_torch(device: torch.device) -> tuple[VideoNetwork, dict[str, Callable[[], Any]]]:
    """Our network, and the variants that run in PyTorch; on a GPU each in float32 and in bfloat16 autocast."""
    clips = random_clips().to(device)
    last = clips.to(memory_format=torch.channels_last_3d)
    ours, peer = (make_network(name, TABLE).eval().to(device) for name in ("ours", PEER))
    assert isinstance(ours, VideoNetwork)
    folded = fold_norms(ours)
    methods: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(last),
        "ours, norms folded": lambda: folded(last),
        PEER: lambda: peer(clips),
    }
    if device.type == "cuda":
        methods |= {f"{name}, bfloat16": under_autocast(run) for name, run in methods.items()}
    return ours, methods


def under_autocast(run: Callable[[], Any]) -> Callable[[], Any]:
    def cast() -> Any:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return run()

    return cast


def exported(network: VideoNetwork, folder: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """Our network in other runtimes."""
    files = {"onnx": folder / "x3d_s.onnx", "openvino": folder / "x3d_s.xml"}
    info = ModelInfo(spec=network.spec, classes=tuple(map(str, range(400))))
    for form, path in files.items():
        export(network, info, form, path)  # type: ignore[arg-type]
    array = random_clips().numpy()
    runners = {
        "ONNX Runtime": onnx_runner(files["onnx"], threads),
        "OpenVINO f32": openvino_runner(files["openvino"], threads, "f32"),
        "OpenVINO bf16": openvino_runner(files["openvino"], threads, "bf16"),
    }
    return {name: lambda run=run: run(array) for name, run in runners.items()}  # type: ignore[misc]


def random_clips() -> torch.Tensor:
    return torch.randn(1, 3, TABLE.clip.frames, TABLE.clip.size, TABLE.clip.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune_allocator()
    device = torch.device(options.device)
    ours, methods = in_torch(device)
    rows = []
    for threads in (1, 2) if device.type == "cpu" else (1,):
        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as name, torch.inference_mode():
            others = exported(ours, Path(name), threads) if device.type == "cpu" else {}
            seconds = in_turns(methods | others, options.repeats, device)
        ms = {method: value * 1e3 for method, value in seconds.items()}
        rows.append({"threads": threads, "ms": ms})
        print(f"{threads} threads:", ", ".join(f"{method} {value:.1f} ms" for method, value in ms.items()))
    result = {"network": TABLE.network, "clip": str(TABLE.clip), "batch": 1, "device": str(device), "tables": rows}
    save(options.out, command_of("bench-infer", parser, options), result, threads_in_record=True)


if __name__ == "__main__":
    main()
