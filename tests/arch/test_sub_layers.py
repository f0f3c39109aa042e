"""Sub-layers hold all that a network computes, each once."""

from itertools import pairwise
from math import prod

import pytest
from random_specs import random_spec, random_two_streams

from vidnas.arch.cost import network_cost
from vidnas.arch.registry import get_spec, list_models
from vidnas.arch.spec import ArchSpec
from vidnas.arch.sub_layers import SubLayer, network_sub_layers, number_of_blocks


def macs_of(sub_layer: SubLayer, frames: int) -> int:
    """Multiply-adds from what a sub-layer says of itself alone."""
    layer, channels = sub_layer
    out = -(-layer.side // layer.stride)
    frames //= layer.every
    before, after = frames * layer.side**2, frames * out**2
    if layer.kind == "stem":
        colours, c = channels
        assert layer.kernel is not None
        return after * c * (colours * layer.kernel.s**2 + layer.kernel.t)
    if layer.kind == "depthwise":
        hidden, *squeezed = channels
        assert layer.kernel is not None
        assert bool(squeezed) == layer.gates
        taps = layer.kernel.t * layer.kernel.s**2
        return after * hidden * taps * (hidden if layer.dense else 1) + 2 * hidden * sum(squeezed)
    if layer.kind == "attention":
        c, n, s = channels
        return before * (2 * c * s + c * n + 2 * n * s) + n * n * s + s * s * n
    if layer.kind == "non_local":
        c, d = channels
        return before * 4 * c * d + 2 * before**2 * d
    if layer.kind == "fusion":
        taps = 5 if layer.fusion == "time_strided_convolution" else 0
        return before // layer.ratio * taps * prod(channels)
    if layer.kind == "head":
        return sum(a * b for a, b in pairwise(channels))
    return prod(channels) * (after if layer.kind == "shortcut" else before)


@pytest.mark.parametrize(
    "spec",
    [*map(get_spec, list_models()), *map(random_spec, range(60)), *map(random_two_streams, range(40))],
    ids=lambda s: s.name,
)
def test_their_macs_are_the_networks(spec: ArchSpec) -> None:
    found = network_sub_layers(spec)
    assert sum(macs_of(sub_layer, spec.clip.frames) for sub_layer in found) == network_cost(spec).macs
    assert sum(sub_layer.layer.kind == "expand" for sub_layer in found) == number_of_blocks(spec)
