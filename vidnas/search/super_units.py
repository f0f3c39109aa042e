"""What a supernet holds of each kind of unit: its parameters at their largest, and the slices that a network has.

Every super unit has `network_state(plan, windows)`: the parameters of the ordinary unit, by name.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vidnas.arch.spec import Kernel
from vidnas.arch.units import BlockPlan, Conv5Plan, FusionPlan, GloRePlan, NonLocalPlan, StemPlan, StreamUnit, Unit
from vidnas.nn.attention import GloRe, NonLocal
from vidnas.nn.blocks import FinalConv, Stem, conv3d
from vidnas.nn.fusion import TimeStridedConv
from vidnas.nn.initialise import UnitModule
from vidnas.nn.norm_act import SqueezeExcite
from vidnas.search.choice_windows import FIRST, Windows
from vidnas.search.space.stream_space import StreamSpace
from vidnas.search.space.windows import Window

KernelSharing = Literal["separate", "cropped"]


class SuperBlock(UnitModule):
    """Parameters of an MBConv block at its largest; named as in `MBConv3D`, with one middle norm per kernel.

    Of what enters, fused channels are the last ones; they count for nothing at first.

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
        changes = largest.key == FIRST and (group.stride == 2 or not fixed)
        fuses = largest.key == FIRST and largest.fused_channels > 0
        keeps = group.stride == 1 and not set(entering).isdisjoint(group.channels)
        self._fused_channels = largest.fused_channels
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
        self.shortcut = conv3d(largest.in_channels, out_channels) if changes or fuses else None
        self.shortcut_norm = nn.BatchNorm3d(out_channels) if changes else None
        # Of what is added to its own channels, where these are the ones that leave.
        self.fusion_norm = nn.BatchNorm3d(out_channels) if fuses and keeps else None

    def start(self, *, zero_init_residual: bool) -> None:
        if zero_init_residual:
            nn.init.zeros_(self.project_norm.weight)
        _silence(self.expand, self._fused_channels)
        if self.shortcut is not None:
            _silence(self.shortcut, self._fused_channels)
        if self.fusion_norm is not None:
            nn.init.zeros_(self.fusion_norm.weight)

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
        if plan.norms_shortcut:
            norm = self.fusion_norm if plan.shortcut == "identity_and_projection" else self.shortcut_norm
            assert norm is not None
            yield from _slices("shortcut_norm", norm, outputs)


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


class SuperNonLocal(NonLocal):
    """Parameters of a non-local unit at its largest; inner channels are a prefix, the others follow the group."""

    def network_state(self, plan: NonLocalPlan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `NonLocal(plan)` on the window of its group's channels."""
        channels, inner = windows.outputs, tuple(range(plan.inner))
        yield from _slices("theta", self.theta, inner, channels)
        yield from _slices("phi", self.phi, inner, channels)
        yield from _slices("g", self.g, inner, channels)
        yield from _slices("extend", self.extend, channels, inner)
        yield from _slices("norm", self.norm, channels)


class SuperStem(Stem):
    """Parameters of a stem, the same in all networks."""

    def network_state(self, plan: StemPlan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `Stem(plan)`: all."""
        yield from self.named_parameters()


class SuperConv5(FinalConv):
    """Parameters of conv5 for the widest last group; fused channels as in a block."""

    def __init__(self, largest: Conv5Plan) -> None:
        super().__init__(largest)
        self._fused_channels = largest.fused_channels

    def start(self, *, zero_init_residual: bool) -> None:
        _silence(self.conv, self._fused_channels)

    def network_state(self, plan: Conv5Plan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `FinalConv(plan)` on this window of what enters."""
        yield from _slices("conv", self.conv, None, windows.inputs)
        yield from _slices("norm", self.norm, None)


class SuperTimeStridedConv(TimeStridedConv):
    """Parameters of a time-strided convolution for the widest group that gives."""

    def network_state(self, plan: FusionPlan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """The parameters of `TimeStridedConv(plan)` on these windows."""
        yield from _slices("conv", self.conv, windows.outputs, windows.inputs)
        yield from _slices("norm", self.norm, windows.outputs)


class WithoutWeights(UnitModule):
    """What stands for a fusion that only rearranges a map."""

    def network_state(self, plan: FusionPlan, windows: Windows) -> Iterator[tuple[str, Tensor]]:
        """Nothing."""
        yield from ()


def _super_fusion(largest: FusionPlan) -> nn.Module:
    return SuperTimeStridedConv(largest) if largest.kind == "time_strided_convolution" else WithoutWeights()


_MODULES: Mapping[type[Unit], Callable[[Any, StreamSpace, KernelSharing], nn.Module]] = {
    StemPlan: lambda largest, space, sharing: SuperStem(largest),
    BlockPlan: SuperBlock,
    GloRePlan: lambda largest, space, sharing: SuperGloRe(largest),
    NonLocalPlan: lambda largest, space, sharing: SuperNonLocal(largest),
    FusionPlan: lambda largest, space, sharing: _super_fusion(largest),
    Conv5Plan: lambda largest, space, sharing: SuperConv5(largest),
}


def make_super_unit(largest: StreamUnit, space: StreamSpace, sharing: KernelSharing) -> nn.Module:
    """What holds a unit of a stream for all networks of a space, from the unit at its largest."""
    return _MODULES[type(largest)](largest, space, sharing)


def _silence(layer: nn.Module, columns: int) -> None:
    """Let a layer start without regard to so many of its input channels, the last ones."""
    weight = layer.get_parameter("weight")
    nn.init.zeros_(weight.narrow(1, weight.shape[1] - columns, columns))


def _slices(
    prefix: str, layer: nn.Module, rows: Window | None, columns: Window | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias of a layer on these output `rows` and input `columns`; None means all."""
    for name, parameter in layer._parameters.items():
        if parameter is not None:
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
