"""How a video becomes the input of an exported network, and its output scores, as plain data.

Whoever has an exported file has no vidnas: every number that `Predictor` uses is written out here, beside the rules in
words. `docs/examples/onnx_predict.py` follows them, and a test holds it to `Predictor`'s scores.
"""

from typing import Any

from vidnas.arch.spec import ClipSpec, HeadSpec
from vidnas.data.augment import Views, ViewTransform
from vidnas.nn.weights import ModelInfo

_TIMES = {
    "stride": (
        "frame k of clip v of V: (start + 0.5) / video_fps + k * stride / fps; "
        "start = round(latest * v / (V - 1)) with halves to even, or floor(latest / 2) where V is 1; "
        "latest = max(0, floor(round(duration * video_fps) - 1 - (frames - 1) * stride * video_fps / fps + 1e-6))"
    ),
    "uniform": "frame k of clip v of V: (k + (v + 0.5) / V) * duration / frames",
}
_UNITS = (
    "k and v count from 0; times are seconds from the first frame; duration is from the start of the first frame to "
    "the end of the last; video_fps is the stream's average rate"
)
_FRAME = (
    "the last frame that starts at or before time + slack, slack = min(tick, 0.25 / video_fps) with the stream's unit "
    "of time as tick; before the first frame the first, after the last the last"
)
_ORIENTATION = "upright, as the display matrix of the first frame says; the pixel aspect ratio is ignored"
_LARGER = (
    "a video whose short side is larger is scaled down as it is converted to RGB by swscale with SWS_BILINEAR (PyAV: "
    "frame.reformat(width, height, 'rgb24')); both sides become round(side * short_side / shorter), at least 1"
)
_SMALLER = (
    "a video whose short side is smaller is converted at its size and the RGB image then enlarged, bilinear with "
    "pixel centres at halves, first along the width and then the height, each time with weights rounded to 1 / 16384 "
    "and the result to whole numbers of 0 to 255, halves up; the long side becomes floor(short_side * longer / shorter)"
)
_ACTIVATIONS = {
    "classification": {"activation": "softmax", "order": "softmax over the classes of each view, then the mean"},
    "multi_label": {
        "activation": "sigmoid",
        "order": "sigmoid of each class of each view, then the mean; a class is shown where it is 0.5 or more",
    },
}
_CROP = "one square at each position: top = floor(position * (height - size)), left = floor(position * (width - size))"


def describe_preprocessing(clip: ClipSpec, views: Views, transform: ViewTransform, info: ModelInfo) -> dict[str, Any]:
    """From a video file to the input, in the order of the work.

    Args:
        clip: frames and sampling.
        views: number of clips and crops of a video.
        transform: scale and crop.
        info: mean and deviation.
    """
    stride = {"stride": clip.stride, "fps": clip.fps} if clip.sampling == "stride" else {}
    return {
        "sampling": {
            "kind": clip.sampling,
            "frames": clip.frames,
            **stride,
            "clips": views.temporal,
            "times": _TIMES[clip.sampling],
            "units": _UNITS,
            "frame": _FRAME,
        },
        "orientation": _ORIENTATION,
        "colour_order": "RGB",
        "resize": {"short_side": transform.short_side, "larger": _LARGER, "smaller": _SMALLER},
        "crop": {"size": transform.crop, "positions": list(transform.positions), "offset": _CROP},
        "value_range": [0.0, 1.0],
        "values": "(pixel / 255 - mean) / std, per colour",
        "mean": list(info.mean),
        "std": list(info.std),
        "layout": "NCTHW",
    }


def describe_postprocessing(head: HeadSpec) -> dict[str, Any]:
    """From the outputs of a video's views to its scores."""
    if not head.num_classes:
        return {"activation": None, "views": "mean"}
    return {"views": "mean", **_ACTIVATIONS[head.kind]}
