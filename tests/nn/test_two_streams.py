"""Networks of two streams: against a reference written from the paper, and what each fusion changes."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from random_specs import random_two_streams
from test_build import LAST, clip_for, randomised, reference_norm
from torch import Tensor, nn
from two_streams import KINDS, small_two_streams

from vidnas.arch.fusion import FusionSpec
from vidnas.arch.plan import fusion_units
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import FusionPlan
from vidnas.base.errors import VidnasError
from vidnas.nn.build import VideoNetwork, build, make_unit
from vidnas.nn.depthwise import DepthwiseConv3d
from vidnas.nn.norm_act import SqueezeExcite

# The reference


def reference_fusion(x: Tensor, module: nn.Module, plan: FusionPlan) -> Tensor:
    """SlowFast sec. 3.4: frames alpha apart, five of them, with 2 C filters; or packed; or sampled."""
    n, c, t, h, w = x.shape
    if plan.kind == "time_strided_sampling":
        return torch.stack([x[:, :, plan.ratio * i] for i in range(t // plan.ratio)], 2)
    if plan.kind == "time_to_channel":
        packed = x.reshape(n, c, t // plan.ratio, plan.ratio, h, w).permute(0, 3, 1, 2, 4, 5)
        return packed.reshape(n, plan.ratio * c, t // plan.ratio, h, w)
    frames = []
    for i in range(t // plan.ratio):
        near = [(k, plan.ratio * i + k - 2) for k in range(5) if 0 <= plan.ratio * i + k - 2 < t]
        weight = module.conv.weight[..., 0, 0]
        frames.append(sum(torch.einsum("nchw,oc->nohw", x[:, :, j], weight[:, :, k]) for k, j in near))
    return reference_norm(torch.stack(frames, 2), module.norm).clamp(min=0)


def reference_logits(network: VideoNetwork, clips: Tensor) -> Tensor:
    """Backwards from the head: what enters a group is what the group before gives, and what is fused into it."""
    spec, plans = network.spec, fusion_units(network.spec)

    def given(s: int, g: int) -> Tensor:
        stream = network.streams[s]
        return stream.groups[g](entering(s, g))

    def entering(s: int, g: int) -> Tensor:
        stream, every = network.streams[s], spec.streams[s].every
        if g == 0:
            return stream.stem(torch.stack([clips[:, :, i] for i in range(0, clips.shape[2], every)], 2))
        own = given(s, g - 1)
        for plan, fusion in zip(plans, spec.fusions, strict=True):
            if (fusion.target, fusion.group) == (s, g - 1):
                fused = reference_fusion(given(fusion.source, g - 1), network.get_submodule(plan.path), plan)
                own = own + fused if fusion.combination == "sum" else torch.cat([own, fused], 1)
        return own

    last = [stream.conv5(entering(s, len(stream.groups))) for s, stream in enumerate(network.streams)]
    pooled = torch.cat([y.mean((2, 3, 4)) for y in last], 1)
    features = network.head.fc1(pooled).relu()
    return features if network.head.fc2 is None else network.head.fc2(features)


@pytest.mark.parametrize("spec", [small_two_streams(), *map(random_two_streams, range(24))], ids=lambda spec: spec.name)
def test_a_network_is_its_reference(spec: ArchSpec) -> None:
    network = randomised(build(spec)).double().eval()
    clips = clip_for(spec).double()
    # fp64: only the order of sums differs. GloRe cubes its input, so a chain of them with random weights may overflow.
    expected = reference_logits(network, clips)
    torch.testing.assert_close(network(clips), expected, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fusions_equal_their_references(kind: str, dtype: torch.dtype) -> None:
    spec = FusionSpec(source=1, target=0, group=3, kind=kind)  # type: ignore[arg-type]
    network = get_spec("auto_tsnet_s").model_copy(update={"fusions": (spec,)})
    (plan,) = fusion_units(network)
    module = randomised(make_unit(plan)).to(dtype).eval()
    x = torch.randn(2, plan.in_channels, 32, 3, 3, dtype=dtype).contiguous(memory_format=LAST)
    expected = reference_fusion(x.double(), randomised(make_unit(plan)).double().eval(), plan)
    assert expected.shape == (2, plan.out_channels, 4, 3, 3)
    # fp32 rounding of 80 products.
    torch.testing.assert_close(module(x).double(), expected, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_of_two_streams_run_forward_and_backward(seed: int) -> None:
    spec = random_two_streams(seed)
    network = randomised(build(spec), seed).eval()
    for extra in (0, 33):
        y = network(clip_for(spec, extra=extra))
        assert y.shape == (2, spec.head.num_classes or spec.head.hidden)
        assert y.isfinite().all()
    y.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


# What each part is for


@pytest.mark.parametrize("group", range(4))
def test_a_fusion_that_is_lost_is_noticed(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: the map of one fusion is zeros, or comes from the other end of time."""
    spec = small_two_streams()
    network = randomised(build(spec)).double().eval()
    clips = clip_for(spec).double()
    before = network(clips)
    module = network.fusions[spec.fusions[group].key]
    forward = module.forward
    for mutated in (lambda x: torch.zeros_like(forward(x)), lambda x: forward(x.flip(2))):
        monkeypatch.setattr(module, "forward", mutated)
        changed = network(clips)
        # The reference is met to 1e-9.
        assert (changed - before).abs().max() > 1e-7 * before.abs().max()
        monkeypatch.setattr(module, "forward", forward)
    assert torch.equal(network(clips), before)


def test_without_fusions_streams_meet_in_the_head_alone() -> None:
    spec = small_two_streams(fusions=())
    network = randomised(build(spec)).eval()
    clips = clip_for(spec)
    sparse, dense = network.forward_maps(clips)
    for s, own in enumerate((sparse, dense)):
        alone = build(spec.alone(s))
        state = {name: value for name, value in network.state_dict().items() if name.startswith(f"streams.{s}.")}
        alone.load_state_dict({name.replace(f"streams.{s}", "streams.0"): v for name, v in state.items()}, strict=False)
        torch.testing.assert_close(alone.eval().forward_features(clips), own)
    assert (sparse.shape[2], dense.shape[2]) == (2, 8)


@pytest.mark.parametrize("training", [True, False])
def test_a_block_into_which_a_fusion_comes_starts_by_passing_its_own_channels_on(training: bool) -> None:
    torch.manual_seed(0)
    network = build(small_two_streams()).train(training)
    groups = network.streams[0].groups
    block, other = groups[1].block1, groups[3].block1
    x = torch.rand(2, block.shortcut.in_channels, 2, 8, 8).to(memory_format=LAST)
    # The branch beside it starts at zero.
    y = block(x)
    assert torch.equal(y, x[:, :12])
    y.square().sum().backward()
    assert block.shortcut_norm.weight.grad.all()
    # From 16 to 20 channels it projects alone.
    assert other.shortcut_norm.weight.all()


def test_the_sparse_stream_sees_its_frames_alone() -> None:
    spec = small_two_streams(fusions=())
    network = randomised(build(spec)).eval()
    clips = clip_for(spec)
    other = clips.clone()
    other[:, :, [1, 2, 3, 5, 6, 7]] = 0
    (sparse, dense), (sparse_again, dense_again) = network.forward_maps(clips), network.forward_maps(other)
    assert torch.equal(sparse, sparse_again)
    assert not torch.allclose(dense, dense_again)


def test_attention_comes_before_what_is_fused() -> None:
    """GloRe works on the stream's own channels, and what a stream gives has been through it."""
    network = build(small_two_streams())
    for s, own in ((0, 12), (1, 5)):
        assert network.get_submodule(f"streams.{s}.groups.1.glore2").state.in_features == own
    assert network.get_submodule("streams.0.groups.2.block1").expand.in_channels == 12 + 4 * 5


# How it runs


def test_everything_runs_in_channels_last() -> None:
    network = build(small_two_streams()).eval()
    outputs = {}
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv3d | nn.BatchNorm3d | SqueezeExcite | DepthwiseConv3d):
            module.register_forward_hook(lambda _m, x, y, path=path: outputs.update({path: (*x, y)}))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network(clip_for(network.spec))
    finally:
        torch.set_num_threads(threads)
    assert len(outputs) > 50
    # The sparse stem alone reads frames that lie apart in memory.
    assert [path for path, maps in outputs.items() if not all(y.is_contiguous(memory_format=LAST) for y in maps)] == [
        "streams.0.stem.spatial"
    ]


def test_checkpointing_changes_nothing() -> None:
    network = randomised(build(small_two_streams()))
    start = {key: value.clone() for key, value in network.state_dict().items()}
    clips = clip_for(network.spec)
    results = []
    for checkpointing in (False, True):
        network.load_state_dict(start)
        network.activation_checkpointing = checkpointing
        network.zero_grad()
        torch.manual_seed(5)
        F.cross_entropy(network(clips), torch.tensor([1, 2])).backward()
        gradients = {key: parameter.grad.clone() for key, parameter in network.named_parameters()}
        results.append((gradients, {key: value.clone() for key, value in network.state_dict().items()}))
    for first, second in zip(*results, strict=True):
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_captured_network_trains_as_the_network() -> None:
    """Forward and backward as one graph each."""
    spec = small_two_streams()
    streams = tuple(stream.model_copy(update={"groups": stream.groups[:1]}) for stream in spec.streams)
    head = spec.head.model_copy(update={"dropout": 0.0})
    spec = spec.model_copy(update={"streams": streams, "fusions": spec.fusions[:1], "head": head})
    eager = randomised(build(spec)).double()
    other = copy.deepcopy(eager)
    captured = torch.compile(other, fullgraph=True, backend="aot_eager")
    clips = clip_for(spec, batch=3).double()
    losses = [F.cross_entropy(network(clips), torch.arange(3)) for network in (captured, eager)]
    torch.testing.assert_close(*losses)
    for value in losses:
        value.backward()
    for (name, ours), right in zip(other.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, right.grad, rtol=1e-6, atol=1e-10, msg=name)


@pytest.mark.parametrize(("frames", "size", "positions"), [(8, 40, 4), (16, 32, 3)])
def test_positions_of_a_larger_clip_see_the_same_time_and_place_in_both_streams(
    frames: int, size: int, positions: int
) -> None:
    spec = small_two_streams()
    head = spec.head.model_copy(update={"ensemble": "logit_mean"})
    network = randomised(build(spec.model_copy(update={"head": head}))).eval()
    clips = torch.randn(2, 3, frames, size, size).contiguous(memory_format=LAST)
    sparse, dense = network.forward_maps(clips)
    # The windows are 2 and 8 frames of 4 x 4 positions.
    rows = []
    for t in range(frames // 4 - 2 + 1):
        for i in range(size // 8 - 4 + 1):
            for j in range(size // 8 - 4 + 1):
                place = slice(i, i + 4), slice(j, j + 4)
                windows = sparse[:, :, t : t + 2, *place], dense[:, :, 4 * t : 4 * t + 8, *place]
                rows.append(torch.cat([y.mean((2, 3, 4)) for y in windows], 1))
    assert len(rows) == positions
    expected = torch.stack([network.head.fc2(network.head.fc1(row).relu()) for row in rows]).mean(0)
    torch.testing.assert_close(network(clips), expected)


@pytest.mark.parametrize("pool", ["fixed", "global"])
def test_frames_that_are_no_multiple_are_refused(pool: str) -> None:
    spec = small_two_streams()
    network = build(spec.model_copy(update={"head": spec.head.model_copy(update={"pool": pool})})).eval()
    with pytest.raises(VidnasError, match="a clip of 9 frames: the network takes one in 4, give a multiple of that"):
        network(torch.zeros(1, 3, 9, 32, 32))


def test_one_last_map_is_refused_where_there_are_two() -> None:
    network = build(small_two_streams()).eval()
    clips = clip_for(network.spec)
    for give in (network.forward_features, network.forward_intermediates):
        with pytest.raises(
            VidnasError, match=r"small_two_streams has 2 streams; forward_maps gives the last map of each"
        ):
            give(clips)


def test_names_of_a_network_of_one_stream_are_what_they_were() -> None:
    """Weight files of before there were two streams load."""
    with torch.device("meta"):
        names = set(build(get_spec("autox3d_s")).state_dict())
    pattern = r"streams\.0\.(stem|groups\.\d+\.(block|glore)\d+|conv5)\..+|head\.fc[12]\.(weight|bias)"
    assert [name for name in names if not re.fullmatch(pattern, name)] == []
