"""Two streams with searched fusions: a sampled network is the extracted one, gradients included, and what is planted
wrong is noticed."""

import random
from collections.abc import Iterator
from itertools import product

import pytest
import torch
from random_spaces import random_two_stream_space
from test_custom_spaces import TOLERANCE, disagreement
from test_supernet import random_choice, randomise
from torch import Tensor
from two_streams import small_two_streams

from vidnas.arch.cost import network_cost
from vidnas.arch.plan import stream_units
from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.nn.blocks import FinalConv, MBConv3D
from vidnas.nn.build import VideoNetwork
from vidnas.search.choice_windows import ChoiceWindows, Windows, fused_columns
from vidnas.search.costs import CostTable
from vidnas.search.space.around import fusions_around
from vidnas.search.space.fusion_space import FusionOption, FusionSpace
from vidnas.search.space.published.auto_tsnet import auto_tsnet_space
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace
from vidnas.search.space.windows import WINDOW_MODES, WindowMode, channel_window
from vidnas.search.supernet import Supernet, extract

FUSIONS: tuple[FusionOption, ...] = ("none", "time_to_channel", "time_strided_convolution", "time_strided_sampling")
HEAD = ClassificationSpec(num_classes=3, hidden=12, dropout=0.0)


def group(stride: int, channels: tuple[int, ...]) -> GroupSpace:
    kernels = (Kernel(t=1, s=3), Kernel(t=3, s=3))
    return GroupSpace(depth=1, stride=1 if stride == 1 else 2, channels=channels, expansion=(1.5, 2.25), kernel=kernels)


def small_space() -> Space:
    """The second sparse group reads a fusion in the middle of a stage, where equal widths have an identity without."""
    sparse = StreamSpace(every=4, stem=StemSpec(channels=8), groups=(group(2, (8, 16)), group(1, (8, 16))), conv5=24)
    dense = StreamSpace(stem=StemSpec(channels=4), groups=(group(2, (4, 8, 12)), group(1, (4, 8, 12))), conv5=12)
    fusions = tuple(FusionSpace(source=1, target=0, group=g, kind=FUSIONS) for g in range(2))
    clip = ClipSpec(frames=8, size=16)
    return Space(name="small", clip=clip, streams=(sparse, dense), fusions=fusions, head=HEAD)


def chosen(space: Space, **options: int) -> Choice:
    """The smallest network but for these options, `_` for each dot of a path."""
    smallest = dict(zip(map(str, space.variables), space.smallest(), strict=True))
    return tuple((smallest | {name.replace("_", "."): n for name, n in options.items()}).values())


def randomised(space: Space, mode: WindowMode = "fair") -> Supernet:
    supernet = Supernet(space, mode).double()
    randomise(supernet, 0)
    return supernet


def clips_for(space: Space) -> Tensor:
    shape = (2, 3, space.clip.frames, space.clip.size, space.clip.size)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "mode", [mode if mode == "fair" else pytest.param(mode, marks=pytest.mark.long) for mode in WINDOW_MODES]
)
def test_a_random_network_of_the_published_space(mode: WindowMode) -> None:
    space = auto_tsnet_space(ClipSpec(frames=16, size=32)).model_copy(update={"head": HEAD})
    supernet = randomised(space, mode)
    rng = random.Random(mode)
    choice = random_choice(space, rng)
    assert {fusion.kind for fusion in space.decode(choice).fusions} == set(FUSIONS[1:])
    assert disagreement(supernet, extract(supernet, choice), clips_for(space), choice) < TOLERANCE


def test_random_networks_of_random_spaces_which_cost_what_the_table_says() -> None:
    found = set()
    # The last ones have sums.
    for seed in (*range(9), 27, 49, 54):
        space = random_two_stream_space(seed)
        supernet = randomised(space, WINDOW_MODES[seed % 3])
        rng = random.Random(seed)
        for choice in (space.largest(), random_choice(space, rng), random_choice(space, rng)):
            network = extract(supernet, choice)
            assert disagreement(supernet, network, clips_for(space), choice) < TOLERANCE
            params = sum(parameter.numel() for parameter in network.parameters())
            assert params == CostTable.of(space, "params").cost(choice) == network_cost(network.spec).params
            found |= {(fusion.kind, fusion.combination) for fusion in network.spec.fusions}
    assert {kind for kind, _ in found} == set(FUSIONS[1:])
    assert {combination for _, combination in found} == {"concat", "sum"}


@pytest.mark.parametrize("mode", WINDOW_MODES)
def test_every_kind_of_fusion_and_none_in_the_middle_of_a_stage(mode: WindowMode) -> None:
    space = small_space()
    supernet = randomised(space, mode)
    for first, last in product(range(4), repeat=2):
        choice = chosen(space, fusions_0_kind=first, fusions_1_kind=last, streams_1_groups_0_channels=1)
        network = extract(supernet, choice)
        block = network.streams[0].groups[1].block1
        assert (block.shortcut is None) == (first == 0)
        assert disagreement(supernet, network, clips_for(space), choice) < TOLERANCE


def readers(supernet: Supernet) -> Iterator[tuple[Tensor, int]]:
    """Weights that may read fused channels, each with the number of these."""
    for s, stream in enumerate(supernet.space.streams):
        for g in range(len(stream.groups) + 1):
            columns = fused_columns(supernet.space, s, g)
            if g == len(stream.groups):
                yield supernet.streams[s].conv5.conv.weight, columns
                continue
            block = supernet.streams[s].groups[g]["block1"]
            yield block.expand.weight, columns
            if block.shortcut is not None:
                yield block.shortcut.weight, columns


@pytest.mark.parametrize("zero_init_residual", [False, True])
def test_fusions_are_silent_at_first(zero_init_residual: bool) -> None:
    space = small_space()
    supernet = Supernet(space, zero_init_residual=zero_init_residual)
    widths = []
    for weight, columns in readers(supernet):
        own = weight.shape[1] - columns
        assert not weight[:, own:].any()
        assert weight[:, :own].all()
        widths.append(columns)
    # 12 channels at most: four frames of them, twice as many, and as many.
    assert widths == [0, 0, 84, 84, 84, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "space",
    [
        pytest.param(small_space(), id="small"),
        # All widths are fixed here.
        pytest.param(
            fusions_around(small_two_streams(fusions=()), FUSIONS, source=1, target=0).model_copy(
                update={"head": HEAD}
            ),
            id="around",
        ),
        pytest.param(auto_tsnet_space(ClipSpec(frames=16, size=32)).model_copy(update={"head": HEAD}), id="published"),
    ],
)
def test_a_network_of_the_supernet_computes_the_same_with_any_fusion_at_first(space: Space) -> None:
    """In the middle of a stage too, between equal and unlike widths, with the statistics of a batch."""
    supernet = Supernet(space).double()
    clips, rng = clips_for(space), random.Random(0)
    places = [place for place, variable in enumerate(space.variables) if variable.kind == "fusion"]
    # The first option is none.
    kinds = {place: rng.randrange(1, len(FUSIONS)) for place in places}
    alone, together = [{place: kind} for place, kind in kinds.items()], [kinds]
    any_choice = random_choice(space, rng)
    for choice, given in ((space.smallest(), together), (space.largest(), together), (any_choice, alone)):
        without = tuple(0 if place in places else option for place, option in enumerate(choice))
        expected = supernet(clips, without)
        assert expected.std() > 1e-3
        for fusions in given:
            fused = tuple(fusions.get(place, option) for place, option in enumerate(without))
            assert len(space.decode(fused).fusions) == len(fusions)
            torch.testing.assert_close(supernet(clips, fused), expected, rtol=1e-9, atol=1e-9)


def test_a_fusion_is_learned() -> None:
    """The columns of the chosen kind, and those alone, get a gradient at the silent start."""
    space = small_space()
    supernet = Supernet(space)
    supernet(clips_for(space).float(), chosen(space, fusions_0_kind=2, streams_1_groups_0_channels=2)).sum().backward()
    gradient = supernet.streams[0].groups[1]["block1"].expand.weight.grad
    assert gradient is not None
    used = gradient.flatten(1).abs().sum(0).nonzero().flatten().tolist()
    # 16 own ones at most, of which 8 are used; then 48 of time-to-channel.
    convolved = range(16 + 48, 16 + 48 + 24)
    assert set(used) == set(range(8)) | set(convolved) or set(used) == set(range(8, 16)) | set(convolved)


def test_a_column_belongs_to_one_channel_of_one_frame_whatever_is_chosen() -> None:
    space = small_space()
    widths = space.streams[1].groups[0].channels
    for mode, index in product(WINDOW_MODES, range(3)):
        window = channel_window(widths, index, mode)
        found = {}
        for kind, name in enumerate(FUSIONS):
            choice = chosen(space, fusions_0_kind=kind, streams_1_groups_0_channels=index)
            units = stream_units(space.decode(choice), 0)
            (plan,) = (unit for unit in units if unit.path == "streams.0.groups.1.block1")
            inputs = ChoiceWindows(space, choice, mode).of(plan).inputs
            found[name] = [column - 16 for column in inputs if column >= 16]
        assert found == {
            "none": [],
            "time_to_channel": [12 * frame + channel for frame in range(4) for channel in window],
            "time_strided_convolution": [48 + 12 * copy + channel for copy in range(2) for channel in window],
            "time_strided_sampling": [72 + channel for channel in window],
        }


MISTAKE_CHOICE = {"fusions_0_kind": 1, "fusions_1_kind": 2, "streams_1_groups_0_channels": 1}
_of = ChoiceWindows.of


def frames_exchanged(self: ChoiceWindows, plan) -> Windows:
    """Two columns of what is fused are exchanged."""
    windows = _of(self, plan)
    if getattr(plan, "fused_channels", 0):
        *others, before, last = windows.inputs
        return windows._replace(inputs=(*others, last, before))
    return windows


def columns_of_another_kind(self: ChoiceWindows, plan) -> Windows:
    """Fused columns start one column too far right."""
    windows = _of(self, plan)
    fused = getattr(plan, "fused_channels", 0)
    if fused:
        own, given = windows.inputs[:-fused], windows.inputs[-fused:]
        return windows._replace(inputs=(*own, *(column + 1 for column in given)))
    return windows


def wrong_window_of_the_source(self: ChoiceWindows, plan) -> Windows:
    """A convolution of a fusion reads a prefix in place of the window of its source."""
    windows = _of(self, plan)
    if plan.path.startswith("fusions."):
        return windows._replace(inputs=tuple((i + 1) % 12 for i in windows.inputs))
    return windows


@pytest.mark.parametrize("mistake", [frames_exchanged, columns_of_another_kind, wrong_window_of_the_source])
def test_wrong_slices_are_noticed(mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    space = small_space()
    supernet = randomised(space)
    choice = chosen(space, **MISTAKE_CHOICE)
    network = extract(supernet, choice)
    assert disagreement(supernet, network, clips_for(space), choice) < TOLERANCE
    monkeypatch.setattr(ChoiceWindows, "of", mistake)
    assert disagreement(supernet, network, clips_for(space), choice) > 1e-3


def test_a_dropped_fusion_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    space = small_space()
    supernet = randomised(space)
    choice = chosen(space, **MISTAKE_CHOICE)
    network = extract(supernet, choice)
    given = VideoNetwork._fused

    def dropped(self: VideoNetwork, maps: list[Tensor], g: int) -> list[Tensor]:
        fused = given(self, maps, g)
        if self is network or g > 0:
            return fused
        own = maps[0].shape[1]
        return [torch.cat((fused[0][:, :own], torch.zeros_like(fused[0][:, own:])), 1), *fused[1:]]

    monkeypatch.setattr(VideoNetwork, "_fused", dropped)
    assert disagreement(supernet, network, clips_for(space), choice) > 1e-3


def test_a_missing_projection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    space = small_space()
    supernet = randomised(space)
    choice = chosen(space, **MISTAKE_CHOICE)
    network = extract(supernet, choice)
    projected = MBConv3D.run_shortcut
    own = set(network.modules())

    def identity(self: MBConv3D, x: Tensor) -> Tensor:
        wide = self.expand.in_channels > self.project.out_channels and self not in own
        return x[:, : self.project.out_channels] if wide and self.middle.stride[1] == 1 else projected(self, x)

    monkeypatch.setattr(MBConv3D, "run_shortcut", identity)
    assert disagreement(supernet, network, clips_for(space), choice) > 1e-3


def test_conv5_without_its_fused_columns_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    space = small_space()
    supernet = randomised(space)
    choice = chosen(space, **MISTAKE_CHOICE)
    network = extract(supernet, choice)
    own = set(network.modules())
    run = FinalConv.forward

    def unfused(self: FinalConv, x: Tensor) -> Tensor:
        if self in own or x.shape[1] <= 12:
            return run(self, x)
        return run(self, torch.cat((x[:, :8], torch.zeros_like(x[:, 8:])), 1))

    monkeypatch.setattr(FinalConv, "forward", unfused)
    assert disagreement(supernet, network, clips_for(space), choice) > 1e-3
