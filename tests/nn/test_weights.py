"""Weight files: official names both ways, own model files, what is refused and what is reported."""

import json
import logging
import re
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from full_disk import no_file_beyond
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidnas.arch.pixels import MEAN, STD
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.create import create_model
from vidnas.nn.official_keys import to_ours, to_pytorchvideo, to_slowfast
from vidnas.nn.weights import ModelInfo, build_with_weights, load_model, load_weights, save_model

SMALL = ClipSpec(frames=4, size=64)
SLOWFAST_SHAPES: dict[str, list[int]] = json.loads((Path(__file__).parent / "data/slowfast_x3d_s.json").read_text())


def small(name: str = "x3d_xs", classes: int = 400) -> ArchSpec:
    return get_spec(name).with_clip(SMALL).with_classes(classes)


def random_network(spec: ArchSpec, seed: int = 0) -> VideoNetwork:
    network = build(spec)
    network.load_state_dict(random_state(network.state_dict(), seed))
    return network.eval()


def random_state(like: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Random values for every tensor, at scales that keep a network's activations finite."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in like.items():
        if not tensor.is_floating_point():
            state[name] = torch.tensor(seed + len(state))
        elif name.endswith("running_var"):
            state[name] = torch.rand(tensor.shape, generator=generator) + 0.5
        else:
            scale = (2 / tensor[0].numel()) ** 0.5 if tensor.dim() > 1 else 0.5
            state[name] = scale * torch.randn(tensor.shape, generator=generator)
    return state


def slowfast_state(seed: int = 0) -> dict[str, Tensor]:
    """A state dict with the names and shapes of SlowFast's X3D-S (also XS and M)."""
    like = {
        name: torch.zeros(shape, dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
        for name, shape in SLOWFAST_SHAPES.items()
    }
    return random_state(like, seed)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].shape == b[name].shape and torch.equal(a[name], b[name]) for name in a)


# SlowFast


def slowfast_logits(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """X3D-S from tensors named as in SlowFast, with plain functions: what each name must mean."""

    def norm(y: Tensor, name: str) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(y, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.conv3d(x, state["s1.pathway0_stem.conv_xy.weight"], stride=(1, 2, 2), padding=(0, 1, 1))
    x = F.conv3d(x, state["s1.pathway0_stem.conv.weight"], padding=(2, 0, 0), groups=24)
    x = norm(x, "s1.pathway0_stem.bn").relu()
    for stage, depth in zip((2, 3, 4, 5), (3, 5, 11, 7), strict=True):
        for index in range(depth):
            name = f"s{stage}.pathway0_res{index}"
            stride = (1, 2, 2) if index == 0 else (1, 1, 1)
            shortcut = x
            if index == 0:
                shortcut = norm(F.conv3d(x, state[f"{name}.branch1.weight"], stride=stride), f"{name}.branch1_bn")
            y = norm(F.conv3d(x, state[f"{name}.branch2.a.weight"]), f"{name}.branch2.a_bn").relu()
            y = F.conv3d(y, state[f"{name}.branch2.b.weight"], stride=stride, padding=1, groups=y.shape[1])
            y = norm(y, f"{name}.branch2.b_bn")
            if index % 2 == 0:
                se = f"{name}.branch2.se"
                gate = F.conv3d(y.mean((2, 3, 4), True), state[f"{se}.fc1.weight"], state[f"{se}.fc1.bias"]).relu()
                y = y * F.conv3d(gate, state[f"{se}.fc2.weight"], state[f"{se}.fc2.bias"]).sigmoid()
            y = norm(F.conv3d(F.silu(y), state[f"{name}.branch2.c.weight"]), f"{name}.branch2.c_bn")
            x = (shortcut + y).relu()
    x = norm(F.conv3d(x, state["head.conv_5.weight"]), "head.conv_5_bn").relu()
    x = F.conv3d(x.mean((2, 3, 4), True), state["head.lin_5.weight"]).relu().flatten(1)
    return F.linear(x, state["head.projection.weight"], state["head.projection.bias"])


def test_slowfast_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As SlowFast saves it: with the optimiser's state and the configuration as text beside the weights."""
    state = slowfast_state()
    assert len(state) == 568
    file = tmp_path / "x3d_s.pyth"
    torch.save({"epoch": 300, "model_state": state, "optimizer_state": {"state": {}}, "cfg": "X3D: {}"}, file)

    network = create_model(get_spec("x3d_s").with_clip(SMALL), weights=file)
    assert network.spec.streams[0].projection_norm == "always"
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_794_322
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "projection_norm is 'always', as in the file (x3d_s has 'on_channel_change')" in record.message
    assert "loaded    568 tensors" in record.message
    assert "beside    epoch, optimizer_state, cfg" in record.message

    assert equal(to_slowfast(network.state_dict()), state)
    x = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = slowfast_logits(state, x)
    # fp32 rounding through 26 blocks; swapping the norms of one block gave gaps of 5e-3 and more.
    assert (network.eval()(x) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_slowfast_names_of_a_deeper_network() -> None:
    """X3D-L has the same names further on."""
    stream = get_spec("x3d_l").streams[0].model_copy(update={"projection_norm": "always"})
    spec = get_spec("x3d_l").model_copy(update={"streams": (stream,)})
    with torch.device("meta"):
        state = build(spec).state_dict()
    renamed = to_slowfast(state)
    assert {name: list(renamed[name].shape) for name in SLOWFAST_SHAPES if not name.startswith("head")} == {
        name: shape for name, shape in SLOWFAST_SHAPES.items() if not name.startswith("head")
    }
    assert renamed["s4.pathway0_res24.branch2.se.fc1.weight"].shape == (16, 216, 1, 1, 1)
    back = to_ours(renamed)
    assert back.left == ()
    assert {name: value.shape for name, value in back.tensors.items()} == {n: v.shape for n, v in state.items()}


@pytest.mark.parametrize("rename", [to_pytorchvideo, to_slowfast])
def test_round_trip_keeps_every_bit(rename: object) -> None:
    projection_norm = "always" if rename is to_slowfast else "on_channel_change"
    stream = small().streams[0].model_copy(update={"projection_norm": projection_norm})
    state = random_network(small().model_copy(update={"streams": (stream,)})).state_dict()
    theirs = rename(state)  # type: ignore[operator]
    assert not set(theirs) & set(state)
    assert equal(to_ours(theirs).tensors, dict(state))


def test_what_the_others_do_not_have_is_refused() -> None:
    with pytest.raises(VidnasError, match=r"streams.0.groups.3.glore3.state: pytorchvideo's X3D has no such layer"):
        to_pytorchvideo({"streams.0.groups.3.glore3.state.weight": torch.zeros(2, 2)})
    state = build(small()).state_dict()
    with pytest.raises(VidnasError, match=r"groups.0.block1.shortcut: SlowFast's X3D has a norm on every projection"):
        to_slowfast(state)
    with pytest.raises(VidnasError, match=r"groups.0.block1.shortcut_norm: pytorchvideo's X3D has no norm"):
        to_pytorchvideo(to_ours(slowfast_state()).tensors)


def test_a_network_built_the_other_way_is_told_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "slowfast.pyth"
    torch.save({"model_state": slowfast_state()}, file)
    with pytest.raises(VidnasError, match=r"projection_norm 'always'.*create_model\(\.\.\., weights=FILE\)"):
        load_weights(build(small()), file)


# pytorchvideo and bare state dicts


@pytest.mark.parametrize("form", ["model_state", "state_dict", "bare", "ddp", "lightning", "ptv in slowfast"])
def test_forms_of_files(form: str, tmp_path: Path) -> None:
    network = random_network(small())
    ours = network.state_dict()
    theirs = to_pytorchvideo(ours)
    content = {
        "model_state": {"model_state": theirs},
        "state_dict": {"state_dict": ours, "epoch": 3},
        "bare": dict(ours),
        "ddp": {"model_state": {f"module.{name}": value for name, value in theirs.items()}},
        "lightning": {"state_dict": {f"network._orig_mod.{name}": value for name, value in ours.items()}},
        "ptv in slowfast": {"model_state": {f"model.{name}": value for name, value in theirs.items()}},
    }[form]
    file = tmp_path / "weights.pyth"
    torch.save(content, file)
    fresh = build(small())
    report = load_weights(fresh, file)
    assert report.is_plain
    assert len(report.loaded) == len(ours)
    assert report.dialect == ("vidnas" if form in ("state_dict", "bare", "lightning") else "pytorchvideo")
    assert equal(fresh.state_dict(), ours)


def test_safetensors_with_official_names(tmp_path: Path) -> None:
    network = random_network(small())
    file = tmp_path / "x3d.safetensors"
    save_file({name: value.contiguous() for name, value in to_pytorchvideo(network.state_dict()).items()}, file)
    assert equal(create_model(small(), weights=file).state_dict(), network.state_dict())


def test_xs_s_and_m_share_their_weights(tmp_path: Path) -> None:
    """They differ in the clip alone."""
    file = tmp_path / "x3d_xs.pyth"
    torch.save({"model_state": to_pytorchvideo(random_network(small("x3d_xs")).state_dict())}, file)
    _, report = build_with_weights(get_spec("x3d_m"), file)
    assert report.is_plain


# Heads


def test_a_head_of_other_classes_is_replaced_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "x3d.pyth"
    source = random_network(small())
    torch.save({"model_state": to_pytorchvideo(source.state_dict())}, file)
    torch.manual_seed(0)
    network = create_model(small(), num_classes=8, weights=file)
    torch.manual_seed(0)
    fresh = create_model(small(), num_classes=8)
    state, given, start = network.state_dict(), source.state_dict(), fresh.state_dict()
    for name in state:
        assert torch.equal(state[name], start[name] if name.startswith("head.fc2") else given[name]), name
    (record,) = caplog.records
    assert record.message.splitlines()[1:] == [
        f"  loaded    {len(state) - 2} tensors",
        "  replaced  head.fc2.weight: 400 classes in the file, 8 in the network",
        "  replaced  head.fc2.bias: 400 classes in the file, 8 in the network",
    ]


def test_a_network_of_features_leaves_the_head_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x3d.pyth"
    torch.save({"model_state": to_pytorchvideo(random_network(small()).state_dict())}, file)
    network, report = build_with_weights(small(classes=0), file)
    assert report.left == ("head.fc2.weight", "head.fc2.bias")
    assert report.replaced == ()
    torch.save({"model_state": to_pytorchvideo(network.state_dict())}, file)
    _, report = build_with_weights(small(classes=8), file)
    assert report.replaced == (("head.fc2.weight", "not in the file"), ("head.fc2.bias", "not in the file"))


def test_nothing_in_a_file_is_skipped_in_silence(tmp_path: Path) -> None:
    network = random_network(small())
    file = tmp_path / "x3d.pyth"
    state = {f"network.{name}": value for name, value in network.state_dict().items() if "batches" not in name}
    extra = {"criterion.weight": torch.ones(400), "step": 7}
    torch.save({"state_dict": state | extra, "callbacks": {}}, file)
    report = load_weights(build(small()), file)
    assert report.left == ("criterion.weight",)
    assert report.beside == ("callbacks", "step")
    counters = sum("batches" in name for name in network.state_dict())
    assert report.replaced == ((f"{counters} norms' num_batches_tracked", "not in the file"),)
    assert len(report.loaded) + counters == len(network.state_dict())
    for part in ("criterion.weight", "callbacks, step", "num_batches_tracked"):
        assert part in report.table()


# What is refused


@pytest.mark.parametrize(
    ("file_name", "network_name", "message"),
    [
        # All of X3D-M's tensors are in X3D-L's file, with the same shapes.
        ("x3d_l", "x3d_m", r"another network than x3d_m: streams.0.groups.0.block4.* absent in the network; .* more"),
        ("x3d_m", "x3d_l", r"another network than x3d_l: .*groups.0.block4.* absent in the file, 54x24x1x1x1 in the"),
        ("x3d_m", "x3d_xl", r"another network than x3d_xl: streams.0.stem.spatial.weight 24x3x1x3x3 in the file, 32x3"),
        ("autox3d_s", "x3d_s", r"another network than x3d_s"),
        ("autox3d_s", "autox3d_s_no_attention", r"streams.0.groups.3.glore3.state.weight 144x48 in the file, absent"),
    ],
)
def test_weights_of_another_network_are_refused(
    file_name: str, network_name: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pt"
    torch.save(build(small(file_name)).state_dict(), file)
    network = build(small(network_name))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(VidnasError, match=message) as raised:
        load_weights(network, file)
    assert "\n" not in str(raised.value)
    assert equal(network.state_dict(), before)


class RunsCode:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_weight_file_is_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "x3d.pyth", tmp_path / "trace"
    torch.save({"model_state": build(small()).state_dict(), "cfg": RunsCode(trace)}, file)
    with pytest.raises(VidnasError, match=r"holds Python objects beside tensors \(\S+\).*weights_only=False") as raised:
        load_weights(build(small()), file)
    assert "\n" not in str(raised.value)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists()


def test_lightning_checkpoints(tmp_path: Path) -> None:
    """One that holds plain data is read; of one with objects in it the line says how to get the tensors out."""
    trained, file, tensors = build(small()), tmp_path / "epoch=3.ckpt", tmp_path / "tensors.pt"
    state = {f"network.{name}": value for name, value in trained.state_dict().items()}
    checkpoint = {"epoch": 3, "state_dict": state, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2.5"}
    torch.save(checkpoint, file)
    network = build(small())
    report = load_weights(network, file)
    assert not report.replaced
    assert set(report.beside) == {"epoch", "hyper_parameters", "pytorch-lightning_version"}
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in network.state_dict().items())

    torch.save({**checkpoint, "hyper_parameters": Namespace(lr=0.1)}, file)
    with pytest.raises(VidnasError, match=r"holds Python objects .*argparse\.Namespace.*Lightning's") as raised:
        load_weights(build(small()), file)
    advice = re.search(r"torch\.save\(.*?NEW_FILE\)", str(raised.value))[0]
    exec(advice, {"torch": torch, "FILE": file, "NEW_FILE": tensors})  # what the user is told to type
    assert load_weights(build(small()), tensors).loaded == report.loaded


@pytest.mark.parametrize("suffix", [".pyth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "other text"])
def test_damaged_files_are_refused_in_one_line(suffix: str, damage: str, tmp_path: Path) -> None:
    file = tmp_path / f"x3d{suffix}"
    network = build(small())
    if suffix == ".pyth":
        torch.save(network.state_dict(), file)
    else:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, file)
    whole = file.read_bytes()
    content = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "text": b"not weights at all\n" * 9,
        "other text": b"root:x:0:0\n" * 9,  # read as pickle: a reference to something never stored
    }
    file.write_bytes(content[damage])
    with pytest.raises(VidnasError, match=rf"x3d\{suffix}: not a ") as raised:
        load_weights(network, file)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list, not a dict of tensors"),
        ({"epoch": 3}, "holds no tensors"),
        ({"conv1.weight": torch.ones(1)}, "nor an X3D of pytorchvideo or SlowFast; the file holds conv1.weight"),
    ],
)
def test_other_contents_are_refused(content: object, message: str, tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    torch.save(content, file)
    with pytest.raises(VidnasError, match=f"x.pt: .*{message}"):
        load_weights(build(small()), file)


# Own files


CLASSES = ("wave", "clap", "façade")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, VideoNetwork]:
    network = random_network(small("autox3d_s", classes=3))
    config = {"lr": 0.1, "nested": {"values": [1, None, "x"]}}
    save_model(tmp_path, network, classes=CLASSES, config=config)
    return tmp_path, network


def test_own_files_give_the_model_back(saved: tuple[Path, VideoNetwork]) -> None:
    folder, network = saved
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    for path in (folder, folder / "model", folder / "model.json", folder / "model.safetensors"):
        again, info = load_model(path)
        assert not again.training
        assert again.spec == network.spec == info.spec
        assert equal(again.state_dict(), network.state_dict())
        assert all(
            parameter.is_contiguous(memory_format=torch.channels_last_3d)
            for parameter in again.parameters()
            if parameter.dim() == 5
        )
    assert info.classes == CLASSES
    assert info.clip == SMALL
    assert (info.mean, info.std) == ((MEAN,) * 3, (STD,) * 3)
    assert info.config == {"lr": 0.1, "nested": {"values": [1, None, "x"]}}
    assert info.versions.keys() == {"python", "torch", "vidnas"}
    x = torch.randn(1, 3, 4, 64, 64)
    assert torch.equal(again(x), network(x))


def test_own_files_hold_tensors_and_json_only(saved: tuple[Path, VideoNetwork]) -> None:
    folder, network = saved
    assert equal(load_file(folder / "model.safetensors"), network.state_dict())
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert ArchSpec.from_data(content["spec"]) == network.spec
    assert content["classes"] == list(CLASSES)


def test_own_weights_serve_another_task(saved: tuple[Path, VideoNetwork]) -> None:
    folder, network = saved
    fresh, report = build_with_weights(small("autox3d_s", classes=9), folder)
    assert report.dialect == "vidnas"
    assert [name for name, _ in report.replaced] == ["head.fc2.weight", "head.fc2.bias"]
    assert torch.equal(fresh.state_dict()["head.fc1.weight"], network.state_dict()["head.fc1.weight"])


def test_a_path_without_a_suffix_names_both_files(tmp_path: Path) -> None:
    network = random_network(small(classes=2))
    info = save_model(tmp_path / "best.v2", network, classes=("a", "b"), config={"views": (10, 3)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.v2.json", "best.v2.safetensors"]
    again, info_again = load_model(tmp_path / "best.v2")
    assert equal(again.state_dict(), network.state_dict())
    # What is returned is what the file says: JSON has no tuples.
    assert info == info_again
    assert info.config == {"views": [10, 3]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a"]}, "model.json: 1 class names for 3 classes"),
        ({"format": 2}, "model.json: format: .*should be 1"),
        ({"licence": "?"}, "model.json: licence: no such field"),
        ({"mean": [0.5]}, "model.json: mean"),
        ({"mean": [0.45, 0.45, 0.5]}, "model.json: mean: must be 0.45 of each colour, as clips are made"),
        ({"std": [0.25, 0.25, 0.25]}, "model.json: std: must be 0.225 of each colour, as clips are made"),
        ({"spec": None}, "model.json: spec: is empty; its fields are name"),
    ],
)
def test_a_bad_description_is_refused(
    change: dict[str, object], message: str, saved: tuple[Path, VideoNetwork]
) -> None:
    file = saved[0] / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(VidnasError, match=message) as raised:
        load_model(saved[0])
    assert "\n" not in str(raised.value)


def test_missing_and_damaged_own_files_are_refused(saved: tuple[Path, VideoNetwork], tmp_path: Path) -> None:
    folder = saved[0]
    with pytest.raises(VidnasError, match=r"none.json: cannot read the model's description \(No such file"):
        load_model(folder / "none")
    description = (folder / "model.json").read_text()
    (folder / "model.json").write_text(description[:99])
    with pytest.raises(VidnasError, match=r"model.json: Invalid JSON") as raised:
        load_model(folder)
    assert len(str(raised.value).splitlines()) == 1
    (folder / "model.json").write_text(description)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(VidnasError, match=r"model.safetensors: cannot read the weights"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(VidnasError, match=r"model.safetensors: cannot read the weights"):
        load_model(folder)


def test_files_of_two_models_are_not_mixed(saved: tuple[Path, VideoNetwork], tmp_path: Path) -> None:
    folder = saved[0]
    # X3D-XS and X3D-M have equal tensors; only the header can tell them apart.
    for stem, name in (("xs", "x3d_xs"), ("m", "x3d_m")):
        save_model(folder / stem, random_network(get_spec(name).with_classes(1)), classes=("a",))
    (folder / "xs.safetensors").replace(folder / "m.safetensors")
    with pytest.raises(VidnasError, match=r"m.safetensors: weights of another network than the one in m.json"):
        load_model(folder / "m")


def test_a_model_that_cannot_be_described_is_not_saved(tmp_path: Path) -> None:
    network = build(small(classes=2))
    with pytest.raises(VidnasError, match=r"model.json: 1 class names for 2 classes"):
        save_model(tmp_path, network, classes=("a",))
    with pytest.raises(VidnasError, match=r"model.json: cannot save the model"):
        save_model(tmp_path, network, classes=("a", "b"), config={"x": object()})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VidnasError, match=r"model.safetensors: cannot be written \(no such file"):
        save_model(tmp_path / "none" / "model", network, classes=("a", "b"))


def test_a_full_disk_leaves_the_old_files_whole(saved: tuple[Path, VideoNetwork]) -> None:
    folder, network = saved
    with (
        no_file_beyond(2**20),
        pytest.raises(VidnasError, match=r"model.safetensors: cannot be written \(file too large"),
    ):
        save_model(folder, random_network(small("autox3d_s", classes=3), seed=1), classes=CLASSES)
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    again, info = load_model(folder)
    assert isinstance(info, ModelInfo)
    assert equal(again.state_dict(), network.state_dict())
