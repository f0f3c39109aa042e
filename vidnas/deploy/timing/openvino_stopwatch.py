"""Timing in OpenVINO on a CPU, of networks and sub-layers converted as `vidnas export` converts."""

import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidnas.arch.latency import Device
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.sub_layers import SubLayer
from vidnas.deploy.fold import fold_norms
from vidnas.deploy.formats import FORMATS, require_packages
from vidnas.deploy.timing.stopwatch import LEAST_ROUNDS, NETWORK_CALLS, Call, in_turns, parts, undisturbed
from vidnas.deploy.timing.sub_layers import make_sub_layer
from vidnas.deploy.timing.torch_stopwatch import random_clips, random_network
from vidnas.nn.backends import use_backend

# Converting takes a second and a tenth for each sub-layer in it, so many share one conversion.
_CONVERTED_TOGETHER = 100
# OpenVINO reports a node's mean over all calls, in which one disturbance weighs much: the least of several copies.
_COPIES = 3


class OpenVinoStopwatch:
    """Times converted models in float32, as the file format's own line of use runs them.

    A sub-layer on its own would be timed with changes of memory layout and the start of a request, of which a network
    has one each. So OpenVINO's own count per node is taken, less the layout changes.

    Args:
        threads: of OpenVINO.

    Raises:
        VidnasError: a package is missing.
    """

    device: Device = "openvino"

    def __init__(self, threads: int) -> None:
        require_packages(FORMATS["openvino"].packages, "device openvino needs")
        import openvino

        self._core = openvino.Core()
        self._settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}

    def sub_layers(self, shapes: Sequence[SubLayer], frames: int, together: int) -> list[float]:
        """See `Stopwatch`."""
        ms = []
        for part in parts(len(shapes), max(together, _CONVERTED_TOGETHER)):
            ms += self._converted_together(shapes[part], frames)
        return ms

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        """See `Stopwatch`."""
        calls = [self.network_call(spec, spec.clip) for spec in specs]
        return [undisturbed(times) for times in in_turns(calls, in_a_row=NETWORK_CALLS)]

    def network_call(self, spec: ArchSpec, clip: ClipSpec, batch_size: int = 1) -> Call:
        """See `Stopwatch`."""
        network, clips = random_network(spec), random_clips(spec, clip, batch_size).contiguous()
        with torch.no_grad():
            network(clips)  # refuses in plain words what it cannot take
        return _timed(self._request(self._convert(network, (clips,)), {}), [clips])

    def _converted_together(self, shapes: Sequence[SubLayer], frames: int) -> list[float]:
        import openvino

        runnables = [make_sub_layer(shape, frames) for shape in shapes]
        inputs = [[tensor.contiguous() for tensor in runnable.inputs] for runnable in runnables]
        model = self._convert(_SideBySide([runnable.module for runnable in runnables]), (inputs,))
        parameters = iter(model.get_parameters())
        alone = [
            openvino.Model([result], [next(parameters) for _ in own])
            for result, own in zip(model.get_results(), inputs, strict=True)
        ]
        ms = []
        for _ in range(_COPIES):
            requests = [self._request(part, {"PERF_COUNT": True}) for part in alone]
            in_turns([_timed(request, own) for request, own in zip(requests, inputs, strict=True)], LEAST_ROUNDS)
            ms.append([_ms_of_nodes(request) for request in requests])
        return [min(copies) for copies in zip(*ms, strict=True)]

    def _request(self, model: Any, settings: Mapping[str, Any]) -> Any:
        return self._core.compile_model(model, "CPU", {**self._settings, **settings}).create_infer_request()

    def _convert(self, module: nn.Module, example: tuple[Any, ...]) -> Any:
        """An openvino.Model of the module with its norms folded, on stock operators."""
        folded = use_backend(fold_norms(module), "stock")
        with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            # The exporters warn about their own internals.
            warnings.simplefilter("ignore")
            program = torch.export.export(folded, example)
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
            assert exported is not None
            path = Path(folder, "model.onnx")
            exported.save(path)
            return self._core.read_model(path)


class _SideBySide(nn.Module):
    """Sub-layers that have nothing to do with each other, each with its own inputs and output."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, inputs: list[list[Tensor]]) -> list[Tensor]:
        return [part(*own) for part, own in zip(self.parts, inputs, strict=True)]


def _timed(request: Any, inputs: Sequence[Tensor]) -> Call:
    arrays = [tensor.numpy() for tensor in inputs]

    def call() -> float:
        start = time.perf_counter()
        request.infer(arrays)
        return (time.perf_counter() - start) * 1e3

    return call


def _ms_of_nodes(request: Any) -> float:
    """Mean time per call of everything but changes of memory layout; OpenVINO counts whole microseconds."""
    nodes = request.get_profiling_info()
    ms = sum(node.real_time.total_seconds() for node in nodes if node.node_type != "Reorder") * 1e3
    return max(ms, 0.0005)
