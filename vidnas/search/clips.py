"""Clips that a budget can be spent on: more frames or larger ones, at equal numbers of pixels and at fewer.

X3D found its ladder of clips on Kinetics, where scenes tell classes apart. Frames against size at equal cost is a
question to the videos at hand, and worth more than any block.
"""

from collections.abc import Iterable
from math import sqrt

from vidnas.arch.spec import ClipSpec
from vidnas.search.space.published.auto import SPAN_SEC, nearest_rung

FRAMES = (4, 8, 16, 32, 64)
# Pixels of a clip as multiples of those of X3D's own rung: the network is the narrower, the more there are.
_VOLUMES = (4.0, 1.0)
_SIDE_STEP, _LEAST_SIDE = 8, 24
# Fewer frames than the rung's pixels allow are left to the larger volume.
_FEW = (4, 16)


def clip_proposals(macs: float, max_frames: int, max_size: int, video_sec: float) -> list[ClipSpec]:
    """Clips from 4 to 64 frames, within what the videos hold; of whole videos, and for long ones of X3D's span as well.

    Args:
        macs: multiply-adds of one clip.
        max_frames: frames that most videos have.
        max_size: short side of the videos in pixels.
        video_sec: how long the videos are.
    """
    rung = nearest_rung(macs)
    # Far below the ladder both pixels and widths shrink.
    rung_pixels = rung.frames * rung.size**2 * min(1.0, 2 * macs / rung.macs) ** 0.5
    shapes = [
        *((frames, _side(_VOLUMES[0] * rung_pixels / frames)) for frames in FRAMES),
        *((frames, _side(_VOLUMES[1] * rung_pixels / frames)) for frames in _FEW),
    ]
    uniform = [ClipSpec(frames=frames, size=size, sampling="uniform") for frames, size in shapes]
    strided = [
        ClipSpec(frames=frames, size=size, stride=SPAN_SEC * 30 / frames, fps=30)
        for frames, size in shapes[:: len(FRAMES) // 2]
        if video_sec >= SPAN_SEC
    ]
    return _held([*uniform, *strided], max_frames, max_size)


def near_clips(clip: ClipSpec, max_frames: int, max_size: int) -> list[ClipSpec]:
    """Half a step away: frames against size both ways, larger and smaller, within what the videos hold."""
    shapes = [
        (round(clip.frames * 1.5), clip.size / sqrt(1.5)),
        (round(clip.frames / 1.5), clip.size * sqrt(1.5)),
        (clip.frames, clip.size * sqrt(2)),
        (clip.frames, clip.size / sqrt(2)),
    ]
    near = [
        clip.model_copy(
            update={
                "frames": frames,
                "size": _side(size**2),
                "stride": clip.stride * clip.frames / frames if clip.sampling == "stride" else clip.stride,
            }
        )
        for frames, size in shapes
    ]
    return [other for other in _held(near, max_frames, max_size) if other != clip]


def _side(pixels: float) -> int:
    """A side that gives about so many pixels."""
    return _SIDE_STEP * max(_LEAST_SIDE // _SIDE_STEP, round(sqrt(pixels) / _SIDE_STEP))


def _held(clips: Iterable[ClipSpec], max_frames: int, max_size: int) -> list[ClipSpec]:
    """Those whose frames the videos have, no larger than these are, each once."""
    fitting = (clip for clip in clips if clip.frames <= max_frames)
    return list(dict.fromkeys(clip.model_copy(update={"size": min(clip.size, max_size)}) for clip in fitting))
