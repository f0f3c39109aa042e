"""From a spec to the network that computes it."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vidnas.arch.cost import final_size
from vidnas.arch.plan import BlockPlan, GloRePlan, stream_units
from vidnas.arch.spec import ArchSpec, StreamSpec
from vidnas.nn.attention import GloRe
from vidnas.nn.blocks import FinalConv, MBConv3D, Stem
from vidnas.nn.heads import ClassificationHead

Unit = MBConv3D | GloRe


def make_unit(plan: BlockPlan | GloRePlan) -> Unit:
    """A block or an attention unit, from its plan."""
    return MBConv3D(plan) if isinstance(plan, BlockPlan) else GloRe(plan)


class Stream(nn.Module):
    """Stem, groups of blocks, conv5."""

    def __init__(self, spec: StreamSpec, make_unit: Callable[[BlockPlan | GloRePlan], Unit]) -> None:
        super().__init__()
        units: list[OrderedDict[str, nn.Module]] = [OrderedDict() for _ in spec.groups]
        for plan in stream_units(spec):
            units[plan.group][plan.name.rsplit(".", 1)[1]] = make_unit(plan)
        self.stem = Stem(spec.stem)
        self.groups = nn.ModuleList(nn.Sequential(group) for group in units)
        self.conv5 = FinalConv(spec.groups[-1].channels, spec.conv5)


class VideoNetwork(nn.Module):
    """A network built from a spec, in channels_last_3d; parameters are named as in `vidnas.arch.cost`.

    Args:
        spec: what it is built from.
        make_unit: builds its blocks and attention units.

    Attributes:
        spec: what it was built from.
        activation_checkpointing: recompute each group in the backward pass instead of keeping its activations.
    """

    def __init__(self, spec: ArchSpec, make_unit: Callable[[BlockPlan | GloRePlan], Unit] = make_unit) -> None:
        super().__init__()
        self.spec = spec
        self.activation_checkpointing = False
        self.streams = nn.ModuleList(Stream(stream, make_unit) for stream in spec.streams)
        side = final_size(spec.clip.size, spec.streams[0])
        pooled = sum(stream.conv5 for stream in spec.streams)
        self.head = ClassificationHead(spec.head, pooled, (spec.clip.frames, side, side))

    def forward(self, x: Tensor) -> Tensor:
        """Clips (N, 3, T, S, S) -> logits (N, num_classes)."""
        return self.head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips -> the last feature map (N, conv5, T, S/32, S/32), before pooling."""
        return self._run(x, None)

    def forward_intermediates(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The output of every group, and the last feature map."""
        outputs: list[Tensor] = []
        return outputs, self._run(x, outputs)

    def _run(self, x: Tensor, outputs: list[Tensor] | None) -> Tensor:
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
        return maps[0] if len(maps) == 1 else torch.cat(maps, 1)


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


def initialise(network: nn.Module, *, zero_init_residual: bool = True) -> None:
    """(Re-)initialise in place, from torch's current random state: He's rule, biases at zero.

    Args:
        network: any module made of ours.
        zero_init_residual: start the last norm of every residual branch at zero (X3D A.3). Attention always does.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm3d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, MBConv3D) and zero_init_residual:
            nn.init.zeros_(module.project_norm.weight)
        elif isinstance(module, GloRe):
            nn.init.zeros_(module.norm.weight)
        elif isinstance(module, ClassificationHead) and module.fc2 is not None:
            nn.init.normal_(module.fc2.weight, std=0.01)
