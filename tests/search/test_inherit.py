"""Steps of a progressive search: what each may choose from, and that weights go on from one to the next."""

import random

import pytest
import torch
from test_supernet import random_choice, randomise
from test_two_stream_supernet import clips_for, small_space

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, StreamSpec
from vidnas.base.errors import VidnasError
from vidnas.search.inherit import inherit
from vidnas.search.space.progressive import STEPS, step_of, step_sizes, step_space
from vidnas.search.space.published.auto_tsnet import auto_tsnet_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Space
from vidnas.search.space.windows import WINDOW_MODES, WindowMode
from vidnas.search.supernet import Supernet, insert


def space_with_attention() -> Space:
    data = small_space().model_dump()
    for stream in data["streams"]:
        stream["groups"][1]["attention"] = ["none", "glore"]
    return Space.from_data(data)


def test_steps_of_the_published_space() -> None:
    space = auto_tsnet_space()
    assert [f"{size:.2e}" for size in step_sizes(space)] == ["3.31e+24", "2.81e+29", "4.10e+03"]
    assert step_sizes(space)[2] == 4096
    rng = random.Random(0)
    network: ArchSpec | None = None
    for step in range(len(STEPS)):
        part = step_space(space, step, network)
        assert part.size == step_sizes(space)[step]
        assert [v.path for v in part.variables] == [v.path for v in space.variables if step_of(v) == step]
        found = part.decode(random_choice(part, rng))
        if network is not None:
            plain = tuple(map(without_attention, found.streams))
            assert plain[: len(network.streams)] == network.streams
        network = found
    assert network is not None
    assert space.decode(space.encode(network)).content_hash == network.content_hash


def without_attention(stream: StreamSpec) -> StreamSpec:
    groups = tuple(group.model_copy(update={"attention": None}) for group in stream.groups)
    return stream.model_copy(update={"groups": groups})


def test_the_reconstructed_network_in_steps() -> None:
    space, spec = auto_tsnet_space(), get_spec("auto_tsnet_s_no_attention")
    first = spec.alone(0)
    assert step_space(space, 0).encode(first)
    second = step_space(space, 1, first)
    assert second.encode(spec)
    last = step_space(space, 2, spec)
    assert last.size == 4096
    assert last.decode(last.encode(get_spec("auto_tsnet_s"))).fusions == spec.fusions


def test_what_no_step_can_be() -> None:
    with pytest.raises(VidnasError, match="space tiny_space has one stream; a progressive search goes from stream to"):
        step_space(tiny_space(), 0)
    space = auto_tsnet_space()
    with pytest.raises(VidnasError, match="stream 1 and fusions are searched behind stream 0; give its network"):
        step_space(space, 1)
    other = get_spec("manual_tsnet_70").alone(0)
    with pytest.raises(VidnasError, match="is not in the space auto_tsnet_space_step1"):
        step_space(space, 1, other)


def test_attention_that_is_always_there_goes_on() -> None:
    """The first of its options, whichever is the smaller one."""
    data = small_space().model_dump()
    data["streams"][0]["groups"][1]["attention"] = [{"nodes": 4, "states": 8}, {"nodes": 2, "states": 4}]
    space = Space.from_data(data)
    part, found = step_space(space, 0), step_space(space, 0).largest()
    second = step_space(space, 1, part.decode(found))
    last = step_space(space, 2, second.decode(second.largest()))
    before, after = Supernet(second).double(), Supernet(last).double()
    randomise(before, 1)
    inherit(after, before, second.largest())
    clips = clips_for(space)
    first = last.encode(second.decode(second.largest()))
    torch.testing.assert_close(after(clips, first), before(clips, second.largest()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", WINDOW_MODES)
def test_weights_go_on_from_step_to_step(mode: WindowMode) -> None:
    space = space_with_attention()
    clips = clips_for(space)
    rng = random.Random(3)
    part = step_space(space, 0)
    before = Supernet(part, mode).double()
    randomise(before, 0)
    found = random_choice(part, rng)
    for step in (1, 2):
        part = step_space(space, step, before.space.decode(found))
        supernet = Supernet(part, mode).double()
        silent = {name: p.clone() for name, p in supernet.named_parameters()}
        inherit(supernet, before, found)
        expected = before(clips, found)
        assert expected.std() > 0.01
        torch.testing.assert_close(supernet(clips, part.smallest()), expected, rtol=1e-10, atol=1e-10)
        # Attention and fusions change nothing at first, the second stream neither.
        fresh = ("streams.1.", "fusions.") if step == 1 else ("glore",)
        for name, parameter in supernet.named_parameters():
            if any(part_name in name for part_name in fresh):
                assert torch.equal(parameter, silent[name]), name
        torch.testing.assert_close(supernet(clips, part.largest()), expected, rtol=1e-10, atol=1e-10)
        before, found = supernet, random_choice(part, rng)
        randomise(before, step)


def test_of_what_other_choices_use_nothing_is_overwritten() -> None:
    space = small_space()
    supernet = Supernet(space, "fair").double()
    randomise(supernet, 0)
    small, large = space.smallest(), space.largest()
    kept = {name: p.clone() for name, p in supernet.named_parameters()}
    state = {name: torch.full_like(tensor, 7.0) for name, tensor in supernet.network_state(small).items()}
    insert(supernet, small, state)
    assert all((tensor == 7.0).all() for tensor in supernet.network_state(small).values())
    changed = sum(int((p != kept[name]).sum()) for name, p in supernet.named_parameters())
    assert changed == sum(tensor.numel() for tensor in state.values())
    assert any((tensor != 7.0).any() for tensor in supernet.network_state(large).values())
    with pytest.raises(RuntimeError, match=r"no parameter head\.fc1\.weight of shape"):
        insert(supernet, small, {"head.fc1.weight": torch.zeros(1, 1)})


def test_a_mask_of_zeros_is_not_taken_for_what_is_unused() -> None:
    """Weights that are zero are inherited as zeros."""
    space = small_space()
    supernet = Supernet(space).double()
    randomise(supernet, 0)
    choice = space.largest()
    insert(supernet, choice, {name: torch.zeros_like(t) for name, t in supernet.network_state(choice).items()})
    assert not any(tensor.any() for tensor in supernet.network_state(choice).values())
