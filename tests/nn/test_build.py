"""Built networks: initialisation, layouts, outputs, and fp64 references of the blocks."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from random_specs import random_spec
from torch import Tensor, nn
from zoo import every_network

import vidnas
from vidnas.arch.plan import attention_plan, network_units
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, AttentionSpec, ClassificationSpec, ClipSpec, GloReSpec, NonLocalSpec
from vidnas.arch.units import BlockPlan, GloRePlan, HeadPlan, LastMap, NonLocalPlan, StreamUnit
from vidnas.base.errors import VidnasError
from vidnas.nn.attention import Attention, GloRe, NonLocal
from vidnas.nn.blocks import MBConv3D, SqueezeExcite, conv3d
from vidnas.nn.build import VideoNetwork, build, make_unit
from vidnas.nn.create import create_model

SMALL = ClipSpec(frames=4, size=64)
LAST = torch.channels_last_3d


def small(name: str, **head: object) -> ArchSpec:
    """A network of the zoo on a small clip."""
    spec = get_spec(name).with_clip(SMALL)
    return spec.model_copy(update={"head": spec.head.model_copy(update=head)})


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and norm statistic random, so that no branch hides."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.is_floating_point():
            scale = (2 / tensor[0].numel()) ** 0.5 if tensor.dim() > 1 else 0.5
            tensor.normal_(0, scale, generator=generator)
    return module


def clip_for(spec: ArchSpec, batch: int = 2, extra: int = 0) -> Tensor:
    channels, size = spec.streams[0].stem.in_channels, spec.clip.size + extra
    shape = (batch, channels, spec.clip.frames, size, size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=LAST)


# Initialisation


@pytest.mark.parametrize("name", ["x3d_xs", "autox3d_s"])
def test_he_initialisation(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name)
    convs = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    for conv in convs:
        fan_out = conv.weight.shape[0] * math.prod(conv.kernel_size)
        ratio = conv.weight.std().item() / math.sqrt(2 / fan_out)
        # The std of n normal numbers is right to 1 / sqrt(2n); five times that never happens by chance.
        assert abs(ratio - 1) < 5 / math.sqrt(2 * conv.weight.numel())
    assert network.head.fc1.weight.std().item() == pytest.approx(math.sqrt(2 / 432), rel=0.01)
    assert network.head.fc2 is not None
    assert network.head.fc2.weight.std().item() == pytest.approx(0.01, rel=0.01)
    for name_, parameter in network.named_parameters():
        if name_.endswith("bias"):
            assert not parameter.any(), name_


def test_every_residual_branch_starts_at_zero() -> None:
    network = create_model(small("autox3d_s"))
    ends = {f"{name}.project_norm" for name, m in network.named_modules() if isinstance(m, MBConv3D)}
    ends |= {f"{name}.norm" for name, m in network.named_modules() if isinstance(m, Attention)}
    assert len(ends) == 26 + 1
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm3d):
            expected = 0.0 if name in ends else 1.0
            assert (module.weight == expected).all(), name

    block = network.get_submodule("streams.0.groups.1.block2")
    x = torch.randn(2, 16, 4, 16, 16)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize("attention", [GloReSpec(nodes=72, states=144), NonLocalSpec(inner=24)], ids=str)
def test_attention_starts_as_the_identity_and_learns(attention: AttentionSpec) -> None:
    torch.manual_seed(0)
    spec = small("autox3d_s")
    groups = list(spec.streams[0].groups)
    groups[3] = groups[3].model_copy(update={"attention": attention})
    stream = spec.streams[0].model_copy(update={"groups": tuple(groups)})
    network = create_model(spec.model_copy(update={"streams": (stream,)}))
    unit = network.get_submodule(f"streams.0.groups.3.{attention.kind}3")
    x = torch.randn(2, 48, 4, 8, 8)
    assert torch.equal(unit(x), x)
    unit(x).square().sum().backward()
    assert unit.norm.weight.grad.abs().max() > 0


def test_one_seed_gives_one_network() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build(small("x3d_xs")).state_dict()["head.fc1.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


# Shapes and layouts


@pytest.mark.parametrize("name", every_network())
def test_every_network_of_the_zoo(name: str) -> None:
    spec = get_spec(name)
    with torch.device("meta"):
        network = create_model(name, num_classes=7).eval()
        x = torch.empty(2, 3, spec.clip.frames, spec.clip.size, spec.clip.size)
    maps = network.forward_maps(x)
    assert network.head(*maps).shape == (2, 7)
    side = math.ceil(spec.clip.size / 32)
    assert [y.shape for y in maps] == [
        (2, stream.conv5, spec.clip.frames // stream.every, side, side) for stream in spec.streams
    ]


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_run_forward_and_backward(seed: int) -> None:
    spec = random_spec(seed)
    network = build(spec)
    randomised(network, seed)
    network.eval()
    for extra in (0, 33):
        y = network(clip_for(spec, extra=extra))
        assert y.shape == (2, spec.head.num_classes or spec.head.hidden)
        assert y.isfinite().all()
    y.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_features_instead_of_classes() -> None:
    network = create_model(small("x3d_xs"), num_classes=0).eval()
    assert network.head.fc2 is None
    x = clip_for(network.spec)
    features = network(x)
    assert features.shape == (2, 2048)
    pooled = network.forward_features(x).mean((2, 3, 4))
    torch.testing.assert_close(features, network.head.fc1(pooled).relu())


def test_intermediate_features() -> None:
    network = create_model(small("autox3d_s")).eval()
    x = clip_for(network.spec)
    outputs, last = network.forward_intermediates(x)
    assert [tuple(y.shape[1:]) for y in outputs] == [
        (channels, 4, side, side)
        for channels, side in zip(
            (16, 16, 48, 48, 72, 72, 88, 88, 144, 144, 192), (16, 16, 8, 8, 4, 4, 4, 4, 2, 2, 2), strict=True
        )
    ]
    assert torch.equal(last, network.forward_features(x))
    assert torch.equal(network.streams[0].conv5(outputs[-1]), last)
    assert torch.equal(network.head(last), network(x))


@pytest.mark.parametrize("name", ["x3d_xs", "autox3d_s"])
def test_everything_runs_in_channels_last(name: str) -> None:
    network = create_model(small(name)).eval()
    for parameter in network.parameters():
        assert parameter.dim() != 5 or parameter.is_contiguous(memory_format=LAST)
    outputs = {}
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv3d | nn.BatchNorm3d | SqueezeExcite | MBConv3D | Attention):
            module.register_forward_hook(lambda _m, _i, y, path=path: outputs.update({path: y}))
    # With one thread torch gives 1 x 1 x 1 convolutions to a kernel that drops the layout.
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network(clip_for(network.spec))
    finally:
        torch.set_num_threads(threads)
    assert len(outputs) > 100
    assert [path for path, y in outputs.items() if not y.is_contiguous(memory_format=LAST)] == []


def test_layout_does_not_change_the_result() -> None:
    network = randomised(build(small("autox3d_s")).double()).eval()
    x = clip_for(network.spec).double()
    torch.testing.assert_close(network(x.contiguous()), network(x), rtol=1e-10, atol=1e-10)


def test_a_clip_smaller_than_the_pool_is_refused() -> None:
    network = create_model(small("x3d_xs")).eval()
    with pytest.raises(VidnasError, match=r"last map of \(4, 1, 1\), smaller than the network's pool \(4, 2, 2\)"):
        network(torch.zeros(1, 3, 4, 32, 32))
    with pytest.raises(VidnasError, match=r"last map of \(3, 2, 2\)"):
        network(torch.zeros(1, 3, 3, 64, 64))
    pooled = create_model(small("x3d_xs", pool="global")).eval()
    assert pooled(torch.zeros(1, 3, 3, 32, 32)).shape == (1, 400)


# Head


@pytest.mark.parametrize("ensemble", ["softmax_mean", "logit_mean"])
def test_positions_are_averaged_as_the_spec_says(ensemble: str) -> None:
    network = randomised(build(small("x3d_xs", ensemble=ensemble))).eval()
    maps = torch.randn(3, 432, 4, 3, 3)
    windows = [maps[:, :, :, i : i + 2, j : j + 2].mean((2, 3, 4)) for i in range(2) for j in range(2)]
    head = network.head
    logits = torch.stack([head.fc2(head.fc1(window).relu()) for window in windows])
    if ensemble == "logit_mean":
        torch.testing.assert_close(head(maps), logits.mean(0))
    else:
        torch.testing.assert_close(head(maps).exp(), logits.softmax(-1).mean(0))
    # One position gives plain logits either way; so does training, where dropout is off here.
    torch.testing.assert_close(head(maps[..., :2, :2]), logits[0])
    head.dropout.p = 0.0
    torch.testing.assert_close(head.train()(maps), logits.mean(0))


def test_positions_of_a_multi_label_head_are_averaged_as_probabilities() -> None:
    network = randomised(build(small("x3d_xs").with_classes(7, multi_label=True))).eval()
    maps = torch.randn(3, 432, 4, 3, 3)
    head = network.head
    windows = [maps[:, :, :, i : i + 2, j : j + 2].mean((2, 3, 4)) for i in range(2) for j in range(2)]
    logits = torch.stack([head.fc2(head.fc1(window).relu()) for window in windows])
    torch.testing.assert_close(head(maps).sigmoid(), logits.sigmoid().mean(0))
    torch.testing.assert_close(head(maps[..., :2, :2]), logits[0])
    # Large logits, of which float32 knows no probability but 1, keep their size.
    with torch.no_grad():
        head.fc2.bias.add_(60)
    torch.testing.assert_close(head(maps[..., :2, :2].repeat(1, 1, 1, 2, 2)), head(maps[..., :2, :2]))


@pytest.mark.parametrize("pool", ["fixed", "global"])
def test_maps_of_other_frames_are_pooled_each_on_its_own(pool: str) -> None:
    windows = (LastMap(2, 2), LastMap(16, 2))
    spec = ClassificationSpec(num_classes=3, hidden=8, pool=pool, ensemble="logit_mean")
    plan = HeadPlan(path="head", in_channels=9, out_channels=3, spec=spec, maps=windows, windows=windows)
    head = randomised(make_unit(plan)).eval()
    sparse, dense = torch.randn(2, 5, 2, 3, 3), torch.randn(2, 4, 16, 3, 3)
    if pool == "fixed":
        corners = [(..., slice(i, i + 2), slice(j, j + 2)) for i in range(2) for j in range(2)]
    else:
        corners = [(...,)]
    pooled = [torch.cat([x[at].mean((2, 3, 4)) for x in (sparse, dense)], 1) for at in corners]
    expected = torch.stack([head.fc2(head.fc1(rows).relu()) for rows in pooled]).mean(0)
    torch.testing.assert_close(head(sparse, dense), expected)


# Checkpointing


@pytest.mark.parametrize("name", ["x3d_xs", "autox3d_s"])
def test_checkpointing_changes_nothing_but_memory(name: str) -> None:
    network = randomised(build(small(name)))
    start = {key: value.clone() for key, value in network.state_dict().items()}
    x = clip_for(network.spec)
    results = []
    for checkpointing in (False, True):
        network.load_state_dict(start)
        network.activation_checkpointing = checkpointing
        network.zero_grad()
        torch.manual_seed(5)
        loss = F.cross_entropy(network(x), torch.tensor([1, 2]))
        loss.backward()
        gradients = {key: parameter.grad.clone() for key, parameter in network.named_parameters()}
        results.append((loss, gradients, {key: value.clone() for key, value in network.state_dict().items()}))
    (loss, gradients, state), (loss_again, gradients_again, state_again) = results
    assert torch.equal(loss, loss_again)
    assert all(torch.equal(gradients[key], gradients_again[key]) for key in gradients)
    # Norm statistics too: recomputing a group must not count the batch twice.
    assert all(torch.equal(state[key], state_again[key]) for key in state)
    assert not torch.equal(state["streams.0.stem.norm.running_mean"], start["streams.0.stem.norm.running_mean"])


def test_checkpointing_keeps_fewer_activations() -> None:
    network = build(small("x3d_xs"))
    kept = {}
    for checkpointing in (False, True):
        network.activation_checkpointing = checkpointing
        elements: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, n=elements: (n.append(t.numel()), t)[1], lambda t: t):
            network(clip_for(network.spec))
        kept[checkpointing] = sum(elements)
    assert kept[True] < 0.5 * kept[False]


# References written with plain functions, in fp64


def reference_norm(x: Tensor, norm: nn.BatchNorm3d) -> Tensor:
    shape = (1, -1, 1, 1, 1)
    mean, variance = norm.running_mean.view(shape), norm.running_var.view(shape)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)


def reference_block(x: Tensor, block: MBConv3D, plan: BlockPlan) -> Tensor:
    """X3D sec. 3.1 and A.3, from the block's parameters and the plan."""
    t, s, stride = plan.kernel.t, plan.kernel.s, (1, plan.stride, plan.stride)
    y = torch.einsum("nchwd,oc->nohwd", x, block.expand.weight[:, :, 0, 0, 0])
    y = reference_norm(y, block.expand_norm).clamp(min=0)
    y = F.pad(y, (s // 2, s // 2, s // 2, s // 2, t // 2, t // 2))
    y = F.conv3d(y, block.middle.weight, stride=stride, groups=plan.hidden if plan.depthwise else 1)
    y = reference_norm(y, block.middle_norm)
    if plan.se_channels:
        assert block.se is not None
        squeezed = y.flatten(2).mean(-1) @ block.se.reduce.weight.T + block.se.reduce.bias
        gates = 1 / (1 + torch.exp(-(squeezed.clamp(min=0) @ block.se.expand.weight.T + block.se.expand.bias)))
        y = torch.einsum("ncthw,nc->ncthw", y, gates)
    y = y / (1 + torch.exp(-y)) if plan.activation == "swish" else y.clamp(min=0)
    y = reference_norm(torch.einsum("nchwd,oc->nohwd", y, block.project.weight[:, :, 0, 0, 0]), block.project_norm)
    if plan.shortcut != "identity":
        assert block.shortcut is not None
        own = x[:, : plan.in_channels - plan.fused_channels]
        x = F.conv3d(x, block.shortcut.weight, stride=stride)
        if plan.shortcut != "projection":
            assert block.shortcut_norm is not None
            x = reference_norm(x, block.shortcut_norm)
        if plan.shortcut == "identity_and_projection":
            x = x + own
    return (x + y).clamp(min=0)


def reference_glore(x: Tensor, unit: GloRe, _plan: GloRePlan) -> Tensor:
    """The published unit's equations: V = B X phi, Z = ((I + A) V) W, back through B."""
    flat = x.flatten(2)
    states = torch.einsum("ncp,sc->nsp", flat, unit.state.weight) + unit.state.bias[:, None]
    projection = torch.einsum("ncp,kc->nkp", flat, unit.projection.weight) + unit.projection.bias[:, None]
    nodes = torch.einsum("nsp,nkp->nsk", states, projection) / flat.shape[2]
    mixed = torch.einsum("nsk,jk->nsj", nodes, unit.over_nodes.weight) + unit.over_nodes.bias + nodes
    mixed = torch.einsum("nsk,us->nuk", mixed.clamp(min=0), unit.over_states.weight)
    back = torch.einsum("nuk,nkp->nup", mixed, projection)
    extended = torch.einsum("nup,cu->ncp", back, unit.extend.weight).reshape(x.shape)
    return x + reference_norm(extended, unit.norm)


def reference_non_local(x: Tensor, unit: NonLocal, plan: NonLocalPlan) -> Tensor:
    """f(x_i, x_j) = exp(theta(x_i) . phi(x_j)), y_i = sum_j f(x_i, x_j) g(x_j) / sum_j f(x_i, x_j), z = W y + x."""
    theta, phi, g = (
        torch.einsum("ncthw,dc->ndthw", x, layer.weight).flatten(2) for layer in (unit.theta, unit.phi, unit.g)
    )
    pairs = torch.exp(torch.einsum("ndi,ndj->nij", theta, phi) / plan.inner**0.5)
    y = torch.einsum("nij,ndj->ndi", pairs, g) / pairs.sum(2)[:, None]
    z = torch.einsum("ndi,cd->nci", y, unit.extend.weight).reshape(x.shape)
    return x + reference_norm(z, unit.norm)


REFERENCES: dict[type[StreamUnit], Callable[..., Tensor]] = {
    BlockPlan: reference_block,
    GloRePlan: reference_glore,
    NonLocalPlan: reference_non_local,
}


@pytest.mark.parametrize("seed", range(30))
def test_blocks_equal_their_references(seed: int) -> None:
    for plan in network_units(random_spec(seed)):
        if not isinstance(plan, tuple(REFERENCES)):
            assert not isinstance(plan, StreamUnit) or plan.group is None
            continue
        module = randomised(make_unit(plan), seed).double().eval()
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn((2, plan.in_channels, 1 + seed % 4, 5, 5), dtype=torch.float64, generator=generator)
        # fp64: only the order of sums differs.
        expected = REFERENCES[type(plan)](x, module, plan)
        torch.testing.assert_close(module(x.clone()), expected, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            torch.testing.assert_close(module(x.clone()), expected, rtol=1e-9, atol=1e-9)


def test_glore_does_not_depend_on_how_many_positions_there_are() -> None:
    """A clip twice over gives the same answer twice: node features are means."""
    unit = randomised(make_unit(attention_plan(GloReSpec(nodes=5, states=10), 8))).double().eval()
    x = torch.randn(1, 8, 2, 3, 3, dtype=torch.float64)
    once, twice = unit(x), unit(torch.cat([x, x], 2))
    torch.testing.assert_close(twice, torch.cat([once, once], 2))


def test_what_a_non_local_unit_finds_does_not_depend_on_where_it_is() -> None:
    """Positions in another order give the same answers in that order; a mean over equal positions is that position."""
    unit = randomised(make_unit(attention_plan(NonLocalSpec(inner=5), 8))).double().eval()
    x = torch.randn(2, 8, 2, 3, 3, dtype=torch.float64)
    order = torch.randperm(18)
    moved = x.flatten(2)[:, :, order].reshape(x.shape)
    torch.testing.assert_close(unit(moved), unit(x).flatten(2)[:, :, order].reshape(x.shape))
    equal = x[:, :, :1, :1, :1].expand(x.shape)
    value = unit.extend(unit.g(equal[:, :, 0, 0, 0]))
    torch.testing.assert_close(unit(equal), equal + unit.norm(value[:, :, None, None, None].expand(x.shape)))


@pytest.mark.parametrize("size", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_keep_frames_and_halve_sizes_upwards(size: int, stride: int) -> None:
    kernels = [stream.groups[0].kernel for stream in (random_spec(seed).streams[0] for seed in range(12))]
    for kernel in kernels:
        y = conv3d(2, 3, kernel, stride=stride)(torch.zeros(1, 2, 3, size, size))
        assert y.shape == (1, 3, 3, -(-size // stride), -(-size // stride))


# create_model


def test_create_model_from_a_name_a_file_and_a_spec(tmp_path: object) -> None:
    assert vidnas.create_model is create_model
    spec = small("x3d_xs")
    file = f"{tmp_path}/spec.json"
    with open(file, "w", encoding="utf-8") as out:
        out.write(spec.to_json())
    for source in (file, spec):
        network = create_model(source, num_classes=5)
        assert isinstance(network, VideoNetwork)
        assert network.training
        assert network.spec == spec.with_classes(5)
        assert network.head.fc2.out_features == 5
    assert create_model(spec).head.fc2.out_features == 400


def test_create_model_refuses_what_is_not_there() -> None:
    with pytest.raises(VidnasError, match="no network called 'x3d_z'; did you mean"):
        create_model("x3d_z")
    with pytest.raises(VidnasError, match="num_classes -1: must be 0"):
        create_model("x3d_xs", num_classes=-1)
    with pytest.raises(VidnasError, match=r"none\.pyth: no such weight file"):
        create_model("x3d_xs", weights="none.pyth")
