"""What a spec costs, layer by layer, from formulas alone: no module is built.

Convention (the papers' "FLOPs"): `macs` are the multiply-adds of conv, linear and matmul for one clip; norms,
activations, pooling and additions count nothing. `weights` are the weights of those layers, `params` all
parameters, `activations` the elements that those layers output.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from vidnas.arch.fusion import TAPS
from vidnas.arch.plan import head_unit, network_units
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.units import BlockPlan, Conv5Plan, FusionPlan, GloRePlan, HeadPlan, NonLocalPlan, StemPlan, Unit
from vidnas.base.errors import VidnasError

HeadPositions = Literal["one", "all"]
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
# Below it an amount has lost its unit.
_LEAST = 1000


class LayerCost(NamedTuple):
    """Cost of one layer for one clip; `params` includes the norm that follows a convolution."""

    name: str
    macs: int
    weights: int
    params: int
    activations: int


class Cost(NamedTuple):
    """Cost of a network, always with the clip that it holds for."""

    clip: str
    head_positions: int
    macs: int
    weights: int
    params: int
    activations: int

    def __str__(self) -> str:
        return f"{format_macs(self.macs)} @ {self.clip}, {self.params / 1e6:.3f} M params"


def format_macs(macs: float) -> str:
    """`1.963 GMACs`, `48.20 MMACs`."""
    return f"{macs / 1e9:.3f} GMACs" if macs >= 1e8 else f"{macs / 1e6:.2f} MMACs"


def format_amount(metric: str, amount: float) -> str:
    """`48.20 MMACs`, `1.250 M params`, `3.100 M activations`, `30.1 ms`: an amount of what a budget counts."""
    if metric == "macs":
        return format_macs(amount)
    if metric == "ms":
        return f"{amount:.3g} ms" if amount < 999.5 else f"{amount:.0f} ms"
    return f"{amount / 1e6:.3f} M {metric}"


def parse_amount(text: str, what: str = "multiply-adds of one clip", name: str = "target") -> float:
    """`50M`, `0.5G`, `50000000`.

    Args:
        text: the amount as the user wrote it.
        what: what it counts.
        name: what the user calls it: the option.

    Raises:
        VidnasError: not an amount of `what`.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(?:e(\d+))?\s*([kKmMgG]?)", text.strip())
    value = float(f"{match[1]}e{match[2] or 0}") * _UNITS[match[3].lower()] if match else 0.0
    if not 0 < value < float("inf"):
        point = re.fullmatch(r"(\d+),(\d+\s*[kKmMgG])", text.strip())
        hint = f"; did you mean {point[1]}.{point[2]}?" if point else ""
        raise VidnasError(f"{name} {text!r}: write {what}, as 50M or 0.5G{hint}")
    if value < _LEAST:
        raise VidnasError(f"{name} {text}: so few {what} no network has; did you mean {text.strip()}M?")
    return value


def network_cost(spec: ArchSpec, clip: ClipSpec | None = None, head: HeadPositions = "one") -> Cost:
    """Total cost.

    Args:
        spec: the network.
        clip: frames and crop to count at; default the spec's own.
        head: `one` counts fc1 and fc2 at one position, as the papers print 30-view costs; `all` counts every position
            that a fixed-size pool leaves at a crop larger than the training one.
    """
    layers = layer_costs(spec, clip, head)
    return Cost(
        clip=str(clip or spec.clip),
        head_positions=1 if head == "one" else head_positions(spec, clip or spec.clip),
        macs=sum(layer.macs for layer in layers),
        weights=sum(layer.weights for layer in layers),
        params=sum(layer.params for layer in layers),
        activations=sum(layer.activations for layer in layers),
    )


def layer_costs(spec: ArchSpec, clip: ClipSpec | None = None, head: HeadPositions = "one") -> list[LayerCost]:
    """Cost of each layer, named like the module's path in the built network."""
    *units, _ = network_units(spec, clip)
    # At the clip of training any pool leaves one position.
    units.append(head_unit(spec, clip if head == "all" else spec.clip))
    return [layer for unit in units for layer in unit_layers(unit)]


def unit_layers(unit: Unit) -> Iterator[LayerCost]:
    """Cost of each layer of a unit."""
    return _LAYERS[type(unit)](unit)


def head_positions(spec: ArchSpec, clip: ClipSpec) -> int:
    """How many positions the pool leaves for fc1 and fc2 at this clip."""
    return head_unit(spec, clip).positions


def _stem(stem: StemPlan) -> Iterator[LayerCost]:
    channels, kernel = stem.out_channels, stem.kernel
    yield _conv(f"{stem.path}.spatial", stem.in_channels * channels * kernel.s**2, channels, stem.out_positions)
    yield _conv(f"{stem.path}.temporal", channels * kernel.t, channels, stem.out_positions, norm=channels)


def _block(block: BlockPlan) -> Iterator[LayerCost]:
    name, after = block.path, block.out_positions
    hidden, kernel = block.hidden, block.kernel
    yield _conv(f"{name}.expand", block.in_channels * hidden, hidden, block.positions, norm=hidden)
    middle = hidden * kernel.t * kernel.s**2 * (1 if block.depthwise else hidden)
    yield _conv(f"{name}.middle", middle, hidden, after, norm=hidden)
    if block.se_channels:
        squeezed = hidden * block.se_channels
        yield _conv(f"{name}.se.reduce", squeezed, block.se_channels, 1, bias=block.se_channels)
        yield _conv(f"{name}.se.expand", squeezed, hidden, 1, bias=hidden)
    yield _conv(f"{name}.project", hidden * block.out_channels, block.out_channels, after, norm=block.out_channels)
    if block.shortcut != "identity":
        norm = block.out_channels if block.norms_shortcut else 0
        weights = block.in_channels * block.out_channels
        yield _conv(f"{name}.shortcut", weights, block.out_channels, after, norm=norm)


def _glore(unit: GloRePlan) -> Iterator[LayerCost]:
    name, positions = unit.path, unit.positions
    c, n, s = unit.in_channels, unit.nodes, unit.states
    yield _conv(f"{name}.state", c * s, s, positions, bias=s)
    yield _conv(f"{name}.projection", c * n, n, positions, bias=n)
    yield LayerCost(f"{name}.gather", positions * s * n, 0, 0, s * n)
    yield _conv(f"{name}.over_nodes", n * n, n, s, bias=n)
    yield _conv(f"{name}.over_states", s * s, s, n)
    yield LayerCost(f"{name}.scatter", positions * s * n, 0, 0, positions * s)
    yield _conv(f"{name}.extend", s * c, c, positions, norm=c)


def _non_local(unit: NonLocalPlan) -> Iterator[LayerCost]:
    name, positions = unit.path, unit.positions
    c, d = unit.in_channels, unit.inner
    for layer in ("theta", "phi", "g"):
        yield _conv(f"{name}.{layer}", c * d, d, positions)
    yield LayerCost(f"{name}.compare", positions**2 * d, 0, 0, positions**2)
    yield LayerCost(f"{name}.average", positions**2 * d, 0, 0, positions * d)
    yield _conv(f"{name}.extend", d * c, c, positions, norm=c)


def _fusion(unit: FusionPlan) -> Iterator[LayerCost]:
    if unit.kind == "time_strided_convolution":
        channels = unit.out_channels
        weights = TAPS * unit.in_channels * channels
        yield _conv(f"{unit.path}.conv", weights, channels, unit.out_positions, norm=channels)


def _conv5(unit: Conv5Plan) -> Iterator[LayerCost]:
    channels = unit.out_channels
    yield _conv(unit.path, unit.in_channels * channels, channels, unit.out_positions, norm=channels)


def _head(unit: HeadPlan) -> Iterator[LayerCost]:
    hidden, classes, positions = unit.spec.hidden, unit.spec.num_classes, unit.positions
    yield _linear(f"{unit.path}.fc1", unit.in_channels, hidden, positions)
    if classes:
        yield _linear(f"{unit.path}.fc2", hidden, classes, positions, bias=True)


_LAYERS: Mapping[type[Unit], Callable[[Any], Iterator[LayerCost]]] = {
    StemPlan: _stem,
    BlockPlan: _block,
    GloRePlan: _glore,
    NonLocalPlan: _non_local,
    FusionPlan: _fusion,
    Conv5Plan: _conv5,
    HeadPlan: _head,
}


def _conv(name: str, weights: int, out_channels: int, positions: int, *, norm: int = 0, bias: int = 0) -> LayerCost:
    return LayerCost(name, weights * positions, weights, weights + 2 * norm + bias, out_channels * positions)


def _linear(name: str, inputs: int, outputs: int, positions: int, *, bias: bool = False) -> LayerCost:
    weights = inputs * outputs
    return LayerCost(name, weights * positions, weights, weights + (outputs if bias else 0), outputs * positions)
