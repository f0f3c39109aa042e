"""The share of time that a training of small clips waits for them.

    make bench-wait

X3D-S on clips of 8x64x64 with the settings of the recipe `small`, on 10 s videos of 340x256 whose key frames lie 250
apart, as x264 writes them by default (those of data_loading.py). Frames come from these files, from a JPEG copy by
`vidnas data cache`, or from the cache of decoded frames, with worker processes or without. The time is that of
`metrics.jsonl` without its first line, in which workers start and every file is opened for the first time. The copy and
the cache of frames are made before.
"""

import argparse
import contextlib
import itertools
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from data_loading import SOURCES, write_source
from machine import command_of, save

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.log import notes_only
from vidnas.data.augment import short_sides
from vidnas.data.datamodule import DataConfig, train_reader
from vidnas.data.encode import SmallForm
from vidnas.data.formats import VideoList, load_dataset
from vidnas.data.small_copy import make_copy
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.train import train

SOURCE = SOURCES[1]
CLASSES = ("a", "b")
CLIP = ClipSpec(frames=8, size=64, stride=6, fps=30)
WORKERS = (0, 1)


def write_videos(folder: Path, per_class: int, frames: int) -> None:
    """A data set of class folders; its files are alike, since only what they cost to read counts."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    first = folder / CLASSES[0] / "0.mp4"
    write_source(first, SOURCE, frames)
    for name in CLASSES:
        for k in range(per_class):
            with contextlib.suppress(shutil.SameFileError):
                shutil.copy(first, folder / name / f"{k}.mp4")


def network() -> ArchSpec:
    """X3D-S for these clips and classes."""
    spec = get_spec("x3d_s")
    return spec.model_copy(update={"clip": CLIP, "head": spec.head.model_copy(update={"num_classes": len(CLASSES)})})


def measure(videos: VideoList, data: DataConfig, config: TrainConfig, folder: Path) -> dict[str, float]:
    """Clips per second of a training, and the share of its time that it waited for them."""
    with notes_only():
        train(network(), videos, config, data, folder, progress=False)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clips = total_sec = wait_sec = 0.0
    for before, line in itertools.pairwise(lines):
        lap_clips = (line["step"] - before["step"]) * config.batch_size
        lap_sec = lap_clips / line["clips_per_sec"]
        clips += lap_clips
        total_sec += lap_sec
        wait_sec += lap_sec * line["data_wait_share"]
    return {"data_wait_share": wait_sec / total_sec, "clips_per_sec": clips / total_sec}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--frames", type=int, default=300, help="of each video")
    parser.add_argument("--steps", type=int, default=60, help="of each training")
    parser.add_argument("--threads", type=int, help="of a training; default: torch's choice")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    # The defaults are the recipe; laps of 10 steps.
    config = TrainConfig(steps=options.steps, threads=options.threads, log_every_steps=10, device="cpu")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original, copy = folder / "videos", folder / "copy"
        write_videos(original, options.videos // len(CLASSES), options.frames)
        short_side = short_sides(CLIP.size)[1]
        make_copy({"train": load_dataset(original).train}, original, copy, SmallForm("jpeg", short_side))
        sources = {
            "videos": DataConfig(original, memory_budget_mib=0),
            "JPEG copy": DataConfig(copy, memory_budget_mib=0),
            "cache of frames": DataConfig(original, cache_dir=folder / "cache"),
        }
        train_reader(sources["cache of frames"], load_dataset(original).train, CLIP)
        for source, data in sources.items():
            videos = load_dataset(data.path).train
            for workers in WORKERS:
                run = folder / f"run{len(rows)}"
                figures = measure(videos, replace(data, workers=workers), config, run)
                rows.append({"source": source, "workers": workers, "threads": torch.get_num_threads(), **figures})
                print(
                    f"{source:<16} {workers} workers: waits {figures['data_wait_share']:6.1%} of the time, "
                    f"{figures['clips_per_sec']:.1f} clips/s",
                    flush=True,
                )
    result = {
        "network": network().name,
        "clip": str(CLIP),
        "batch": config.batch_size,
        "videos": f"{options.videos} of {SOURCE.name}, {options.frames} frames",
        "short_side": short_side,
        "tables": rows,
    }
    save(options.out, command_of("bench-wait", parser, options), result, threads_in_record=True)


if __name__ == "__main__":
    main()
