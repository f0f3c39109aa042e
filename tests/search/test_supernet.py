"""A sampled network of the supernet and the extracted one are the same function, gradients included."""

import copy
import random

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace
from vidnas.search.space.windows import WINDOW_MODES, WindowMode, hidden_window
from vidnas.search.super_units import KernelSharing, SuperBlock
from vidnas.search.supernet import Supernet, extract

KERNELS = tuple(Kernel(t=t, s=s) for t in (1, 3) for s in (3, 5))


def group(depth: int, stride: int, channels: tuple[int, ...]) -> GroupSpace:
    return GroupSpace.model_validate(
        {
            "depth": depth,
            "stride": stride,
            "channels": channels,
            "expansion": (1.5, 2.25, 3.0),
            "kernel": KERNELS,
            "attention": ("none", "glore", "non_local"),
        }
    )


def small_space() -> Space:
    groups = (group(2, 2, (8, 12, 16)), group(2, 1, (8, 12, 16)), group(3, 2, (16, 24, 32, 40)))
    stream = StreamSpace(stem=StemSpec(channels=8), groups=groups, expansion_of="input", conv5=48)
    head = ClassificationSpec(num_classes=5, hidden=32, dropout=0.0)
    return Space(name="small", clip=ClipSpec(frames=3, size=24), streams=(stream,), head=head)


def random_choice(space: Space, rng: random.Random) -> Choice:
    return tuple(rng.randrange(size) for size in space.sizes)


def randomise(module: nn.Module, seed: int) -> None:
    """At the default start every residual branch is zero, which hides wrong blocks."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(1 + 0.3 * noise if "norm.weight" in name or "norm.t" in name else 0.3 * noise)


def run(network: nn.Module, clips: Tensor, *choice: Choice) -> tuple[Tensor, Tensor]:
    clips = clips.clone().requires_grad_()
    logits = network(clips, *choice)
    logits.square().sum().backward()
    assert clips.grad is not None
    return logits.detach(), clips.grad


PUBLISHED = {
    "autox3d": autox3d_space(ClipSpec(frames=2, size=32)),
    "tiny": tiny_space(ClipSpec(frames=2, size=32)),
}


@pytest.mark.parametrize(("mode", "kernels"), [*((mode, "separate") for mode in WINDOW_MODES), ("fair", "cropped")])
def test_sampled_equals_extracted_forward_and_every_gradient(mode: WindowMode, kernels: KernelSharing) -> None:
    space = small_space()
    rng = random.Random(1)
    choices = [space.smallest(), space.largest()] + [random_choice(space, rng) for _ in range(6)]
    check_sampled_equals_extracted(space, mode, kernels, choices)


@pytest.mark.parametrize(
    ("mode", "kernels"),
    [
        ("fair", "separate"),
        ("fair", "cropped"),
        *(pytest.param(mode, "separate", marks=pytest.mark.long) for mode in WINDOW_MODES if mode != "fair"),
    ],
)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_spaces(name: str, mode: WindowMode, kernels: KernelSharing) -> None:
    # Without dropout, which draws anew in every pass.
    space = PUBLISHED[name].model_copy(update={"head": ClassificationSpec(num_classes=5, dropout=0.0)})
    rng = random.Random(4)
    check_sampled_equals_extracted(space, mode, kernels, [random_choice(space, rng) for _ in range(3)])


def check_sampled_equals_extracted(
    space: Space, mode: WindowMode, kernels: KernelSharing, choices: list[Choice]
) -> None:
    """In float64, so that what is left of a difference is an error."""
    supernet = Supernet(space, mode, kernels).double()
    randomise(supernet, 0)
    shape = (2, 3, space.clip.frames, space.clip.size, space.clip.size)
    clips = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for choice in choices:
        supernet.zero_grad()
        network = extract(supernet, choice)
        sampled, sampled_grad = run(supernet, clips, choice)
        alone, alone_grad = run(network, clips)
        torch.testing.assert_close(sampled, alone, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(sampled_grad, alone_grad, rtol=1e-8, atol=1e-8)
        # The supernet's gradient is the network's pushed back through the slices, and nothing elsewhere.
        reached = {n: p.grad for n, p in supernet.named_parameters() if p.grad is not None}
        supernet.zero_grad()
        state = supernet.network_state(choice)
        pushed = [(state[n] * p.grad).sum() for n, p in network.named_parameters() if p.grad is not None]
        assert len(pushed) == len(state)
        torch.stack(pushed).sum().backward()
        expected = {n: p.grad for n, p in supernet.named_parameters() if p.grad is not None}
        assert reached.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(reached[name], gradient, rtol=1e-8, atol=1e-8, msg=name)


def with_kernel(space: Space, index: int) -> Choice:
    """The largest architecture with this kernel everywhere."""
    kernel = [variable.kind == "kernel" for variable in space.variables]
    return tuple(index if is_kernel else n for is_kernel, n in zip(kernel, space.largest(), strict=True))


@pytest.mark.parametrize("index", range(len(KERNELS)))
def test_cropped_kernels_are_the_centre_taps(index: int) -> None:
    space = small_space()
    supernet = Supernet(space, kernels="cropped")
    middle = supernet.streams[0].groups[0]["block1"].middle.weight
    assert middle.shape == (24, 1, 3, 5, 5)
    # Tap (t, y, x) of every channel gets the number 100 t + 10 y + x.
    t, y, x = torch.meshgrid(torch.arange(3), torch.arange(5), torch.arange(5), indexing="ij")
    with torch.no_grad():
        middle.copy_((100 * t + 10 * y + x).float().expand(24, 1, 3, 5, 5))
    taps = {
        0: [[[111, 112, 113], [121, 122, 123], [131, 132, 133]]],
        1: [[[100 + 10 * y + x for x in range(5)] for y in range(5)]],
        2: [[[100 * t + 10 * y + x for x in (1, 2, 3)] for y in (1, 2, 3)] for t in range(3)],
        3: [[[100 * t + 10 * y + x for x in range(5)] for y in range(5)] for t in range(3)],
    }
    network = extract(supernet, with_kernel(space, index))
    weight = network.streams[0].groups[0].block1.middle.weight
    assert torch.equal(weight, torch.tensor(taps[index]).float().expand_as(weight))


def test_the_shared_tensor_holds_the_largest_time_and_the_largest_side() -> None:
    """No single candidate need have both; norms stay apart."""
    space = small_space()
    group = space.streams[0].groups[0].model_copy(update={"kernel": (Kernel(t=5, s=1), Kernel(t=1, s=7))})
    stream = space.streams[0].model_copy(update={"groups": (group,)})
    supernet = Supernet(space.model_copy(update={"streams": (stream,)}), kernels="cropped")
    block = supernet.streams[0].groups[0]["block2"]
    assert block.middle.weight.shape[2:] == (5, 7, 7)
    assert set(block.middle_norm) == {"t5_s1", "t1_s7"}
    clips = torch.randn(2, 3, 5, 24, 24)
    for choice in (supernet.space.smallest(), supernet.space.largest()):
        torch.testing.assert_close(supernet(clips, choice), extract(supernet, choice)(clips))


def test_a_wrong_slice_is_noticed() -> None:
    """The comparison above must fail when one kernel is transposed or one gate is lost."""
    space = small_space()
    supernet = Supernet(space).double()
    randomise(supernet, 0)
    clips = torch.randn(2, 3, 3, 24, 24, dtype=torch.float64)
    choice = space.largest()
    right = supernet(clips, choice)
    network = extract(supernet, choice)
    transposed = copy.deepcopy(network)
    middle = transposed.streams[0].groups[1][0].middle
    middle.weight.data = middle.weight.data.transpose(3, 4).contiguous()
    ungated = copy.deepcopy(network)
    ungated.streams[0].groups[0][0].se = None
    for mutated in (transposed, ungated):
        assert (mutated(clips) - right).abs().max() > 1e-3 * right.abs().max()


def test_cost_of_choice_is_cost_of_extracted() -> None:
    space = small_space()
    supernet = Supernet(space)
    rng = random.Random(3)
    for _ in range(20):
        choice = random_choice(space, rng)
        params = sum(parameter.numel() for parameter in extract(supernet, choice).parameters())
        assert params == network_cost(space.decode(choice)).params


def test_published_space_slices_are_the_networks_shapes() -> None:
    """Every parameter of random AutoX3D networks gets a slice of exactly its shape, in every mode."""
    space = autox3d_space()
    rng = random.Random(4)
    for mode in WINDOW_MODES:
        with torch.device("meta"):
            supernet = Supernet(space, mode)
            for _ in range(3):
                choice = random_choice(space, rng)
                shapes = {n: p.shape for n, p in extract(supernet, choice).named_parameters()}
                assert {n: t.shape for n, t in supernet.network_state(choice).items()} == shapes


def test_forward_keeps_no_state() -> None:
    space = small_space()
    supernet = Supernet(space)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    clips = torch.randn(2, 3, 3, 24, 24)
    first = supernet(clips, space.smallest())
    supernet(clips, space.largest())
    torch.testing.assert_close(supernet(clips, space.smallest()), first)
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("zero_init_residual", [False, True])
def test_attention_changes_nothing_at_first(zero_init_residual: bool) -> None:
    space = small_space()
    supernet = Supernet(space, zero_init_residual=zero_init_residual)
    clips = torch.randn(2, 3, 3, 24, 24)
    attention = [i for i, variable in enumerate(space.variables) if variable.kind == "attention"]
    plain, glore, non_local = (
        tuple(option if i in attention else n for i, n in enumerate(space.largest())) for option in range(3)
    )
    torch.testing.assert_close(supernet(clips, plain), supernet(clips, glore))
    torch.testing.assert_close(supernet(clips, plain), supernet(clips, non_local))
    scales = [block.project_norm.weight for block in supernet.modules() if isinstance(block, SuperBlock)]
    assert all((scale == (0 if zero_init_residual else 1)).all() for scale in scales)


def test_state_is_differentiable_and_sparse() -> None:
    """A step on one network leaves channels outside its windows untouched by the gradient."""
    space = small_space()
    supernet = Supernet(space, "naive")
    randomise(supernet, 5)
    clips = torch.randn(2, 3, 3, 24, 24)
    supernet(clips, space.smallest()).sum().backward()
    expand = supernet.streams[0].groups[2]["block2"].expand.weight
    used = torch.zeros(expand.shape[:2], dtype=torch.bool)
    hidden = hidden_window((1.5, 2.25, 3.0), 0, (16, 24, 32, 40), 0, "naive")
    used[torch.tensor(hidden)[:, None], torch.arange(16)] = True
    assert expand.grad is not None
    touched = expand.grad.flatten(1) != 0
    assert touched[used].any()
    assert not touched[~used].any()


def test_functional_state_replaces_an_ordinary_networks_parameters() -> None:
    """`network_state` alone is enough to run the network elsewhere."""
    space = small_space()
    supernet = Supernet(space)
    randomise(supernet, 6)
    choice = space.largest()
    network = extract(supernet, choice)
    clips = torch.randn(2, 3, 3, 24, 24)
    torch.testing.assert_close(functional_call(network, supernet.network_state(choice), (clips,)), network(clips))
