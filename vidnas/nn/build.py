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

from vidnas.arch.plan import head_unit, stream_units
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import BlockPlan, Conv5Plan, GloRePlan, HeadPlan, NonLocalPlan, StemPlan, StreamUnit, Unit
from vidnas.nn.attention import GloRe, NonLocal
from vidnas.nn.blocks import FinalConv, MBConv3D, Stem
from vidnas.nn.heads import ClassificationHead
from vidnas.nn.initialise import initialise

MakeUnit = Callable[[Unit], nn.Module]

_MODULES: Mapping[type[Unit], Callable[[Any], nn.Module]] = {
    StemPlan: Stem,
    BlockPlan: MBConv3D,
    GloRePlan: GloRe,
    NonLocalPlan: NonLocal,
    Conv5Plan: FinalConv,
    HeadPlan: ClassificationHead,
}


def make_unit(plan: Unit) -> nn.Module:
    """The module of a unit, from its plan."""
    return _MODULES[type(plan)](plan)


class Stream(nn.Module):
    """Stem, groups of blocks, conv5."""

    def __init__(self, plans: Iterable[StreamUnit], make_unit: MakeUnit) -> None:
        super().__init__()
        stem, *inner, conv5 = plans
        self.stem = make_unit(stem)
        self.groups = nn.ModuleList(
            nn.Sequential(OrderedDict((plan.key, make_unit(plan)) for plan in group))
            for _, group in groupby(inner, key=lambda plan: plan.group)
        )
        self.conv5 = make_unit(conv5)


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
        self.streams = nn.ModuleList(
            Stream(stream_units(stream, s, spec.clip), make_unit) for s, stream in enumerate(spec.streams)
        )
        self.head = make_unit(head_unit(spec))

    def forward(self, x: Tensor) -> Tensor:
        """Clips (N, 3, T, S, S) -> logits (N, num_classes)."""
        logits: Tensor = self.head(*self._run(x, None))
        return logits

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips -> the last feature map (N, conv5, T, S/32, S/32), before pooling, of a network of one stream."""
        (last,) = self._run(x, None)
        return last

    def forward_intermediates(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The output of every group, and the last feature map, of a network of one stream."""
        outputs: list[Tensor] = []
        (last,) = self._run(x, outputs)
        return outputs, last

    def _run(self, x: Tensor, outputs: list[Tensor] | None) -> list[Tensor]:
        """The last map of each stream; the output of every group is added to `outputs`."""
        maps = []
        for stream in self.streams:
            assert isinstance(stream, Stream)
            y = stream.stem(x)
            for group in stream.groups:
                if self.activation_checkpointing and torch.is_grad_enabled():
                    y = checkpoint(group, y, use_reentrant=False, context_fn=partial(_recomputing, group))
                else:
                    y = group(y)
                if outputs is not None:
                    outputs.append(y)
            maps.append(stream.conv5(y))
        return maps


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
