"""Spaces that users write: any network is one, and whatever is sampled from one is what was written."""

import copy
import math
import random
from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_spaces import random_space, random_two_stream_space
from random_specs import random_spec, random_two_streams
from test_supernet import random_choice, randomise, run
from torch import Tensor, nn

from vidnas.arch.cost import network_cost
from vidnas.arch.registry import get_spec, list_models
from vidnas.arch.spec import ArchSpec, GroupSpec, StreamSpec
from vidnas.nn.blocks import MBConv3D
from vidnas.nn.build import VideoNetwork
from vidnas.search.costs import CostTable, Metric
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace
from vidnas.search.space.windows import WINDOW_MODES, channel_window
from vidnas.search.supernet import Supernet, extract

# Sums of float64 in another order differ by about 1e-14 of the largest gradient; a wrong slice by far more.
TOLERANCE = 1e-10


def assert_holds_only(space: Space, spec: ArchSpec) -> None:
    assert space.size == 1
    assert space.decode(()).model_copy(update={"name": spec.name}) == spec
    assert space.encode(spec) == ()
    assert CostTable.of(space).costs([()]).tolist() == [network_cost(spec).macs]


@pytest.mark.parametrize("name", list_models())
def test_every_network_of_the_zoo_is_a_space(name: str) -> None:
    spec = get_spec(name)
    assert_holds_only(Space.from_json(spec.to_json()), spec)
    assert_holds_only(Space.from_yaml(spec.to_yaml()), spec)
    assert ArchSpec.from_yaml(spec.to_yaml()) == spec


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_network_is_a_space(seed: int) -> None:
    """Its hidden channels need not be whole before they are cut, as nothing divides them."""
    for spec in (random_spec(seed), random_two_streams(seed)):
        assert_holds_only(Space.from_yaml(spec.to_yaml()), spec)


def test_a_field_left_out_means_the_same_in_a_space_as_in_a_spec() -> None:
    for of_space, of_spec in ((StreamSpace, StreamSpec), (GroupSpace, GroupSpec)):
        for name, field in of_spec.model_fields.items():
            if name not in ("groups", "channels", "expansion", "kernel", "attention"):
                assert of_space.model_fields[name].default == field.default, name
    assert GroupSpec.model_fields["attention"].default is None
    assert GroupSpace.model_fields["attention"].default == ("none",)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_files_codes_and_costs_of_random_spaces(seed: int) -> None:
    space = random_space(seed) if seed % 2 else random_two_stream_space(seed)
    assert Space.from_yaml(space.to_yaml()) == Space.from_json(space.to_json()) == space
    rng = random.Random(seed)
    choices = [space.smallest(), space.largest(), *(random_choice(space, rng) for _ in range(5))]
    specs = [space.decode(choice) for choice in choices]
    assert [space.encode(spec) for spec in specs] == choices
    for metric in get_args(Metric):
        expected = [getattr(network_cost(spec), metric) for spec in specs]
        assert CostTable.of(space, metric).costs(choices).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_shortcut_is_identity_only_between_the_same_channels(seed: int) -> None:
    """Every border of a space that is accepted, in every mode: equal widths are equal channels, others are not."""
    stream = random_space(seed).streams[0]
    for g, group in enumerate(stream.groups):
        if group.stride == 2:
            continue
        entering = stream.input_channels(g)
        for mode in WINDOW_MODES:
            for i, c_in in enumerate(entering):
                for o, c_out in enumerate(group.channels):
                    same = channel_window(entering, i, mode) == channel_window(group.channels, o, mode)
                    assert same == (c_in == c_out)


def disagreement(supernet: Supernet, network: VideoNetwork, clips: Tensor, choice: Choice) -> float:
    """Greatest difference between a sampled network and another one in logits, gradient of the clips and gradients of
    all of the supernet's parameters, relative to the largest of each kind; infinite where one has more parameters."""
    supernet.zero_grad(set_to_none=True)
    network.zero_grad(set_to_none=True)
    sampled, sampled_grad = run(supernet, clips, choice)
    alone, alone_grad = run(network, clips)
    reached = {name: p.grad for name, p in supernet.named_parameters() if p.grad is not None}
    # The network's gradients pushed back through the slices that its parameters are.
    supernet.zero_grad(set_to_none=True)
    state = supernet.network_state(choice)
    pushed = [(state[name] * p.grad).sum() for name, p in network.named_parameters() if p.grad is not None]
    torch.stack(pushed).sum().backward()
    expected = {name: p.grad for name, p in supernet.named_parameters() if p.grad is not None}
    pairs = [(sampled, alone), (sampled_grad, alone_grad)]
    differences = [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]
    largest = max(float(gradient.abs().max()) for gradient in reached.values())
    for name, gradient in reached.items():
        other = expected.get(name, torch.zeros_like(gradient))
        differences.append(float((gradient - other).abs().max()) / largest)
    return max(differences) if expected.keys() <= reached.keys() else math.inf


def sampled_networks(seeds: range) -> Iterator[tuple[Supernet, Choice, Tensor]]:
    """Randomised supernets of random spaces, each with its ends and random choices; the modes take turns."""
    for seed in seeds:
        space = random_space(seed)
        supernet = Supernet(space, WINDOW_MODES[seed % 3]).double()
        randomise(supernet, seed)
        generator = torch.Generator().manual_seed(seed)
        shape = (2, 3, space.clip.frames, space.clip.size, space.clip.size)
        clips = torch.randn(shape, generator=generator, dtype=torch.float64)
        rng = random.Random(seed)
        for choice in (space.smallest(), space.largest(), random_choice(space, rng), random_choice(space, rng)):
            yield supernet, choice, clips


def test_sampled_equals_extracted_and_costs_what_the_table_says() -> None:
    kinds = set()
    for supernet, choice, clips in sampled_networks(range(12)):
        network = extract(supernet, choice)
        assert disagreement(supernet, network, clips, choice) < TOLERANCE
        params = sum(parameter.numel() for parameter in network.parameters())
        assert params == CostTable.of(supernet.space, "params").cost(choice)
        kinds |= {type(module).__name__ for module in network.modules()}
    assert {"GloRe", "NonLocal", "SqueezeExcite", "MBConv3D"} <= kinds


def transposed(network: VideoNetwork) -> VideoNetwork | None:
    """With height and width of the first spatial kernel exchanged; None if it has none."""
    network = copy.deepcopy(network)
    for block in blocks(network):
        if block.middle.weight.shape[-1] > 1:
            block.middle.weight.data = block.middle.weight.data.transpose(3, 4).contiguous()
            return network
    return None


def ungated(network: VideoNetwork) -> VideoNetwork | None:
    """Without the first squeeze-excitation; None if it has none."""
    network = copy.deepcopy(network)
    for block in blocks(network):
        if block.se is not None:
            block.se = None
            return network
    return None


def blocks(network: nn.Module) -> Iterator[MBConv3D]:
    return (module for module in network.modules() if isinstance(module, MBConv3D))


@pytest.mark.parametrize("mutate", [transposed, ungated])
def test_the_comparison_fails_under_a_planted_mutation(mutate) -> None:
    checked = 0
    for supernet, choice, clips in list(sampled_networks(range(100, 106)))[::3]:
        mutated = mutate(extract(supernet, choice))
        if mutated is not None:
            assert disagreement(supernet, mutated, clips, choice) > 1e-3
            checked += 1
    assert checked >= 4


def test_attention_of_several_sizes_and_places_shares_one_tensor_per_place() -> None:
    space = random_space(0)
    group = GroupSpace.model_validate(
        {
            "depth": 3,
            "stride": 2,
            "channels": [8, 12],
            "expansion": 1.5,
            "kernel": {"t": 1, "s": 3},
            "attention": [
                None,
                "glore",
                {"nodes": 5, "states": 3, "after": [1, 3]},
                {"nodes": 2, "states": 40, "after": [2]},
            ],
        }
    )
    stream = space.streams[0].model_copy(update={"groups": (group,)})
    space = Space.model_validate(space.model_copy(update={"streams": (stream,)}).model_dump())
    assert [(v.kind, v.size) for v in space.variables] == [("channels", 2), ("attention", 4)]
    assert (space.smallest(), space.largest()) == ((0, 0), (1, 1))
    supernet = Supernet(space)
    units = supernet.streams[0].groups[0]
    # Widths 8 and 12 have glore units of 12x24 and 18x36.
    assert {
        name: (units[name].projection.out_features, units[name].state.out_features) for name in units if "glo" in name
    } == {f"glore{block}": (18, 40) for block in (1, 2, 3)}
    used = {
        option: {name.split(".")[4] for name in supernet.network_state((1, option)) if "glore" in name}
        for option in range(4)
    }
    assert used == {0: set(), 1: {"glore3"}, 2: {"glore1", "glore3"}, 3: {"glore2"}}
    state = supernet.network_state((1, 2))["streams.0.groups.0.glore3.over_nodes.weight"]
    assert torch.equal(state, units["glore3"].over_nodes.weight[:5, :5])


def test_kinds_of_attention_in_one_group_have_tensors_of_their_own() -> None:
    space = random_space(0)
    group = GroupSpace.model_validate(
        {
            "depth": 2,
            "stride": 2,
            "channels": [8, 12],
            "expansion": 1.5,
            "kernel": {"t": 1, "s": 3},
            "attention": ["none", "glore", "non_local", {"kind": "non_local", "inner": 7, "after": [1]}],
        }
    )
    stream = space.streams[0].model_copy(update={"groups": (group,)})
    space = Space.model_validate(space.model_copy(update={"streams": (stream,)}).model_dump())
    assert Space.from_yaml(space.to_yaml()) == space
    assert (space.smallest(), space.largest()) == ((0, 0), (1, 1))
    supernet = Supernet(space)
    assert list(supernet.streams[0].groups[0]) == ["block1", "block2", "glore2", "non_local1", "non_local2"]
    used = {
        option: {
            name.split(".")[4] for name in supernet.network_state((1, option)) if ".glore" in name or ".non_" in name
        }
        for option in range(4)
    }
    assert used == {0: set(), 1: {"glore2"}, 2: {"non_local2"}, 3: {"non_local1"}}
    theta = supernet.network_state((0, 2))["streams.0.groups.0.non_local2.theta.weight"]
    assert theta.shape == (4, 8)
    assert space.encode(space.decode((1, 3))) == (1, 3)
