"""An ONNX file and the JSON beside it are enough to get the scores of `predict`, without vidnas."""

import copy
import json
import runpy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_training import lively_network

from vidnas.arch.spec import ClipSpec
from vidnas.data.augment import JITTER, Views
from vidnas.data.synthetic import texture
from vidnas.deploy.export import export
from vidnas.deploy.predict import Predictor
from vidnas.nn.weights import ModelInfo

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "onnx_predict.py"
# Of softmax scores: two runtimes sum in float32 in other orders, which makes up to 1e-6 here.
TOLERANCE = 1e-4
CLASSES = tuple(f"class {i}" for i in range(12))
UNIFORM = ClipSpec(frames=8, size=32, sampling="uniform")
STRIDE = ClipSpec(frames=8, size=32, sampling="stride", stride=2.5, fps=30)


def write(
    path: Path,
    *,
    seed: int,
    size: tuple[int, int] = (60, 90),
    frames: int = 40,
    fps: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    steps: tuple[int, int] | None = None,
    rotation: int = 0,
    hflip: bool = False,
) -> None:
    """A coloured texture that drifts; `steps` draws the ticks of 1/100 s from one frame to the next."""
    rng = np.random.default_rng(seed)
    image = (255 * texture(size, rng) * rng.uniform(0.3, 1, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        options = {"bf": "2", "g": "12", "qp": "15"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        unit = Fraction(1, fps) if steps is None else Fraction(1, 100)
        stream.time_base = stream.codec_context.time_base = unit
        if rotation or hflip:
            stream.set_display_rotation(rotation, hflip=hflip)
        tick = 0
        for k in range(frames):
            shifted = np.roll(image, (k, 3 * k), (0, 1)) // (1 + k // 20)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shifted), "rgb24")
            frame.pts, frame.time_base = tick, unit
            container.mux(stream.encode(frame))
            tick += 1 if steps is None else int(rng.integers(*steps))
        container.mux(stream.encode(None))


VIDEOS = {
    "plain.mp4": {},
    "film.mp4": {"fps": 24, "frames": 120},
    "fast.mkv": {"fps": 60, "frames": 90},
    "slow.mp4": {"fps": 7, "frames": 9},  # shorter than the clip of stride
    "one.mp4": {"frames": 1},
    "variable.mp4": {"steps": (1, 9)},
    "odd.mov": {"size": (71, 95), "codec": "png", "pixels": "rgb24"},
    "tall.avi": {"size": (96, 54), "codec": "mpeg4"},
    "full_range.mov": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "smaller.mp4": {"size": (20, 28)},
    "smaller_than_scaled.mov": {"size": (33, 51), "codec": "png", "pixels": "rgb24"},
    "turned.mp4": {"rotation": 90},
    "upside_down.mp4": {"rotation": 180, "size": (40, 50)},
    "turned_and_small.mp4": {"rotation": 270, "size": (24, 30)},
    "mirrored.mp4": {"hflip": True},
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    for seed, (name, options) in enumerate(VIDEOS.items()):
        write(folder / name, seed=seed, **options)
    return [folder / name for name in VIDEOS]


NETWORK = lively_network()


def info(jitter: tuple[float, float] | None = None) -> ModelInfo:
    config = {} if jitter is None else {"jitter": list(jitter)}
    return ModelInfo(spec=NETWORK.spec, classes=CLASSES, config={"kept": "all", **config})


class Exported:
    """An ONNX file and the JSON beside it, with the script's `predict`.

    Args:
        out: the file.
        clip: frames, crop and sampling.
        views: clips and crops of a video.
        jitter: scales that the network was trained at; None for the usual ones.
    """

    def __init__(self, out: Path, clip: ClipSpec, views: Views, jitter: tuple[float, float] | None) -> None:
        self.path, self.clip, self.views, self.jitter = out, clip, views, jitter
        result = export(NETWORK, info(jitter), "onnx", out, clip=clip, views=views)
        self.facts = json.loads(result.metadata_path.read_text())
        self.session = onnxruntime.InferenceSession(out)
        self.predict = runpy.run_path(str(SCRIPT))["predict"]

    def rebuilt(self, video: Path, clips: int | None = None, facts: dict | None = None) -> np.ndarray:
        """The script's scores."""
        return self.predict(self.session, facts or self.facts, video, clips)

    def wanted(self, video: Path, clips: int) -> np.ndarray:
        """Those of `vidnas predict`."""
        views = Views(clips, self.views.spatial)
        predictor = Predictor(NETWORK, CLASSES, views, clip=self.clip, jitter=self.jitter or JITTER)
        top = dict(predictor.predict(video, top=len(CLASSES)).top)
        return np.array([top[name] for name in CLASSES])


EXPORTS = {
    "uniform, centre": (UNIFORM, Views(10, 1), None),
    "stride, centre": (STRIDE, Views(10, 1), (1.4, 1.6)),
    "stride, three crops, another clip": (STRIDE.resized("9x40"), Views(4, 3), (1.0, 1.3)),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    folder = tmp_path_factory.mktemp("exports")
    return {name: Exported(folder / f"{name[:9]}.onnx", *asked) for name, asked in EXPORTS.items()}


@pytest.mark.parametrize("name", EXPORTS)
def test_scores_from_the_file_and_its_json_alone(videos: list[Path], exports: dict[str, Exported], name: str) -> None:
    exported = exports[name]
    assert exported.facts["preprocessing"]["sampling"]["clips"] == exported.views.temporal
    seen = []
    for place, video in enumerate(videos):
        for clips in (10, 1) if place % 3 == 0 else (10,):
            scores = exported.wanted(video, clips)
            np.testing.assert_allclose(
                exported.rebuilt(video, clips), scores, rtol=0, atol=TOLERANCE, err_msg=video.name
            )
            seen.append(scores)
    # The network has an opinion, and another one of each video.
    assert np.ptp(seen, axis=0).max() > 0.2


def test_every_figure_of_the_json_counts(videos: list[Path], exports: dict[str, Exported]) -> None:
    """A changed one gives scores that the comparison above would not let pass."""
    exported = exports["stride, centre"]
    film = videos[1]
    right = exported.rebuilt(film, 2)
    changes = [
        (("colour_order",), "BGR"),
        (("value_range",), [-1.0, 1.0]),
        (("mean",), [0.4, 0.45, 0.5]),
        (("std",), [0.25, 0.225, 0.225]),
        (("resize", "short_side"), 60),
        (("crop", "positions"), [0.0]),
        (("sampling", "kind"), "uniform"),
        (("sampling", "stride"), 3.5),
        (("sampling", "fps"), 24.0),
    ]
    for (*keys, last), value in changes:
        other = copy.deepcopy(exported.facts)
        place = other["preprocessing"]
        for key in keys:
            place = place[key]
        assert place[last] != value
        place[last] = value
        assert np.abs(exported.rebuilt(film, 2, other) - right).max() > 10 * TOLERANCE, (keys, last)


def test_the_script_runs_where_vidnas_is_not_used(videos: list[Path], exports: dict[str, Exported]) -> None:
    exported = exports["uniform, centre"]
    code = (
        "import runpy, sys; script, *sys.argv[1:] = sys.argv[1:]; runpy.run_path(script, run_name='__main__'); "
        "assert not {'vidnas', 'torch'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", code, SCRIPT, exported.path, *videos[:2], "--top", "12", "--clips", "3"]
    told = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True).stdout
    for video, line in zip(videos[:2], told.splitlines(), strict=True):
        top = json.loads(line)
        assert top["path"] == str(video)
        scores = {entry["class"]: entry["score"] for entry in top["top"]}
        right = exported.wanted(video, 3)
        assert [scores[name] for name in exported.facts["classes"]] == pytest.approx(list(right), abs=TOLERANCE)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_the_json_describes_the_clip_and_views_asked_for(tmp_path: Path) -> None:
    trained = info((1.25, 1.5))
    spec = {"overwrite": True, "dynamic_batch": True}
    out = tmp_path / "net.pt2"
    plain = export(NETWORK, trained, "torch", out, **spec).metadata
    assert plain["input"]["shape"] == ["batch", 3, 8, 32, 32]
    steps = plain["preprocessing"]
    assert (steps["resize"]["short_side"], steps["crop"]["size"], steps["crop"]["positions"]) == (40, 32, [0.5])
    assert steps["sampling"]["kind"] == "uniform"
    assert "stride" not in steps["sampling"]
    assert (steps["colour_order"], steps["value_range"], steps["layout"]) == ("RGB", [0.0, 1.0], "NCTHW")
    assert (steps["mean"], steps["std"]) == ([0.45] * 3, [0.225] * 3)
    assert plain["postprocessing"]["activation"] == "softmax"

    other = export(NETWORK, trained, "torch", out, clip=STRIDE.resized("10x48"), views=Views(4, 3), **spec).metadata
    assert other["input"]["shape"] == ["batch", 3, 10, 60, 60]
    steps = other["preprocessing"]
    assert (steps["resize"]["short_side"], steps["crop"]["size"]) == (60, 60)
    assert steps["crop"]["positions"] == [0.0, 0.5, 1.0]
    sampling = steps["sampling"]
    assert (sampling["frames"], sampling["stride"], sampling["fps"], sampling["clips"]) == (10, 2.5, 30.0, 4)
