"""From a spec to the network that computes it."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vidnas.arch.plan import fusion_units, head_unit, stream_units
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import (
    BlockPlan,
    Conv5Plan,
    FusionPlan,
    GloRePlan,
    HeadPlan,
    NonLocalPlan,
    StemPlan,
    StreamUnit,
    Unit,
)
from vidnas.base.errors import VidnasError
from vidnas.nn.attention import GloRe, NonLocal
from vidnas.nn.blocks import FinalConv, MBConv3D, Stem
from vidnas.nn.fusion import make_fusion
from vidnas.nn.heads import ClassificationHead
from vidnas.nn.initialise import initialise

MakeUnit = Callable[[Unit], nn.Module]

_MODULES: Mapping[type[Unit], Callable[[Any], nn.Module]] = {
    StemPlan: Stem,
    BlockPlan: MBConv3D,
    GloRePlan: GloRe,
    NonLocalPlan: NonLocal,
    FusionPlan: make_fusion,
    Conv5Plan: FinalConv,
    HeadPlan: ClassificationHead,
}


def make_unit(plan: Unit) -> nn.Module:
    """The module of a unit, from its plan."""
    return _MODULES[type(plan)](plan)


class Stream(nn.Module):
    """Stem, groups of blocks, conv5.

    Attributes:
        every: of how many frames of the clip it takes one, the first.
    """

    def __init__(self, plans: Iterable[StreamUnit], make_unit: MakeUnit) -> None:
        super().__init__()
        stem, *inner, conv5 = plans
        self.every = stem.every
        self.stem = make_unit(stem)
        self.groups = nn.ModuleList(
            nn.Sequential(OrderedDict((plan.key, make_unit(plan)) for plan in group))
            for _, group in groupby(inner, key=lambda plan: plan.group)
        )
        self.conv5 = make_unit(conv5)

    def read(self, clips: Tensor) -> Tensor:
        """Clips (N, 3, T, S, S) -> what the stem gives (N, C, T / every, S / 2, S / 2)."""
        if clips.shape[2] % self.every:
            raise VidnasError(
                f"a clip of {clips.shape[2]} frames: the network takes one in {self.every}, give a multiple of that"
            )
        read: Tensor = self.stem(clips[:, :, :: self.every] if self.every > 1 else clips)
        return read


class VideoNetwork(nn.Module):
    """A network built from a spec, in channels_last_3d; parameters are named as in `vidnas.arch.cost`.

    Args:
        spec: the spec of the network.
        make_unit: function that builds the module of a unit.

    Attributes:
        spec: the spec that it was built from.
        activation_checkpointing: recompute each group in the backward pass instead of keeping its activations.
    """

    def __init__(self, spec: ArchSpec, make_unit: MakeUnit = make_unit) -> None:
        super().__init__()
        self.spec = spec
        self.activation_checkpointing = False
        self.streams = nn.ModuleList(Stream(stream_units(spec, s), make_unit) for s in range(len(spec.streams)))
        self.fusions = nn.ModuleDict({plan.key: make_unit(plan) for plan in fusion_units(spec)})
        self.head = make_unit(head_unit(spec))

    def forward(self, x: Tensor) -> Tensor:
        """Clips (N, 3, T, S, S) -> logits (N, num_classes)."""
        logits: Tensor = self.head(*self.forward_maps(x))
        return logits

    def forward_maps(self, x: Tensor) -> list[Tensor]:
        """Clips -> the last map of each stream (N, conv5, T / every, S/32, S/32), before pooling."""
        return self._run(x, None)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map of a network of one stream.

        Raises:
            VidnasError: it has more.
        """
        return self._only(self._run(x, None))

    def forward_intermediates(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The output of every group, and the last map, of a network of one stream.

        Raises:
            VidnasError: it has more.
        """
        outputs: list[Tensor] = []
        return outputs, self._only(self._run(x, outputs))

    def _only(self, maps: list[Tensor]) -> Tensor:
        if len(maps) > 1:
            raise VidnasError(f"{self.spec.name} has {len(maps)} streams; forward_maps gives the last map of each")
        return maps[0]

    def _run(self, x: Tensor, outputs: list[Tensor] | None) -> list[Tensor]:
        """The last map of each stream; the output of every group is added to `outputs`."""
        maps = [stream.read(x) for stream in self._streams]
        for g in range(max(len(stream.groups) for stream in self._streams)):
            for s, stream in enumerate(self._streams):
                if g < len(stream.groups):
                    maps[s] = self._group(stream.groups[g], maps[s])
                    if outputs is not None:
                        outputs.append(maps[s])
            maps = self._fused(maps, g)
        return [stream.conv5(y) for stream, y in zip(self._streams, maps, strict=True)]

    @property
    def _streams(self) -> list[Stream]:
        return [*self.streams]

    def _group(self, group: nn.Module, y: Tensor) -> Any:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(group, y, use_reentrant=False, context_fn=partial(_recomputing, group))
        return group(y)

    def _fused(self, maps: list[Tensor], g: int) -> list[Tensor]:
        """What enters behind group `g`: each stream's map, with what others give it."""
        fused = list(maps)
        for fusion in self.spec.fusions:
            if fusion.group == g:
                given, own = self.fusions[fusion.key](maps[fusion.source]), fused[fusion.target]
                fused[fusion.target] = own + given if fusion.combination == "sum" else torch.cat((own, given), 1)
        return fused


def _recomputing(group: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a group's forward pass and of its recomputation in the backward pass."""
    return nullcontext(), _norm_statistics_kept(group)


@contextmanager
def _norm_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Recomputing must not count the same batch twice in the running statistics."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm3d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counter) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counter


def build(spec: ArchSpec, *, zero_init_residual: bool = True) -> VideoNetwork:
    """A freshly initialised network in channels_last_3d, in training mode; see `initialise`."""
    network = VideoNetwork(spec)
    initialise(network, zero_init_residual=zero_init_residual)
    return network.to(memory_format=torch.channels_last_3d)
