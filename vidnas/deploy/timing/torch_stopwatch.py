"""Timing of our own modules on a CPU or a GPU, as `vidnas predict` runs them."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from vidnas.arch.latency import Device
from vidnas.arch.plan import network_units
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.sub_layers import SubLayer
from vidnas.base.errors import VidnasError
from vidnas.deploy.timing.stopwatch import NETWORK_CALLS, Call, in_turns, parts, undisturbed
from vidnas.deploy.timing.sub_layers import Runnable, make_sub_layer
from vidnas.nn.build import VideoNetwork, build

# A GPU works behind the program that feeds it: only many calls between two waits have the pace of a network.
_CUDA_CALLS = 10


class TorchStopwatch:
    """Times modules in evaluation mode and channels_last_3d.

    Args:
        device: cpu or cuda.

    Raises:
        VidnasError: there is no such device.
    """

    def __init__(self, device: Device) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise VidnasError("device cuda: torch finds no GPU here; use --device cpu or openvino")
        self.device: Device = device
        self._torch_device = torch.device(device)

    def sub_layers(self, shapes: Sequence[SubLayer], frames: int, together: int) -> list[float]:
        """See `Stopwatch`."""
        ms = []
        for part in parts(len(shapes), together):
            calls = [self._call(make_sub_layer(shape, frames)) for shape in shapes[part]]
            ms += [undisturbed(times) for times in in_turns(calls)]
        return ms

    def networks(self, specs: Sequence[ArchSpec]) -> list[float]:
        """See `Stopwatch`."""
        calls = [self.network_call(spec, spec.clip) for spec in specs]
        return [undisturbed(times) for times in in_turns(calls, in_a_row=NETWORK_CALLS)]

    def network_call(self, spec: ArchSpec, clip: ClipSpec, batch_size: int = 1) -> Call:
        """See `Stopwatch`."""
        return self._call(Runnable(random_network(spec), (random_clips(spec, clip, batch_size),)))

    def _call(self, runnable: Runnable) -> Call:
        module = runnable.module.to(self._torch_device)
        kept = [tensor.to(self._torch_device) for tensor in runnable.inputs]
        inputs = [tensor.clone(memory_format=torch.preserve_format) for tensor in kept]
        repeats = _CUDA_CALLS if self.device == "cuda" else 1

        @torch.inference_mode()
        def call() -> float:
            for target, source in zip(inputs, kept, strict=True):
                target.copy_(source)
            self._wait()
            start = time.perf_counter()
            for _ in range(repeats):
                module(*inputs)
            self._wait()
            return (time.perf_counter() - start) / repeats * 1e3

        return call

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def random_network(spec: ArchSpec) -> VideoNetwork:
    """In evaluation mode; no branch is zero, or a runtime might leave it out."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(spec, zero_init_residual=False).eval()


def random_clips(spec: ArchSpec, clip: ClipSpec, batch_size: int) -> Tensor:
    """(N, 3, T, S, S) in channels_last_3d, with as many colours as the network's stem takes."""
    generator = torch.Generator().manual_seed(0)
    colours = next(network_units(spec)).in_channels
    clips = torch.randn(batch_size, colours, clip.frames, clip.size, clip.size, generator=generator)
    return clips.to(memory_format=torch.channels_last_3d)
