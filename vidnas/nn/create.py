"""create_model: a network from a name or a spec, with weights or without."""

import logging
from pathlib import Path

from vidnas.arch.registry import resolve
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.log import log
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.weights import build_with_weights


def create_model(
    name_or_spec: str | Path | ArchSpec, *, num_classes: int | None = None, weights: str | Path | None = None
) -> VideoNetwork:
    """Build a network, in training mode and channels_last_3d.

    Args:
        name_or_spec: a name of `vidnas.list_models()`, a path to a spec file, or a spec.
        num_classes: default the spec's own; 0 leaves the last layer out, and the network gives features (N, hidden).
        weights: a weight file, ours, pytorchvideo's or SlowFast's. What was replaced, left or adapted is logged as a
            warning; `vidnas.nn.weights.build_with_weights` returns it.

    Raises:
        VidnasError: no such name, no such file, weights of another architecture.
    """
    spec = name_or_spec if isinstance(name_or_spec, ArchSpec) else resolve(str(name_or_spec))
    if num_classes is not None:
        if num_classes < 0:
            raise VidnasError(f"num_classes {num_classes}: must be 0 (features) or more")
        spec = spec.with_classes(num_classes)
    if weights is None:
        return build(spec)
    network, report = build_with_weights(spec, weights)
    log.log(logging.DEBUG if report.is_plain else logging.WARNING, report.table())
    return network
