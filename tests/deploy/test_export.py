"""Exported files run in their own runtimes, compute what eager computes, and are refused when they do not."""

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from two_streams import small_two_streams

from vidnas.arch.pixels import MEAN, STD
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, ClipSpec, GloReSpec, NonLocalSpec
from vidnas.base.errors import VidnasError
from vidnas.deploy.export import TOLERANCE, export
from vidnas.deploy.formats import FORMATS, Format
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.weights import ModelInfo

CLIP = ClipSpec(frames=8, size=32)
CLASSES = ("left", "right", "up")
SUFFIXES: dict[Format, str] = {"torch": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
RUN_ELSEWHERE = {
    "torch": "import torch\nlogits = torch.export.load(path).module()(torch.from_numpy(clips)).detach().numpy()",
    "onnx": "import onnxruntime\nlogits = onnxruntime.InferenceSession(path).run(None, {'clips': clips})[0]",
    "openvino": "import openvino\n"
    "logits = openvino.Core().compile_model(path, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})(clips)['logits']",
}


def small_spec(*, num_classes: int = len(CLASSES), attention: bool = False, ensemble: str = "softmax_mean") -> ArchSpec:
    """X3D's first two groups, two blocks each: every kind of layer."""
    spec = get_spec("x3d_xs").with_clip(CLIP).with_classes(num_classes)
    groups = [group.model_copy(update={"depth": 2}) for group in spec.streams[0].groups[:2]]
    if attention:
        groups[0] = groups[0].model_copy(update={"attention": NonLocalSpec(inner=7)})
        groups[1] = groups[1].model_copy(update={"attention": GloReSpec(nodes=5, states=7)})
    stream = spec.streams[0].model_copy(update={"groups": tuple(groups)})
    head = spec.head.model_copy(update={"hidden": 64, "ensemble": ensemble})
    return spec.model_copy(update={"streams": (stream,), "head": head})


def randomise(network: nn.Module) -> None:
    """Every parameter and statistic random; a fresh network hides its branches behind zeros."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias)


def network_and_info(spec: ArchSpec) -> tuple[VideoNetwork, ModelInfo]:
    network = build(spec)
    randomise(network)
    classes = CLASSES if spec.head.num_classes else ()
    return network, ModelInfo(spec=spec, classes=classes)


class DiffersWhenTraced(VideoNetwork):
    """A planted fault: one per thousand more, only while it is being exported."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits * 1.001 if torch.compiler.is_exporting() else logits


class ForeignOperator(VideoNetwork):
    """Uses an operator that only this process has."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.ops.vidnas_test.double(x))


@pytest.fixture(autouse=True)
def needs_extra(request: pytest.FixtureRequest) -> None:
    if "file_format" in request.fixturenames:
        for package in FORMATS[request.getfixturevalue("file_format")].packages:
            pytest.importorskip(package)


every_format = pytest.mark.parametrize("file_format", FORMATS)


@every_format
@pytest.mark.parametrize("streams", [pytest.param(1, marks=pytest.mark.long), 2])
def test_another_process_without_vidnas_gets_the_same_logits(file_format: Format, streams: int, tmp_path: Path) -> None:
    spec = small_spec(attention=True) if streams == 1 else small_two_streams().with_classes(len(CLASSES))
    network, info = network_and_info(spec)
    result = export(network, info, file_format, tmp_path / f"net{SUFFIXES[file_format]}", dynamic_batch=True)

    clips = torch.randn(4, 3, CLIP.frames, CLIP.size, CLIP.size)
    np.save(tmp_path / "clips.npy", clips.numpy())
    code = (
        "import sys, numpy as np\npath, folder = sys.argv[1:]\nclips = np.load(folder + '/clips.npy')\n"
        + RUN_ELSEWHERE[file_format]
        + "\nassert not any(name.startswith('vidnas') for name in sys.modules)\n"
        "np.save(folder + '/logits.npy', logits)"
    )
    subprocess.run([sys.executable, "-c", code, str(result.path), str(tmp_path)], check=True, cwd=tmp_path)

    with torch.no_grad():
        wanted = network.eval()(clips).numpy()
    got = np.load(tmp_path / "logits.npy")
    assert got.shape == (4, len(CLASSES))
    # The same limit as the gate's, here on other clips and another batch size than it used.
    assert np.abs(got - wanted).max() <= TOLERANCE * np.abs(wanted).max()
    assert result.max_difference <= TOLERANCE


@every_format
def test_metadata_beside_and_inside_the_file(file_format: Format, tmp_path: Path) -> None:
    spec = small_spec()
    network, info = network_and_info(spec)
    out = tmp_path / f"net{SUFFIXES[file_format]}"
    result = export(network, info, file_format, out)

    beside = json.loads(result.metadata_path.read_text())
    assert result.metadata_path == tmp_path / f"{out.name}.json"
    assert beside["classes"] == list(CLASSES)
    assert beside["mean"] == [MEAN] * 3
    assert beside["std"] == [STD] * 3
    assert beside["spec_hash"] == spec.content_hash
    assert beside["input"] == {"name": "clips", "shape": [1, 3, 8, 32, 32], "dtype": "float32"}
    assert beside["output"] == {"name": "logits", "shape": [1, 3], "dtype": "float32"}
    assert result.metadata == beside
    assert beside["parity"]["max_difference"] == result.max_difference
    inside = metadata_inside(file_format, out)
    assert inside == {key: value for key, value in beside.items() if key not in ("format", "parity")}
    sizes = [path.stat().st_size for path in tmp_path.iterdir() if path != result.metadata_path]
    assert result.size_mib == pytest.approx(sum(sizes) / 2**20)
    assert network.training


def metadata_inside(file_format: Format, path: Path) -> object:
    if file_format == "torch":
        files = {"vidnas.json": ""}
        torch.export.load(path, extra_files=files)
        return json.loads(files["vidnas.json"])
    if file_format == "onnx":
        import onnx

        return json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}["vidnas"])
    import openvino

    return json.loads(openvino.Core().read_model(path).get_rt_info("vidnas").astype(str))


@pytest.mark.parametrize(
    ("file_format", "ensemble", "streams"),
    [
        ("torch", "softmax_mean", 1),
        pytest.param("onnx", "logit_mean", 1, marks=pytest.mark.long),
        pytest.param("openvino", "softmax_mean", 1, marks=pytest.mark.long),
        ("onnx", "softmax_mean", 2),
    ],
)
def test_a_larger_test_crop_averages_its_positions(
    file_format: Format, ensemble: str, streams: int, tmp_path: Path
) -> None:
    spec = small_spec(ensemble=ensemble)
    if streams == 2:
        spec = small_two_streams(head=spec.head.model_dump())
    network, info = network_and_info(spec)
    out = tmp_path / f"net{SUFFIXES[file_format]}"
    result = export(network, info, file_format, out, clip=CLIP.resized("8x64"))

    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        wanted = network.eval()(clips)
        got = FORMATS[file_format].load(out)(clips)
    assert (got - wanted).abs().max() <= TOLERANCE * wanted.abs().max()
    assert json.loads(result.metadata_path.read_text())["clip"]["size"] == 64


@every_format
def test_a_network_without_classes_gives_features(file_format: Format, tmp_path: Path) -> None:
    network, info = network_and_info(small_spec(num_classes=0))
    result = export(network, info, file_format, tmp_path / f"net{SUFFIXES[file_format]}")
    assert json.loads(result.metadata_path.read_text())["output"] == {
        "name": "features",
        "shape": [1, 64],
        "dtype": "float32",
    }


@every_format
def test_a_file_that_computes_something_else_is_refused(file_format: Format, tmp_path: Path) -> None:
    spec = small_spec()
    network, info = DiffersWhenTraced(spec), network_and_info(spec)[1]
    randomise(network)
    with pytest.raises(VidnasError, match=r"differs from the network's by 0\.001 of max\|logit\|"):
        export(network, info, file_format, tmp_path / f"net{SUFFIXES[file_format]}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("x2d", "torch"), pytest.param("x3d_xs", "torch", marks=pytest.mark.long), ("autox3d_s", "onnx")],
)
def test_families_of_the_zoo(name: str, file_format: Format, tmp_path: Path) -> None:
    spec = get_spec(name)
    frames = min(spec.clip.frames, 2)
    network, info = network_and_info(spec.with_clip(spec.clip.resized(f"{frames}x32")).with_classes(3))
    result = export(network, info, file_format, tmp_path / f"net{SUFFIXES[file_format]}")
    assert 0 < result.max_difference <= TOLERANCE


def test_pt2_holds_nothing_that_could_run_code(tmp_path: Path) -> None:
    network, info = network_and_info(small_spec())
    export(network, info, "torch", tmp_path / "net.pt2")
    with zipfile.ZipFile(tmp_path / "net.pt2") as archive:
        contents = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    for name, content in contents.items():
        if "sample_inputs" in name:
            ((example,), _) = torch.load(BytesIO(content), weights_only=True)
            assert example.untyped_storage().nbytes() == 4 * 3 * CLIP.frames * CLIP.size**2  # one clip, no more
        elif name.endswith("config.json"):
            payloads = json.loads(content)["config"].values()
            assert not any(payload["use_pickle"] for payload in payloads), name
        else:
            # Anything else that began like a pickle or a zip of one would be news.
            assert not content.startswith((b"\x80", b"PK")), name
    assert any(name.startswith("data/sample_inputs/") for name in contents)
    assert any(name.startswith("data/weights/") for name in contents)


def test_an_operator_of_our_own_is_refused(tmp_path: Path) -> None:
    @torch.library.custom_op("vidnas_test::double", mutates_args=())
    def double(x: Tensor) -> Tensor:
        return x * 2

    double.register_fake(torch.empty_like)
    spec = small_spec()
    with pytest.raises(VidnasError, match=r"vidnas_test\.double\.default: not a stock operator"):
        export(ForeignOperator(spec), network_and_info(spec)[1], "torch", tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_broken_weights_are_named_as_such(tmp_path: Path) -> None:
    network, info = network_and_info(small_spec())
    nn.init.constant_(network.get_parameter("head.fc2.bias"), float("nan"))
    with pytest.raises(VidnasError, match="output is not finite"):
        export(network, info, "torch", tmp_path / "net.pt2")


def test_frames_that_a_stream_cannot_take_are_refused(tmp_path: Path) -> None:
    network, info = network_and_info(small_two_streams().with_classes(len(CLASSES)))
    with pytest.raises(VidnasError, match="a clip of 10 frames: the network takes one in 4"):
        export(network, info, "torch", tmp_path / "net.pt2", clip=CLIP.resized("10x32"))


def test_a_clip_smaller_than_the_pool_is_refused(tmp_path: Path) -> None:
    network, info = network_and_info(small_spec())
    with pytest.raises(VidnasError, match="smaller than the network's pool"):
        export(network, info, "torch", tmp_path / "net.pt2", clip=CLIP.resized("4x32"))


def test_files_that_exist_are_replaced_only_when_asked(tmp_path: Path) -> None:
    network, info = network_and_info(small_spec())
    out = tmp_path / "net.pt2"
    (tmp_path / "net.pt2.json").write_text("mine")
    with pytest.raises(VidnasError, match=r"net\.pt2\.json: exists; .*--force"):
        export(network, info, "torch", out)
    assert (tmp_path / "net.pt2.json").read_text() == "mine"
    assert not out.exists()

    export(network, info, "torch", out, overwrite=True)
    assert json.loads((tmp_path / "net.pt2.json").read_text())["architecture"] == "x3d_xs"
    assert {path.name for path in tmp_path.iterdir()} == {"net.pt2", "net.pt2.json"}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("net.onnx", r"ends in \.pt2"),
        ("missing/net.pt2", "there is no folder .*missing; make it first"),
        ("folder.pt2", "is a folder"),
    ],
)
def test_places_that_cannot_be_written(out: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pt2").mkdir()
    network, info = network_and_info(small_spec())
    with pytest.raises(VidnasError, match=message):
        export(network, info, "torch", tmp_path / out)


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that refuses even root")
def test_a_folder_that_refuses(tmp_path: Path) -> None:
    network, info = network_and_info(small_spec())
    with pytest.raises(VidnasError, match=r"/proc/net\.pt2: cannot be written .*choose another folder"):
        export(network, info, "torch", "/proc/net.pt2")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network, info = network_and_info(small_spec())
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(VidnasError, match=r"need openvino.*: pip install 'vidnas\[export\]'"):
        export(network, info, "openvino", tmp_path / "net.xml")
