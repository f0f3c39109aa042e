"""Scores of videos from an exported network without vidnas: onnxruntime, PyAV, NumPy, and the JSON beside the file.

    python onnx_predict.py model.onnx VIDEO... [--clips 10]

What is done is what `preprocessing` and `postprocessing` of model.onnx.json say, in their order; the scores are those
of `vidnas predict` with the same views.
"""

import argparse
import json
import math
from pathlib import Path

import av
import numpy as np
import onnxruntime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, help="per video; default: as the JSON says")
    parser.add_argument("--top", type=int, default=5)
    options = parser.parse_args()
    facts = json.loads(Path(f"{options.model}.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(options.model, providers=["CPUExecutionProvider"])
    for video in options.videos:
        scores = predict(session, facts, video, options.clips)
        best = np.argsort(-scores, kind="stable")[: options.top]
        top = [{"class": facts["classes"][label], "score": float(scores[label])} for label in best]
        print(json.dumps({"path": str(video), "top": top}))


def predict(session: onnxruntime.InferenceSession, facts: dict, path: Path, clips: int | None = None) -> np.ndarray:
    """Scores (classes,) of a video: the softmax or sigmoid of every clip and crop, averaged."""
    steps = facts["preprocessing"]
    starts, tick, fps, duration = frame_starts(path)
    times = clip_times(steps["sampling"], duration, fps, clips or steps["sampling"]["clips"])
    slack = min(1.0, 0.25 / (fps * tick))  # in ticks
    shown = np.maximum(np.searchsorted(starts, times / tick + slack, side="right") - 1, 0)
    pictures = read_pictures(path, set(shown.flat), steps)
    scores = []
    for clip in shown:
        frames = np.stack([pictures[place] for place in clip])
        for position in steps["crop"]["positions"]:
            view = normalise(crop(frames, steps["crop"]["size"], position), steps)
            (logits,) = session.run(None, {facts["input"]["name"]: view})
            scores.append(ACTIVATIONS[facts["postprocessing"]["activation"]](logits[0].astype(np.float64)))
    return np.mean(scores, axis=0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Each video is of one class."""
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Each video shows any number of classes."""
    return 1 / (1 + np.exp(-logits))


ACTIVATIONS = {"softmax": softmax, "sigmoid": sigmoid}


def frame_starts(path: Path) -> tuple[np.ndarray, float, float, float]:
    """When each frame starts, in ticks from the first; seconds per tick; frames per second; seconds in all."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        tick = float(stream.time_base)
        rate = stream.average_rate or stream.guessed_rate
        step = 1 / (float(rate) * tick)
        ticks: list[float] = []
        held = 0.0
        for frame in container.decode(stream):
            ticks.append(frame.pts if frame.pts is not None else ticks[-1] + step if ticks else 0)
            held = frame.duration or step
        starts = np.sort(ticks) - min(ticks)  # AVI swaps the times around B-frames
        end = starts[-1] + held
        # A header may promise anything; where frames bear it out, it knows best how long the last of them is held.
        if stream.duration and starts[-1] < stream.duration <= end + step:
            end = stream.duration
        return starts, tick, float(rate), end * tick


def clip_times(sampling: dict, duration: float, fps: float, clips: int) -> np.ndarray:
    """Seconds (clips, frames) from the first frame."""
    frames = sampling["frames"]
    if sampling["kind"] == "uniform":
        within = (np.arange(clips)[:, None] + 0.5) / clips
        return (np.arange(frames) + within) * duration / frames
    step = sampling["stride"] / sampling["fps"]
    latest = max(0, math.floor(round(duration * fps) - 1 - (frames - 1) * step * fps + 1e-6))
    starts = [latest // 2] if clips == 1 else [round(latest * clip / (clips - 1)) for clip in range(clips)]
    return (np.array(starts)[:, None] + 0.5) / fps + np.arange(frames) * step


def read_pictures(path: Path, places: set[int], steps: dict) -> dict[int, np.ndarray]:
    """Frames by their place in the video: upright, (H, W, 3) uint8, the short side as the network wants it."""
    pixels = {"RGB": "rgb24", "BGR": "bgr24"}[steps["colour_order"]]
    short_side = steps["resize"]["short_side"]
    pictures = {}
    with av.open(str(path)) as container:
        for place, frame in enumerate(container.decode(container.streams.best("video"))):
            if place == 0:
                scale = min(1.0, short_side / min(frame.width, frame.height))
                width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
                matrix = frame.side_data.get("DISPLAYMATRIX")
            if place in places:
                image = frame.reformat(width, height, pixels, interpolation="BILINEAR").to_ndarray()
                pictures[place] = enlarge(image if matrix is None else upright(image, matrix), short_side)
            if place == max(places):
                break
    return pictures


def upright(image: np.ndarray, matrix: object) -> np.ndarray:
    """Turn and mirror: a display matrix (a, b, u, c, d, ...) shows the pixel (x, y) at (a x + c y, b x + d y)."""
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def enlarge(image: np.ndarray, short_side: int) -> np.ndarray:
    """Bilinear, to a short side that is no smaller than the image's, in whole numbers with weights of 14 bits."""
    shorter = min(image.shape[:2])
    if shorter >= short_side:
        return image
    for axis in (1, 0):
        old = image.shape[axis]
        new = short_side if old == shorter else int(short_side * old / shorter)
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        before = np.floor(place).astype(int)
        share = np.expand_dims(place - before, (1, 2) if axis == 0 else (0, 2))
        total = np.int64(1 << 13)  # a half, so that halves are rounded up
        for k, weight in enumerate((1 - share, share)):
            pixels = np.take(image, np.minimum(before + k, old - 1), axis)
            total = total + pixels * np.floor(weight * (1 << 14) + 0.5).astype(np.int64)
        image = (total >> 14).astype(np.uint8)
    return image


def crop(frames: np.ndarray, size: int, position: float) -> np.ndarray:
    """(T, size, size, 3): a square that lies at 0 (start) to 1 (end) of what is to spare of both sides."""
    top, left = (int(position * (side - size)) for side in frames.shape[1:3])
    return frames[:, top : top + size, left : left + size]


def normalise(frames: np.ndarray, steps: dict) -> np.ndarray:
    """(T, H, W, 3) uint8 to a batch of one, (1, 3, T, H, W) float32."""
    low, high = steps["value_range"]
    values = low + frames / 255 * (high - low)
    values = (values - steps["mean"]) / steps["std"]
    return np.ascontiguousarray(values.transpose(3, 0, 1, 2)[None], np.float32)


if __name__ == "__main__":
    main()
