"""What a clip costs to load, on one core: 13 frames, 6 apart, of a 10 s video, at short side 182.

    make bench-data

The videos are made here: a textured world under a moving camera, with moving objects and sensor noise, as H.264 with
x264's defaults. The limit is decoding alone: from the key frame before the clip to the clip's last frame, nothing
converted. Against it: vidnas's reader on the same file, pytorchvideo (which converts every frame of the span), and
vidnas's reader on small copies by `vidnas data cache`. All methods take turns at the same clips, in one thread pinned
to one core; a figure is the median over rounds of the mean over clips. Files are in the page cache, and a video's
header has been read before (`Reader.info`), as in every epoch but the first.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.functional
from machine import command_of, save

from vidnas.arch.spec import ClipSpec
from vidnas.data.augment import TrainTransform
from vidnas.data.clips import test_times
from vidnas.data.encode import SmallForm, write_small
from vidnas.data.reader import FileReader
from vidnas.engine.run.runtime import tune_allocator

CLIP = ClipSpec(frames=13, size=160, stride=6, fps=30)
SHORT_SIDE = 182
FPS = 30
VIEWS = 4
SEED = 0


class Source(NamedTuple):
    """A kind of video."""

    name: str
    height: int
    width: int
    gop: int


SOURCES = (
    Source("340x256, key frame every 12", 256, 340, 12),
    Source("340x256, key frame every 250", 256, 340, 250),
    Source("1280x720, key frame every 30", 720, 1280, 30),
)


def texture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 with detail at every scale, the finer the fainter, as pictures have."""
    total = torch.zeros(1, 3, height, width)
    cells = 4
    while cells < height:
        grid = torch.from_numpy(rng.random((1, 3, cells, cells * width // height), np.float32)) - 0.5
        total += F.interpolate(grid, (height, width), mode="bilinear") / cells**0.7
        cells *= 2
    total = (total - total.mean()) / total.std()
    return (128 + 50 * total).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def pictures(source: Source, frames: int) -> Iterator[np.ndarray]:
    """The frames of a video, one by one."""
    rng = np.random.default_rng(SEED)
    height, width = source.height, source.width
    margin = height // 4
    world = texture(height + 2 * margin, width + 2 * margin, rng)
    side = height // 4
    objects = [texture(side, side, rng) for _ in range(4)]
    noise = rng.normal(0, 3, (8, height, width, 1)).astype(np.int16)
    for k in range(frames):
        turn = 2 * np.pi * k / 240
        top, left = (int(margin * (1 + 0.9 * wave)) for wave in (np.sin(turn), np.cos(1.3 * turn)))
        picture = world[top : top + height, left : left + width].copy()
        for i, thing in enumerate(objects):
            y = int((height - side) * (0.5 + 0.5 * np.sin((i + 2) * turn + i)))
            x = int((width - side) * (0.5 + 0.5 * np.cos((i + 1.5) * turn + 2 * i)))
            picture[y : y + side, x : x + side] = thing
        yield (picture + noise[k % len(noise)]).clip(0, 255).astype(np.uint8)


def write_source(path: Path, source: Source, frames: int) -> None:
    """H.264 with x264's default preset, rate factor and B-frames."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"g": str(source.gop), "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = source.height, source.width, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for picture in pictures(source, frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def decode_only(path: Path, times_sec: tuple[float, ...]) -> None:
    """From the key frame before the first time to the frame on the screen at the last."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        stream.codec_context.thread_count = 1
        tick_sec = float(stream.time_base)
        container.seek(int(times_sec[0] / tick_sec), stream=stream)
        last = (times_sec[-1] - 1 / FPS) / tick_sec
        for frame in container.decode(stream):
            if frame.pts > last:
                return


def pytorchvideo_reader() -> Callable[[Path, tuple[float, ...]], object] | None:
    """pytorchvideo's own decoding, subsampling and scaling; None where it is not installed."""
    # pytorchvideo imports this module by a name that torchvision gave up.
    sys.modules.setdefault("torchvision.transforms.functional_tensor", torchvision.transforms.functional)
    try:
        from pytorchvideo.data.encoded_video import EncodedVideo
        from pytorchvideo.transforms.functional import short_side_scale, uniform_temporal_subsample
    except ImportError:
        return None

    def read(path: Path, times_sec: tuple[float, ...]) -> torch.Tensor:
        video = EncodedVideo.from_path(str(path), decode_audio=False)
        video._container.streams.video[0].codec_context.thread_count = 1
        half = 0.5 / FPS
        clip = video.get_clip(times_sec[0] - half, times_sec[-1] + half)["video"]
        video.close()
        scaled: torch.Tensor = short_side_scale(uniform_temporal_subsample(clip, CLIP.frames), SHORT_SIDE)
        return scaled

    return read


def clips(duration_sec: float, number: int) -> list[tuple[float, ...]]:
    """Times of clips spread over the video."""
    return test_times(CLIP, duration_sec, FPS, number)


def methods(folder: Path, original: Path, duration_sec: float) -> dict[str, Callable[[tuple[float, ...]], object]]:
    """What is compared, by name; each takes the times of a clip."""
    copies = {"jpeg": folder / "copy.mov", "h264": folder / "copy.mp4"}
    write_small(original, copies["jpeg"], SmallForm("jpeg", SHORT_SIDE))
    write_small(original, copies["h264"], SmallForm("h264", SHORT_SIDE))
    reader = FileReader(SHORT_SIDE)
    for path in (original, *copies.values()):
        reader.info(path)
    transform = TrainTransform(CLIP.size)
    every = [time for times in clips(duration_sec, VIEWS) for time in times]

    def ready(times: tuple[float, ...]) -> object:
        frames = reader.read(copies["jpeg"], times)
        return transform(frames, transform.draw(*frames.shape[1:3], np.random.default_rng(SEED)))

    compared: dict[str, Callable[[tuple[float, ...]], object]] = {
        "decoding alone, the limit": lambda times: decode_only(original, times),
        "vidnas, original": lambda times: reader.read(original, times),
        f"vidnas, original, {VIEWS} clips in one pass": lambda times: reader.read(original, every),
        "vidnas, H.264 copy": lambda times: reader.read(copies["h264"], times),
        "vidnas, JPEG copy": lambda times: reader.read(copies["jpeg"], times),
        "vidnas, JPEG copy, cropped and normalised": ready,
    }
    peer = pytorchvideo_reader()
    if peer is not None:
        compared["pytorchvideo, original"] = lambda times: peer(original, times)
    return compared


def measure(source: Source, frames: int, number: int, rounds: int) -> dict[str, Any]:
    """Milliseconds per clip of every method on one kind of video."""
    duration_sec = frames / FPS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original = folder / "original.mp4"
        write_source(original, source, frames)
        compared = methods(folder, original, duration_sec)
        spread = clips(duration_sec, number)
        for method in compared.values():
            method(spread[0])
        means: dict[str, list[float]] = {name: [] for name in compared}
        for _ in range(rounds):
            taken = dict.fromkeys(compared, 0.0)
            for times in spread:
                for name, method in compared.items():
                    start = time.perf_counter()
                    method(times)
                    taken[name] += time.perf_counter() - start
            for name, sec in taken.items():
                means[name].append(1000 * sec / len(spread))
        sizes = {path.name: path.stat().st_size / 1e6 for path in folder.iterdir()}
    ms = {name: statistics.median(values) for name, values in means.items()}
    together = next(name for name in ms if "one pass" in name)
    ms[together] /= VIEWS
    limit = ms["decoding alone, the limit"]
    rows = [
        {"method": name, "ms_per_clip": value, "of_limit": value / limit, "clips_per_sec": 1000 / value}
        for name, value in ms.items()
    ]
    return {"source": source.name, "seconds": duration_sec, "mb": sizes, "methods": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=300, help="of each video")
    parser.add_argument("--clips", type=int, default=8, help="per video")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sources", type=int, default=len(SOURCES), help="how many of the kinds of video")
    options = parser.parse_args()
    tune_allocator()  # as training does
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tables = []
    for source in SOURCES[: options.sources]:
        tables.append(measure(source, options.frames, options.clips, options.rounds))
        print(source.name)
        for row in tables[-1]["methods"]:
            print(
                f"  {row['method']:<44} {row['ms_per_clip']:7.2f} ms  {row['of_limit']:5.2f} of the limit  "
                f"{row['clips_per_sec']:6.0f} clips/s"
            )
    result = {
        "clip": f"{CLIP.frames} frames, {CLIP.stride:g} apart at {FPS} fps, short side {SHORT_SIDE}",
        "cores_used": 1,
        "tables": tables,
    }
    save(options.out, command_of("bench-data", parser, options), result)


if __name__ == "__main__":
    main()
