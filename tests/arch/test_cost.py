"""Costs by formula equal independent counts on the built module, on the meta device."""

import time
from collections import Counter
from itertools import product
from typing import Any

import pytest
import torch
from random_specs import random_spec, random_two_streams
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from zoo import every_network

from vidnas.arch.cost import LayerCost, head_positions, layer_costs, network_cost
from vidnas.arch.registry import get_spec, list_models
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.nn.build import build

MATMULS = ("convolution", "depthwise_conv3d", "mm", "addmm", "bmm", "baddbmm")


class MatmulOutputs(TorchDispatchMode):
    """Sums the elements that convolutions and matrix products put out."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in MATMULS:
            self.elements += out.numel()
        return out


def count(spec: ArchSpec, clip: ClipSpec) -> tuple[nn.Module, FlopCounterMode, MatmulOutputs, dict[str, int]]:
    """Run the module once on the meta device; the last are output elements per conv and linear module."""
    outputs: Counter[str] = Counter()
    with torch.device("meta"):
        network = build(spec).eval()
        x = torch.empty(1, spec.streams[0].stem.in_channels, clip.frames, clip.size, clip.size)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            module.register_forward_hook(lambda _m, _i, out, name=name: outputs.update({name: out.numel()}))
    flops, elements = FlopCounterMode(display=False), MatmulOutputs()
    with torch.no_grad(), flops, elements:
        network(x)
    return network, flops, elements, dict(outputs)


def clips_of(spec: ArchSpec) -> list[ClipSpec]:
    """The spec's own clip, a larger one (several head positions), and where the pool allows it a smaller one."""
    least = max(stream.every for stream in spec.streams)
    larger = spec.clip.model_copy(update={"frames": spec.clip.frames + least, "size": spec.clip.size + 37})
    smaller = spec.clip.model_copy(update={"frames": least, "size": max(1, spec.clip.size - 9)})
    return [spec.clip, larger, *([smaller] if spec.head.pool == "global" else [])]


def some_of(blocks: int) -> list[Any]:
    """One of the blocks in every run of the tests, the others in the long ones."""
    return [pytest.param(block, marks=() if block < 1 else pytest.mark.long) for block in range(blocks)]


def module_name(layer: str) -> str:
    """conv5 is a module of a convolution and its norm; every other layer is named like its module."""
    return f"{layer}.conv" if layer.endswith("conv5") else layer


def assert_cost_equals_count(spec: ArchSpec, clip: ClipSpec) -> None:
    network, flops, elements, outputs = count(spec, clip)
    cost = network_cost(spec, clip, head="all")
    assert cost.macs == flops.get_total_flops() / 2
    assert cost.activations == elements.elements
    assert cost.params == sum(parameter.numel() for parameter in network.parameters())

    modules = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv3d | nn.Linear)}
    assert cost.weights == sum(module.weight.numel() for module in modules.values())

    layers = {module_name(layer.name): layer for layer in layer_costs(spec, clip, head="all")}
    products = {name for name in layers if name.endswith((".gather", ".scatter", ".compare", ".average"))}
    assert set(layers) - products == set(modules)
    by_module = flops.get_flop_counts()
    for name, module in modules.items():
        layer = layers[name]
        assert layer.weights == module.weight.numel(), name
        assert layer.activations == outputs[name], name
        assert layer.macs == sum(by_module[f"VideoNetwork.{name}"].values()) / 2, name
    for unit in {name.rpartition(".")[0] for name in products}:
        inside = [layer for name, layer in layers.items() if name.startswith(f"{unit}.")]
        assert sum(layer.macs for layer in inside) == sum(by_module[f"VideoNetwork.{unit}"].values()) / 2


@pytest.mark.parametrize("block", some_of(10))
def test_cost_equals_a_count_on_random_networks(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        spec = random_spec(seed)
        clips = clips_of(spec)
        assert_cost_equals_count(spec, clips[seed % len(clips)])


@pytest.mark.parametrize("block", some_of(8))
def test_cost_equals_a_count_on_networks_of_two_streams(block: int) -> None:
    for seed in range(10 * block, 10 * block + 10):
        spec = random_two_streams(seed)
        clips = clips_of(spec)
        assert_cost_equals_count(spec, clips[seed % len(clips)])


def test_the_random_networks_of_two_streams_cover_every_kind() -> None:
    specs = [random_two_streams(seed) for seed in range(80)]
    fusions = [(spec, fusion) for spec in specs for fusion in spec.fusions]
    assert {
        (fusion.kind, fusion.combination, spec.streams[fusion.target].every // spec.streams[fusion.source].every > 1)
        for spec, fusion in fusions
    } == {
        *product(("time_strided_convolution",), ("concat", "sum"), (False, True)),
        *product(("time_to_channel", "time_strided_sampling"), ("concat", "sum"), (True,)),
    }
    assert {fusion.source for _, fusion in fusions} == {0, 1}
    # Some are read by the conv5 of a stream, some in the middle of a longer one.
    assert {fusion.group + 1 == len(spec.streams[fusion.target].groups) for spec, fusion in fusions} == {False, True}
    assert {len(spec.streams[0].groups) - len(spec.streams[1].groups) for spec in specs} == {-1, 0, 1}


def test_the_random_networks_cover_every_kind() -> None:
    specs = [random_spec(seed) for seed in range(200)]
    streams = [spec.streams[0] for spec in specs]
    attentions = [group.attention for stream in streams for group in stream.groups]
    for values in (
        {stream.expansion_of for stream in streams},
        {stream.se is None for stream in streams},
        {stream.activation for stream in streams},
        {stream.depthwise for stream in streams},
        {stream.projection_norm for stream in streams},
        {spec.head.pool for spec in specs},
        {spec.clip.frames == 1 for spec in specs},
        {spec.clip.size % 2 for spec in specs},
        {attention is not None and len(attention.after) > 1 for attention in attentions},
        {attention.kind for attention in attentions if attention},
        {head_positions(spec, clips_of(spec)[1]) > 1 for spec in specs},
    ):
        assert len(values) == 2


@pytest.mark.parametrize("name", every_network())
def test_cost_equals_a_count_on_the_zoo(name: str) -> None:
    spec = get_spec(name)
    assert_cost_equals_count(spec, spec.clip)


def test_a_wrong_formula_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_one_multiply_add(*args: object) -> list[LayerCost]:
        first, *others = layer_costs(*args)  # type: ignore[arg-type]
        return [first._replace(macs=first.macs - 1), *others]

    monkeypatch.setattr("vidnas.arch.cost.layer_costs", without_one_multiply_add)
    with pytest.raises(AssertionError):
        assert_cost_equals_count(random_spec(0), random_spec(0).clip)


def test_head_at_one_position_or_all() -> None:
    spec = get_spec("x3d_l")
    clip = spec.clip.model_copy(update={"size": 356})
    one, every = network_cost(spec, clip), network_cost(spec, clip, head="all")
    per_position = 432 * 2048 + 2048 * 400
    assert (one.head_positions, every.head_positions) == (1, 9)
    assert every.macs - one.macs == 8 * per_position
    assert (one.weights, one.params) == (every.weights, every.params)
    pooled = spec.model_copy(update={"head": spec.head.model_copy(update={"pool": "global"})})
    assert network_cost(pooled, clip, head="all").macs == one.macs


def test_a_cost_is_printed_with_its_clip() -> None:
    assert str(network_cost(get_spec("x3d_s"))) == "1.963 GMACs @ 13x160x160, 3.794 M params"
    assert str(network_cost(get_spec("x2d"))) == "20.66 MMACs @ 1x112x112, 1.634 M params"


def test_costs_take_less_than_5_ms() -> None:
    def seconds(spec: ArchSpec) -> float:
        start = time.perf_counter()
        network_cost(spec)
        return time.perf_counter() - start

    # The least of many is what the machine does when nothing else runs on it.
    slowest = max(min(seconds(get_spec(name)) for _ in range(20)) for name in list_models())
    assert slowest < 5e-3
