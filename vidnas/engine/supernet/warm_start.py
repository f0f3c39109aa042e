"""A start for alpha without training: how well untrained networks already tell the classes apart."""

from collections.abc import Iterable, Sequence

import torch
from lightning.fabric import Fabric
from torch import Tensor

from vidnas.data.dataset import Batch
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.tasks.registry import task_of
from vidnas.nn.build import build
from vidnas.search.alpha import AlphaSearch
from vidnas.search.budget import usage
from vidnas.search.space.space import Choice, Space
from vidnas.search.warm_start import warm_logits

# Networks that are scored, per option of the space.
_PER_OPTION = 4
# Batches are taken until they hold so many clips.
_CLIPS = 64


def warm_start(
    alpha: AlphaSearch, space: Space, batches: Iterable[Batch], config: SearchConfig, fabric: Fabric
) -> None:
    """Set alpha before the first step, from random architectures scored by `alignment` at their initialisation.

    Args:
        alpha: at its uniform start; its distribution is changed in place.
        space: what is searched.
        batches: of the part that alpha is learned on; as many are used as make up 64 clips.
        config: strength (`vidnas.search.warm_start.warm_logits`), seed and micro-batches.
        fabric: device and precision.
    """
    # Apart from the seeds of the samples of alpha and of the weights.
    seed = config.seed + 2
    sizes = alpha.distribution.sizes
    choices = alpha.distribution.sample(_PER_OPTION * sum(sizes), seed, 0)
    clips, targets = _gather(batches, fabric, config.micro_batches)
    alike = task_of(space.head).likeness(targets)
    scores = [_score(space, choice, clips, alike, fabric, seed + number) for number, choice in enumerate(choices)]
    costs = usage(alpha.budgets, choices).tolist()
    alpha.distribution.logits.copy_(warm_logits(choices, scores, costs, sizes, config.warm_start))


def alignment(features: Tensor, alike: Tensor) -> float:
    """Centred kernel alignment of features (N, C) with how alike targets are (N, N): 0 for no relation, 1 for the same.

    It is the correlation of two similarities, so neither the number nor the scale of features counts (Cortes et al.
    2012). NaN where all features, or all targets, are the same.
    """
    centred = features.double() - features.double().mean(0)
    similar = centred @ centred.T
    same = alike.double()
    same = same - same.mean(0) - same.mean(1, keepdim=True) + same.mean()
    return float((similar * same).sum() / (similar.norm() * same.norm()))


@torch.no_grad()
def _score(space: Space, choice: Choice, clips: Sequence[Tensor], alike: Tensor, fabric: Fabric, seed: int) -> float:
    """A fresh network each, as slices of one supernet would share the luck of its initialisation."""
    torch.manual_seed(seed)
    network = build(space.decode(choice), zero_init_residual=False).to(fabric.device)
    with fabric.autocast():
        features = [torch.cat([own.mean((2, 3, 4)) for own in network.forward_maps(part)], 1) for part in clips]
    return alignment(torch.cat(features), alike)


def _gather(batches: Iterable[Batch], fabric: Fabric, parts: int) -> tuple[list[Tensor], Tensor]:
    """Clips in micro-batches, and their targets; videos that cannot be read are left out."""
    clips: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in batches:
        read = fabric.to_device(batch.only_readable())
        clips += read.clips.chunk(parts)
        targets.append(read.targets)
        if sum(len(part) for part in targets) >= _CLIPS:
            break
    return clips, torch.cat(targets)
