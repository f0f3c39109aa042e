"""Our X3D computes what pytorchvideo's does: logits, probabilities, gradients, norm statistics.

Every parameter and norm statistic is randomised first: at initialisation all residual branches are zero and would
hide wrong blocks.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.nn.blocks import MBConv3D
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.official_keys import to_ours, to_pytorchvideo

create_x3d = pytest.importorskip("pytorchvideo.models.x3d", reason="needs the `peers` extra").create_x3d

# fp32 rounding through 55 blocks in two memory layouts: gaps of 2e-7 to 5e-7 were seen; a wrong block gives over 1e-3.
TOLERANCE = 1e-5
DEPTH_FACTOR = {"x3d_l": 5.0}


def theirs_for(spec: ArchSpec) -> nn.Module:
    """pytorchvideo's network of the same clip, giving logits where it would give probabilities."""
    return create_x3d(
        input_clip_length=spec.clip.frames,
        input_crop_size=spec.clip.size,
        depth_factor=DEPTH_FACTOR.get(spec.name, 2.2),
        head_activation=None,
    )


def randomise(module: nn.Module, seed: int) -> None:
    """Every parameter and norm statistic random, at scales that keep all branches and gates at work."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("weight"):
            tensor.uniform_(0.4, 1, generator=generator)
        else:
            tensor.normal_(0, 0.3, generator=generator)


def twins(name: str, ensemble: str = "logit_mean", clip: ClipSpec | None = None) -> tuple[VideoNetwork, nn.Module]:
    """Our network and pytorchvideo's with equal random contents, in evaluation mode."""
    spec = get_spec(name).with_clip(clip or get_spec(name).clip)
    spec = spec.model_copy(update={"head": spec.head.model_copy(update={"ensemble": ensemble})})
    theirs = theirs_for(spec)
    randomise(theirs, seed=0)
    ours = build(spec)
    ours.load_state_dict(to_ours(theirs.state_dict()).tensors)
    return ours.eval(), theirs.eval()


def random_clip(spec: ArchSpec, size: int, batch: int = 1, seed: int = 1) -> Tensor:
    """Blobs and noise: over noise alone all clips would have nearly the same mean features, so nearly one output."""
    generator = torch.Generator().manual_seed(seed)
    shape = (spec.clip.frames, size, size)
    blobs = F.interpolate(torch.randn((batch, 3, 3, 5, 5), generator=generator), size=shape, mode="trilinear")
    return 3 * blobs + torch.randn((batch, 3, *shape), generator=generator)


def relative_gap(ours: VideoNetwork, theirs: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        expected = theirs(x)
        got = ours(x.contiguous(memory_format=torch.channels_last_3d))
    return ((got - expected).abs().max() / expected.abs().max()).item()


def assert_parity(ours: VideoNetwork, theirs: nn.Module, x: Tensor) -> None:
    assert relative_gap(ours, theirs, x) < TOLERANCE


# The published clip; then the test crop, which leaves 2 x 2 positions to the head, for L 3 x 3.
@pytest.mark.parametrize("size", [160, 182])
@pytest.mark.parametrize("name", ["x3d_xs", "x3d_s"])
def test_logits_of_xs_and_s(name: str, size: int) -> None:
    ours, theirs = twins(name)
    assert_parity(ours, theirs, random_clip(ours.spec, size))


@pytest.mark.parametrize("size", [224, pytest.param(256, marks=pytest.mark.long)])
def test_logits_of_m(size: int) -> None:
    ours, theirs = twins("x3d_m")
    assert_parity(ours, theirs, random_clip(ours.spec, size))


@pytest.mark.parametrize("size", [pytest.param(312, marks=pytest.mark.long), 356])
def test_logits_of_l(size: int) -> None:
    ours, theirs = twins("x3d_l")
    assert_parity(ours, theirs, random_clip(ours.spec, size))


SMALL = ClipSpec(frames=4, size=96)


def test_outputs_depend_on_the_input() -> None:
    """Else equal outputs would prove little."""
    ours, theirs = twins("x3d_xs", clip=SMALL)
    with torch.no_grad():
        first, second = (theirs(random_clip(ours.spec, SMALL.size, seed=seed)) for seed in (1, 2))
    assert (first - second).abs().max() > 1000 * TOLERANCE * first.abs().max()


def transpose_kernel(block: MBConv3D) -> None:
    block.middle.weight.data = block.middle.weight.data.transpose(3, 4).contiguous()


def remove_squeeze_excitation(block: MBConv3D) -> None:
    assert block.se is not None
    block.se = None


def swap_norm_statistics(block: MBConv3D) -> None:
    mean, variance = block.expand_norm.running_mean, block.expand_norm.running_var
    assert mean is not None
    assert variance is not None
    mean.copy_(mean.flip(0))
    variance.copy_(variance.flip(0))


@pytest.mark.parametrize("mutate", [transpose_kernel, remove_squeeze_excitation, swap_norm_statistics])
@pytest.mark.parametrize("place", ["0.block1", "1.block3", "2.block5", "3.block7"])
def test_a_wrong_block_is_noticed(place: str, mutate: Callable[[MBConv3D], None]) -> None:
    ours, theirs = twins("x3d_xs", clip=SMALL)
    x = random_clip(ours.spec, SMALL.size)
    assert_parity(ours, theirs, x)
    block = ours.get_submodule(f"streams.0.groups.{place}")
    assert isinstance(block, MBConv3D)
    mutate(block)
    with pytest.raises(AssertionError):
        assert_parity(ours, theirs, x)


@pytest.mark.parametrize("size", [96, 128, 160])
def test_softmax_mean_is_the_mean_of_probabilities_over_positions(size: int) -> None:
    """SlowFast's testing, from pytorchvideo's modules by hand: 1, 2 x 2 and 3 x 3 positions."""
    ours, theirs = twins("x3d_xs", ensemble="softmax_mean", clip=SMALL)
    x = random_clip(ours.spec, size, batch=2)
    with torch.no_grad():
        maps = x
        for block in theirs.blocks[:-1]:
            maps = block(maps)
        head = theirs.blocks[-1]
        logits = head.proj(head.pool(maps).permute(0, 2, 3, 4, 1)).flatten(1, 3)
        expected = logits.softmax(-1).mean(1)
        got = ours(x).softmax(-1)
    assert logits.shape[1] == ((size - 96) // 32 + 1) ** 2
    # fp32: probabilities below 1, of logits equal to 1e-6.
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    if size > 96:
        mean_logits = logits.mean(1).softmax(-1)
        assert (mean_logits - expected).abs().max() > 1e-3


def test_training_mode_gradients_and_statistics() -> None:
    clip = ClipSpec(frames=3, size=64)
    ours, theirs = twins("x3d_xs", clip=clip)
    for network, head in ((ours, ours.head), (theirs, theirs.blocks[-1])):
        network.double().train()
        head.dropout.p = 0.0
    x = random_clip(ours.spec, clip.size, batch=3).double()
    labels = torch.tensor([3, 141, 59])
    for network in (ours, theirs):
        F.cross_entropy(network(x), labels).backward()

    got = to_pytorchvideo({name: parameter.grad for name, parameter in ours.named_parameters()})
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        # fp64, through batch statistics of 26 blocks: gaps of 3e-13 were seen.
        assert (got[name] - gradient).abs().max() < 1e-9 * gradient.abs().max(), name

    statistics = to_pytorchvideo(ours.state_dict())
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(statistics[name], buffer, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["x3d_xs", "x3d_s", "x3d_m", "x3d_l"])
def test_names_and_shapes_are_pytorchvideos(name: str) -> None:
    with torch.device("meta"):
        theirs = theirs_for(get_spec(name)).state_dict()
        ours = build(get_spec(name)).state_dict()
    renamed = to_pytorchvideo(ours)
    assert {key: value.shape for key, value in renamed.items()} == {key: value.shape for key, value in theirs.items()}


def test_round_trip_keeps_every_bit() -> None:
    theirs = theirs_for(get_spec("x3d_xs"))
    randomise(theirs, seed=3)
    state = theirs.state_dict()
    ours = to_ours(state)
    assert (ours.dialect, ours.left) == ("pytorchvideo", ())
    again = to_pytorchvideo(ours.tensors)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    build(get_spec("x3d_xs")).load_state_dict(ours.tensors)
