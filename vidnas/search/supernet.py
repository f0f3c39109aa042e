"""One set of weights that holds every network of a space ("super kernels").

The supernet has no forward pass of its own: a choice names an ordinary network (`vidnas.nn.build`), and that network
runs with slices of the supernet's tensors as its parameters. So a sampled network and the extracted one are the same
computation by construction, and `forward(clips, choice)` keeps no state.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vidnas.arch.plan import BlockPlan, GloRePlan, stream_units
from vidnas.arch.spec import ArchSpec, Kernel
from vidnas.nn.attention import GloRe
from vidnas.nn.blocks import FinalConv, Stem, conv3d
from vidnas.nn.build import Unit, VideoNetwork, build, initialise, make_unit
from vidnas.nn.heads import ClassificationHead
from vidnas.nn.norm_act import SqueezeExcite
from vidnas.search.space import Choice, Space
from vidnas.search.stream_space import GroupChoice, StreamSpace
from vidnas.search.windows import WindowMode, channel_window, hidden_window

KernelSharing = Literal["separate", "cropped"]
Window = tuple[int, ...]
Module = TypeVar("Module", bound=nn.Module)


class SuperBlock(nn.Module):
    """Parameters of an MBConv block at its largest; named as in `MBConv3D`, with one middle norm per kernel.

    Pointwise layers are shared between kernels. `separate`: each (t, s) has its own depthwise tensor. `cropped`: all
    are the centre of one tensor of the largest t and s (Once-for-All, arXiv 1908.09791).

    Deviation: Once-for-All puts a learned linear map between a kernel and its centre; here the taps are the same.
    """

    def __init__(
        self, largest: BlockPlan, kernels: tuple[Kernel, ...], projects: bool, sharing: KernelSharing = "separate"
    ) -> None:
        super().__init__()
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

    def network_state(
        self, plan: BlockPlan, inputs: Window, hidden: Window, outputs: Window
    ) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `MBConv3D(plan)` on these windows."""
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

    def network_state(self, plan: GloRePlan, channels: Window) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `GloRe(plan)` on this window of channels."""
        nodes, states = tuple(range(plan.nodes)), tuple(range(plan.states))
        yield from _slices("state", self.state, states, channels)
        yield from _slices("projection", self.projection, nodes, channels)
        yield from _slices("over_nodes", self.over_nodes, nodes, nodes)
        yield from _slices("over_states", self.over_states, states, states)
        yield from _slices("extend", self.extend, channels, states)
        yield from _slices("norm", self.norm, channels)


class _GroupWindows(NamedTuple):
    """What a choice uses of a group: channels in and out, hidden channels of the first block and of the others."""

    inputs: Window
    outputs: Window
    first_hidden: Window
    other_hidden: Window


class SuperStream(nn.Module):
    """Stem, groups of super blocks, conv5."""

    def __init__(self, space: StreamSpace, largest: ArchSpec, part: int, sharing: KernelSharing) -> None:
        super().__init__()
        self.space = space
        spec = largest.streams[part]
        self.stem = Stem(spec.stem)
        self.groups = nn.ModuleList(nn.ModuleDict() for _ in space.groups)
        self.conv5 = FinalConv(spec.groups[-1].channels, spec.conv5)
        for plan in stream_units(spec):
            group, name = space.groups[plan.group], plan.name.rsplit(".", 1)[1]
            if isinstance(plan, GloRePlan):
                unit: nn.Module = SuperGloRe(plan)
            else:
                first = name == "block1"
                fixed = len(group.channels) == 1 and group.channels == space.input_channels(plan.group)
                projects = first and (group.stride == 2 or not fixed)
                unit = SuperBlock(plan, group.kernel, projects, sharing)
            self.groups[plan.group][name] = unit  # type: ignore[operator]

    def network_state(
        self, spec: ArchSpec, part: int, choice: tuple[GroupChoice, ...], mode: WindowMode
    ) -> Iterator[tuple[str, Tensor]]:
        """The parameters of a network's stream."""
        windows = [self._windows(g, choice, mode) for g in range(len(choice))]
        yield from _all("stem", self.stem)
        for plan in stream_units(spec.streams[part]):
            window, unit_name = windows[plan.group], plan.name.rsplit(".", 1)[1]
            unit = self.groups[plan.group][unit_name]  # type: ignore[index]
            if isinstance(plan, GloRePlan):
                state = unit.network_state(plan, window.outputs)
            elif unit_name == "block1":
                state = unit.network_state(plan, window.inputs, window.first_hidden, window.outputs)
            else:
                state = unit.network_state(plan, window.outputs, window.other_hidden, window.outputs)
            for name, tensor in state:
                yield f"{plan.name}.{name}", tensor
        yield from _slices("conv5.conv", self.conv5.conv, None, windows[-1].outputs)
        yield from _slices("conv5.norm", self.conv5.norm, None)

    def _windows(self, g: int, choice: tuple[GroupChoice, ...], mode: WindowMode) -> _GroupWindows:
        group, own = self.space.groups[g], choice[g]
        before, before_index = self.space.input_channels(g), choice[g - 1].channels if g else 0
        outputs = channel_window(group.channels, own.channels, mode)
        of_output = hidden_window(group.expansion, own.expansion, group.channels, own.channels, mode)
        of_input = hidden_window(group.expansion, own.expansion, before, before_index, mode)
        return _GroupWindows(
            inputs=channel_window(before, before_index, mode),
            outputs=outputs,
            first_hidden=of_input if self.space.expansion_of == "input" else of_output,
            other_hidden=of_output,
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
        self.streams = nn.ModuleList(SuperStream(stream, largest, p, kernels) for p, stream in enumerate(space.streams))
        pooled = sum(stream.conv5 for stream in space.streams)
        with torch.device("meta"):
            pool_size = VideoNetwork(largest).head.pool_size or (1, 1, 1)
        self.head = ClassificationHead(space.head, pooled, pool_size)
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
        for p, groups in enumerate(self.space.group_choices(choice)):
            stream = self.streams[p]
            assert isinstance(stream, SuperStream)
            for name, tensor in stream.network_state(spec, p, groups, self.windows):
                state[f"streams.{p}.{name}"] = tensor
        state.update(_all("head", self.head))
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
def _unit_skeleton(plan: BlockPlan | GloRePlan) -> Unit:
    return _without_statistics(make_unit(plan))


def _without_statistics(module: Module) -> Module:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm3d):
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return module


def _all(prefix: str, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in module.named_parameters():
        yield f"{prefix}.{name}", parameter


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
