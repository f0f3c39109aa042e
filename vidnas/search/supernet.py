"""One set of weights that holds every network of a space ("super kernels").

The supernet has no forward pass of its own: a choice names an ordinary network (`vidnas.nn.build`), and that network
runs with slices of the supernet's tensors as its parameters. So a sampled network and the extracted one are the same
computation by construction, and `forward(clips, choice)` keeps no state.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vidnas.arch.plan import head_unit, stream_units
from vidnas.arch.spec import ArchSpec, Kernel
from vidnas.arch.units import BlockPlan, Conv5Plan, GloRePlan, StemPlan, StreamUnit, Unit
from vidnas.nn.attention import GloRe
from vidnas.nn.blocks import FinalConv, Stem, conv3d
from vidnas.nn.build import VideoNetwork, build, initialise, make_unit
from vidnas.nn.heads import ClassificationHead
from vidnas.nn.norm_act import SqueezeExcite
from vidnas.search.space import Choice, Space
from vidnas.search.stream_space import GroupChoice, StreamSpace
from vidnas.search.windows import WindowMode, channel_window, hidden_window

KernelSharing = Literal["separate", "cropped"]
Window = tuple[int, ...]
# The key of a group's first block, which alone reads other channels than the group gives.
FIRST = "block1"
Module = TypeVar("Module", bound=nn.Module)


class Windows(NamedTuple):
    """The channels that a choice uses of a unit: those that enter, the hidden ones of a block, those that leave."""

    inputs: Window
    hidden: Window
    outputs: Window


class SuperBlock(nn.Module):
    """Parameters of an MBConv block at its largest; named as in `MBConv3D`, with one middle norm per kernel.

    Pointwise layers are shared between kernels. `separate`: each (t, s) has its own depthwise tensor. `cropped`: all
    are the centre of one tensor of the largest t and s (Once-for-All, arXiv 1908.09791).

    Deviation: Once-for-All puts a learned linear map between a kernel and its centre; here the taps are the same.
    """

    def __init__(self, largest: BlockPlan, space: StreamSpace, sharing: KernelSharing = "separate") -> None:
        super().__init__()
        assert largest.group is not None
        group, entering = space.groups[largest.group], space.input_channels(largest.group)
        kernels = group.kernel
        fixed = len(group.channels) == 1 and group.channels == entering
        projects = largest.key == FIRST and (group.stride == 2 or not fixed)
        hidden, out_channels = largest.hidden, largest.out_channels
        groups = hidden if largest.depthwise else 1
        self.expand = conv3d(largest.in_channels, hidden)
        self.expand_norm = nn.BatchNorm3d(hidden)
        if sharing == "cropped":
            whole = Kernel(t=max(k.t for k in kernels), s=max(k.s for k in kernels))
            self.middle: nn.Module = conv3d(hidden, hidden, whole, groups=groups)
        else:
            self.middle = nn.ModuleDict({str(k): conv3d(hidden, hidden, k, groups=groups) for k in kernels})
        self.middle_norm = nn.ModuleDict({str(k): nn.BatchNorm3d(hidden) for k in kernels})
        self.se = SqueezeExcite(hidden, largest.se_channels) if largest.se_channels else None
        self.project = conv3d(hidden, out_channels)
        self.project_norm = nn.BatchNorm3d(out_channels)
        self.shortcut = conv3d(largest.in_channels, out_channels) if projects else None
        self.shortcut_norm = nn.BatchNorm3d(out_channels) if projects else None

    def network_state(self, plan: BlockPlan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `MBConv3D(plan)` on these windows."""
        inputs, hidden, outputs = windows
        yield from _slices("expand", self.expand, hidden, inputs)
        yield from _slices("expand_norm", self.expand_norm, hidden)
        middle = self.middle[str(plan.kernel)] if isinstance(self.middle, nn.ModuleDict) else self.middle
        for name, tensor in _slices("middle", middle, hidden, None if plan.depthwise else hidden):
            yield name, _centre(tensor, plan.kernel)
        yield from _slices("middle_norm", self.middle_norm[str(plan.kernel)], hidden)
        if plan.se_channels:
            assert self.se is not None
            squeezed = tuple(range(plan.se_channels))
            yield from _slices("se.reduce", self.se.reduce, squeezed, hidden)
            yield from _slices("se.expand", self.se.expand, hidden, squeezed)
        yield from _slices("project", self.project, outputs, hidden)
        yield from _slices("project_norm", self.project_norm, outputs)
        if plan.shortcut != "identity":
            assert self.shortcut is not None
            yield from _slices("shortcut", self.shortcut, outputs, inputs)
        if plan.shortcut == "projection_norm":
            assert self.shortcut_norm is not None
            yield from _slices("shortcut_norm", self.shortcut_norm, outputs)


class SuperGloRe(GloRe):
    """Parameters of a GloRe unit at its largest; nodes and states are prefixes, channels follow the group."""

    def network_state(self, plan: GloRePlan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `GloRe(plan)` on the window of its group's channels."""
        channels = windows.outputs
        nodes, states = tuple(range(plan.nodes)), tuple(range(plan.states))
        yield from _slices("state", self.state, states, channels)
        yield from _slices("projection", self.projection, nodes, channels)
        yield from _slices("over_nodes", self.over_nodes, nodes, nodes)
        yield from _slices("over_states", self.over_states, states, states)
        yield from _slices("extend", self.extend, channels, states)
        yield from _slices("norm", self.norm, channels)


class SuperStem(Stem):
    """Parameters of a stem, the same in all networks."""

    def network_state(self, plan: StemPlan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `Stem(plan)`: all."""
        yield from self.named_parameters()


class SuperConv5(FinalConv):
    """Parameters of conv5 for the widest last group."""

    def network_state(self, plan: Conv5Plan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `FinalConv(plan)` on this window of what enters."""
        yield from _slices("conv", self.conv, None, windows.inputs)
        yield from _slices("norm", self.norm, None)


# What holds each kind of a stream's units at their largest, and slices them (`network_state`).
_MODULES: Mapping[type[Unit], Callable[[Any, StreamSpace, KernelSharing], nn.Module]] = {
    StemPlan: lambda largest, space, sharing: SuperStem(largest),
    BlockPlan: SuperBlock,
    GloRePlan: lambda largest, space, sharing: SuperGloRe(largest),
    Conv5Plan: lambda largest, space, sharing: SuperConv5(largest),
}


class SuperStream(nn.Module):
    """Stem, groups of super units by name, conv5: at the same paths as in a network."""

    def __init__(self, space: StreamSpace, plans: Iterable[StreamUnit], sharing: KernelSharing) -> None:
        super().__init__()
        stem, *inner, conv5 = ((plan, _MODULES[type(plan)](plan, space, sharing)) for plan in plans)
        self.stem = stem[1]
        self.groups = nn.ModuleList(nn.ModuleDict() for _ in space.groups)
        self.conv5 = conv5[1]
        for plan, unit in inner:
            self.groups[plan.group][plan.key] = unit  # type: ignore[index, operator]


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
    A network extracted from it gets its own (`vidnas.engine.recalibrate`).

    Args:
        space: the search space.
        windows: which channels a candidate uses, see `vidnas.search.windows`.
        kernels: what the kernels of a block share, see `SuperBlock`.
        zero_init_residual: see `vidnas.nn.build.initialise`. An inserted attention unit always starts as the identity.
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
        largest = space.envelope()
        self.streams = nn.ModuleList(
            SuperStream(own, stream_units(stream, s, space.clip), kernels)
            for s, (own, stream) in enumerate(zip(space.streams, largest.streams, strict=True))
        )
        self.head = ClassificationHead(head_unit(largest))
        initialise(self, zero_init_residual=zero_init_residual)
        for module in self.modules():
            if isinstance(module, SuperBlock) and zero_init_residual:
                nn.init.zeros_(module.project_norm.weight)

    def forward(self, clips: Tensor, choice: Choice) -> Tensor:
        """Clips (N, 3, T, S, S) -> logits (N, num_classes) of the chosen network."""
        skeleton = _skeleton(self.space.decode(choice)).train(self.training)
        return functional_call(skeleton, self.network_state(choice), (clips,), strict=True)

    def network_state(self, choice: Choice) -> dict[str, Tensor]:
        """The chosen network's parameters by name, as differentiable slices of the supernet's."""
        spec = self.space.decode(choice)
        state: dict[str, Tensor] = {}
        for s, groups in enumerate(self.space.group_choices(choice)):
            for plan in stream_units(spec.streams[s], s, spec.clip):
                unit: Any = self.get_submodule(plan.path)
                windows = _windows(self.space.streams[s], groups, plan, self.windows)
                for name, tensor in unit.network_state(plan, windows):
                    state[f"{plan.path}.{name}"] = tensor
        state.update((f"head.{name}", tensor) for name, tensor in self.head.named_parameters())
        return state


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


def _slices(
    prefix: str, layer: nn.Module, rows: Window | None, columns: Window | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias of a layer on these output `rows` and input `columns`; None means all."""
    for name, parameter in layer.named_parameters():
        tensor = _select(parameter, 0, rows)
        yield f"{prefix}.{name}", tensor if tensor.dim() == 1 else _select(tensor, 1, columns)


def _centre(weight: Tensor, kernel: Kernel) -> Tensor:
    """The taps of a kernel in the middle of a larger one."""
    for dim, size in zip((2, 3, 4), (kernel.t, kernel.s, kernel.s), strict=True):
        weight = weight.narrow(dim, (weight.shape[dim] - size) // 2, size)
    return weight


def _select(tensor: Tensor, dim: int, window: Window | None) -> Tensor:
    """Indices of a dimension, as a view where they are neighbours."""
    if window is None or len(window) == tensor.shape[dim]:
        return tensor
    if window[-1] - window[0] + 1 == len(window):
        return tensor.narrow(dim, window[0], len(window))
    return tensor.index_select(dim, torch.tensor(window, device=tensor.device))
