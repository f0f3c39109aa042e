"""One set of weights that holds every network of a space ("super kernels").

The supernet has no forward pass of its own: a choice names an ordinary network (`vidnas.nn.build`), and that network
runs with slices of the supernet's tensors as its parameters. So a sampled network and the extracted one are the same
computation by construction, and `forward(clips, choice)` keeps no state.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vidnas.arch.plan import head_unit, stream_units
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import StreamUnit, Unit
from vidnas.nn.build import VideoNetwork, build, make_unit
from vidnas.nn.heads import ClassificationHead
from vidnas.nn.initialise import initialise
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import GroupChoice, StreamSpace
from vidnas.search.space.windows import WindowMode, channel_window, hidden_window
from vidnas.search.super_units import FIRST, KernelSharing, Window, Windows, make_super_unit

Module = TypeVar("Module", bound=nn.Module)


class SuperStream(nn.Module):
    """Stem, groups of super units by name, conv5: at the same paths as in a network."""

    def __init__(self, space: StreamSpace, plans: Iterable[StreamUnit], sharing: KernelSharing) -> None:
        super().__init__()
        units = [(plan, make_super_unit(plan, space, sharing)) for plan in plans]
        ends = {plan.key: unit for plan, unit in units if plan.group is None}
        self.stem = ends["stem"]
        self.groups = nn.ModuleList(nn.ModuleDict() for _ in space.groups)
        self.conv5 = ends["conv5"]
        for plan, unit in units:
            if plan.group is not None:
                self.groups[plan.group][plan.key] = unit  # type: ignore[operator]


def _windows(space: StreamSpace, choice: Sequence[GroupChoice], plan: StreamUnit, mode: WindowMode) -> Windows:
    """What a choice uses of a unit of its stream."""

    def outputs(g: int) -> Window:
        return channel_window(space.groups[g].channels, choice[g].channels, mode) if g >= 0 else everything

    everything = tuple(range(space.stem.channels))
    if plan.group is None:
        return Windows(outputs(len(choice) - 1), (), ())
    g, group, own = plan.group, space.groups[plan.group], choice[plan.group]
    first = plan.key == FIRST
    basis, index = group.channels, own.channels
    if first and space.expansion_of == "input":
        basis, index = space.input_channels(g), choice[g - 1].channels if g else 0
    return Windows(
        inputs=outputs(g - 1) if first else outputs(g),
        hidden=hidden_window(group.expansion, own.expansion, basis, index, mode),
        outputs=outputs(g),
    )


class Supernet(nn.Module):
    """Weights for every network of a space.

    Norms use batch statistics in training and in evaluation: running statistics of shared layers mix networks.
    A network extracted from it gets its own (`vidnas.engine.train.recalibrate`).

    Args:
        space: the search space.
        windows: which channels a candidate uses, see `vidnas.search.space.windows`.
        kernels: what the kernels of a block share, see `SuperBlock`.
        zero_init_residual: see `vidnas.nn.initialise`. An inserted attention unit always starts as the identity.
    """

    def __init__(
        self,
        space: Space,
        windows: WindowMode = "fair",
        kernels: KernelSharing = "separate",
        *,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.space = space
        self.windows: WindowMode = windows
        largest = space.envelopes()
        self.streams = nn.ModuleList(
            SuperStream(stream, _largest_units(largest, s), kernels) for s, stream in enumerate(space.streams)
        )
        self.head = ClassificationHead(head_unit(largest[0]))
        initialise(self, zero_init_residual=zero_init_residual)

    def forward(self, clips: Tensor, choice: Choice) -> Tensor:
        """Clips (N, 3, T, S, S) -> logits (N, num_classes) of the chosen network."""
        skeleton = _skeleton(self.space.decode(choice)).train(self.training)
        return functional_call(skeleton, self.network_state(choice), (clips,), strict=True)

    def network_state(self, choice: Choice) -> dict[str, Tensor]:
        """The chosen network's parameters by name, as differentiable slices of the supernet's."""
        spec = self.space.decode(choice)
        state: dict[str, Tensor] = {}
        for s, groups in enumerate(self.space.group_choices(choice)):
            for plan in stream_units(spec, s):
                unit: Any = self.get_submodule(plan.path)
                windows = _windows(self.space.streams[s], groups, plan, self.windows)
                for name, tensor in unit.network_state(plan, windows):
                    state[f"{plan.path}.{name}"] = tensor
        state.update((f"head.{name}", tensor) for name, tensor in self.head.named_parameters())
        return state


def _largest_units(largest: Sequence[ArchSpec], stream: int) -> Iterable[StreamUnit]:
    """The units of a stream in any of these networks, each once."""
    units = (unit for spec in largest for unit in stream_units(spec, stream))
    return {unit.path: unit for unit in units}.values()


def extract(supernet: Supernet, choice: Choice) -> VideoNetwork:
    """The chosen network on its own, with copies of its weights; its running statistics are still to be estimated."""
    network = build(supernet.space.decode(choice)).to(next(supernet.parameters()))
    with torch.no_grad():
        state = supernet.network_state(choice)
        for name, parameter in network.named_parameters():
            parameter.copy_(state.pop(name))
    if state:
        raise RuntimeError(f"the network has no parameter {next(iter(state))}")
    return network


def _skeleton(spec: ArchSpec) -> VideoNetwork:
    """The network without tensors: parameters are given at the call, norms use batch statistics."""
    with torch.device("meta"):
        return _without_statistics(VideoNetwork(spec, _unit_skeleton))


# Building the modules of a small network takes longer than running them, and networks have most units in common.
# A plan names its place in the network, so none is in one network twice.
@lru_cache(maxsize=2048)
def _unit_skeleton(plan: Unit) -> nn.Module:
    return _without_statistics(make_unit(plan))


def _without_statistics(module: Module) -> Module:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm3d):
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return module
