"""An extracted network in inference, with norm statistics of its own, is what the supernet sampled.

The supernet's norms use the batch they see. An extracted network has running statistics (`recalibrate_norms`): with
those of one batch it must do to that batch what the supernet does; with any others, what the supernet's slices do with
them. The last maps are 3x3 and three frames long, so that every tap of every kernel sees values.
"""

import copy
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from test_supernet import random_choice, randomise
from torch import Tensor, nn
from torch.func import functional_call

from vidnas.arch.plan import head_unit
from vidnas.arch.spec import ClipSpec
from vidnas.engine.train.recalibrate import recalibrate_norms
from vidnas.nn.blocks import MBConv3D
from vidnas.nn.build import VideoNetwork
from vidnas.search.costs import CostTable
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.windows import WindowMode
from vidnas.search.super_units import KernelSharing
from vidnas.search.supernet import Supernet, extract

CLIP = ClipSpec(frames=3, size=65)
# Float64: the same sums in another order leave up to 1e-12 of the largest logit after thirty layers.
TOLERANCE = 1e-10
# What a planted mistake must exceed.
NOTICED = 1e-2
KINDS: dict[str, tuple[Space, WindowMode, KernelSharing]] = {
    "autox3d fair": (autox3d_space(CLIP), "fair", "separate"),
    "tiny cyclic": (tiny_space(CLIP), "cyclic", "separate"),
    "tiny cropped": (tiny_space(CLIP), "fair", "cropped"),
    "auto naive": (auto_space(10e6, num_classes=5, clip=CLIP)[0], "naive", "separate"),
}


class Case(NamedTuple):
    """A supernet, one of its networks, and what the supernet makes of the first clip."""

    supernet: Supernet
    choice: Choice
    logits: Tensor


def make_case(kind: str) -> Case:
    """Randomised, and in evaluation, which turns dropout off.

    The network is the cheapest of 20 random ones, for its speed, but for the largest kernel at the end.
    """
    space, mode, kernels = KINDS[kind]
    supernet = Supernet(space.with_classes(5), mode, kernels).double().eval()
    randomise(supernet, 0)
    rng = random.Random(1)
    choice = list(min((random_choice(space, rng) for _ in range(20)), key=CostTable.of(space).cost))
    last = max(i for i, variable in enumerate(space.variables) if variable.kind == "kernel")
    choice[last] = space.largest()[last]
    with torch.no_grad():
        return Case(supernet, tuple(choice), supernet(clips(0), tuple(choice)))


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(request.param)


def clips(seed: int) -> Tensor:
    """One clip: its last map has 27 values per channel for the norms."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, CLIP.frames, CLIP.size, CLIP.size, dtype=torch.float64, generator=generator)


def norms(network: nn.Module) -> Iterator[tuple[str, nn.BatchNorm3d]]:
    return ((name, module) for name, module in network.named_modules() if isinstance(module, nn.BatchNorm3d))


def transposed(network: VideoNetwork) -> None:
    """Height and width of the last kernel exchanged."""
    weight = last_block(network).middle.weight
    weight.data = weight.data.transpose(3, 4).contiguous()


def reversed_in_time(network: VideoNetwork) -> None:
    weight = last_block(network).middle.weight
    weight.data = weight.data.flip(2).contiguous()


def ungated(network: VideoNetwork) -> None:
    """The last squeeze-excitation removed."""
    gated = [block for block in blocks(network) if block.se is not None]
    gated[-1].se = None


def of_another_channel(network: VideoNetwork) -> None:
    """Scale and shift of a norm moved on by a channel."""
    norm = last_block(network).middle_norm
    norm.weight.data, norm.bias.data = norm.weight.data.roll(1), norm.bias.data.roll(1)


MISTAKES = (transposed, ungated, reversed_in_time, of_another_channel)


def blocks(network: VideoNetwork) -> list[MBConv3D]:
    return [module for module in network.modules() if isinstance(module, MBConv3D)]


def last_block(network: VideoNetwork) -> MBConv3D:
    return blocks(network)[-1]


@torch.no_grad()
def after_one_batch(case: Case, network: VideoNetwork) -> float:
    """Greatest difference between the supernet's logits and an extracted network's, calibrated on the same batch."""
    counts: dict[str, int] = {}
    hooks = [
        norm.register_forward_pre_hook(
            lambda _, inputs, name=name: counts.update({name: inputs[0].numel() // inputs[0].shape[1]})
        )
        for name, norm in norms(network)
    ]
    recalibrate_norms(network, [clips(0)])
    for hook in hooks:
        hook.remove()
    for name, norm in norms(network):
        # Running variances are those of a sample, n - 1 in the denominator; a batch is normalised by its own, n.
        norm.running_var *= (counts[name] - 1) / counts[name]
    return difference(network.eval()(clips(0)), case.logits)


@torch.no_grad()
def with_any_statistics(case: Case, network: VideoNetwork) -> float:
    """The same where both have the same random running statistics, on other clips."""
    recalibrate_norms(network, [clips(1)])
    generator = torch.Generator().manual_seed(3)
    for _, norm in norms(network):
        # Random about the true ones: with others values grow or vanish from layer to layer until nothing shows.
        scale = torch.rand(norm.num_features, generator=generator, dtype=torch.float64)
        shift = torch.randn(norm.num_features, generator=generator, dtype=torch.float64)
        norm.running_mean += 0.3 * shift * norm.running_var.sqrt()
        norm.running_var *= 0.5 + scale
    with torch.device("meta"):
        skeleton = VideoNetwork(case.supernet.space.decode(case.choice)).eval()
    state = {**case.supernet.network_state(case.choice), **dict(network.named_buffers())}
    return difference(network.eval()(clips(2)), functional_call(skeleton, state, (clips(2),), strict=True))


def difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


Comparison = Callable[[Case, VideoNetwork], float]


@pytest.mark.parametrize("compare", [after_one_batch, with_any_statistics])
def test_inference_is_what_was_sampled_and_mistakes_are_noticed(case: Case, compare: Comparison) -> None:
    spec = case.supernet.space.decode(case.choice)
    assert head_unit(spec).maps[0].side == 3
    assert spec.streams[0].groups[-1].kernel.t > 1
    network = extract(case.supernet, case.choice)
    assert compare(case, copy.deepcopy(network)) < TOLERANCE
    # In the largest space a comparison takes a second, so two mistakes must do.
    for mistake in MISTAKES[: 2 if case.supernet.space.name == "autox3d_space" else None]:
        mutated = copy.deepcopy(network)
        mistake(mutated)
        assert compare(case, mutated) > NOTICED, mistake.__name__


def test_statistics_of_several_batches_are_the_mean_of_what_the_supernets_norms_saw() -> None:
    supernet, choice, _ = make_case("tiny cyclic")
    network = extract(supernet, choice)
    recalibrate_norms(network, [clips(seed) for seed in range(3)])
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(norm, nn.BatchNorm3d):
            assert norm.running_mean is None
            values = inputs[0].detach().transpose(0, 1).flatten(1)
            seen.append((values.mean(1), values.var(1)))

    hook = nn.modules.module.register_module_forward_pre_hook(watch)
    with torch.no_grad():
        for seed in range(3):
            supernet(clips(seed), choice)
    hook.remove()
    order: list[nn.BatchNorm3d] = []
    hooks = [norm.register_forward_pre_hook(lambda norm, _: order.append(norm)) for _, norm in norms(network)]
    network.eval()(clips(0))
    for handle in hooks:
        handle.remove()
    assert len(seen) == 3 * len(order) == 3 * len(list(norms(network)))
    for place, norm in enumerate(order):
        means, variances = zip(*seen[place :: len(order)], strict=True)
        torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0), rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0), rtol=TOLERANCE, atol=TOLERANCE)
