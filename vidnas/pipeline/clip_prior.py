"""The clip where none is given and no trials are run: a prior that looks at the videos.

At a budget frames are paid for with size, and which is worth more is a question to the videos. The prior takes one of
the proposals that a race would try (`vidnas.search.clips`):

- 16 frames at four times the pixels of X3D's clip of that cost, where nothing clear is known;
- 32 frames, where one frame clearly gives less than half of what a small probe tells (`vidnas.pipeline.clip_probe`);
- 8 frames, where one frame clearly gives more than three quarters of it; fewer only of videos that have fewer.

Clear is what holds two standard errors away. Frames are spread over the whole video where it is shorter than X3D's
clips, and where the probe, whose frames are spread so, needs their order; otherwise they span as much as X3D's.
"""

from math import log2
from typing import NamedTuple

from vidnas.arch.spec import ClipSpec
from vidnas.pipeline.clip_probe import FRAMES, Probe
from vidnas.pipeline.lists import Holding
from vidnas.search.clips import clip_proposals
from vidnas.search.space.published.auto import SPAN_SEC

FEW, MIDDLE, MANY = 8, 16, 32
# Shares of what the probe tells that one frame gives.
_LITTLE, _MOST = 0.5, 0.75
_ERRORS = 2.0


class Prior(NamedTuple):
    """What to prefer.

    Attributes:
        frames: of a clip.
        whole: spread over the whole video, however long it is.
        reason: what speaks for it.
    """

    frames: int
    whole: bool
    reason: str


def prior_of(probe: Probe) -> Prior:
    """What a probe speaks for."""
    if probe.failure is not None:
        return Prior(MIDDLE, False, f"nothing was measured ({probe.failure}), so the middle is taken")
    seen = (
        f"a linear probe tells {_share(probe.single, probe.single_error)} of {probe.videos} training videos of "
        f"{probe.classes} classes by their middle frame and {_share(probe.ordered, probe.ordered_error)} by {FRAMES} "
        f"frames in order (chance {probe.chance:.1%}; {probe.sec:.0f} s)"
    )
    if not any(
        right - probe.chance > _ERRORS * error
        for right, error in ((probe.single, probe.single_error), (probe.ordered, probe.ordered_error))
    ):
        return Prior(MIDDLE, False, f"{seen}: neither is clearly above chance, so the middle is taken")
    told = f"{seen}: one frame gives {_share(probe.share, probe.share_error)} of what it tells"
    if probe.share + _ERRORS * probe.share_error < _LITTLE:
        return Prior(MANY, True, f"{told}, which speaks for many frames")
    if probe.share - _ERRORS * probe.share_error > _MOST:
        return Prior(FEW, False, f"{told}, which speaks for few and large frames")
    return Prior(MIDDLE, False, f"{told}, which speaks for neither many frames nor few, so the middle is taken")


def clips_by_prior(prior: Prior, macs: float, held: Holding) -> list[ClipSpec]:
    """The proposals at a cost, what the prior prefers first; none where the videos hold fewer than four frames.

    A scaled space may not reach down to the cost at the first ones.
    """
    spread = [
        clip
        for clip in clip_proposals(macs, held.frames, held.short_side, held.duration_sec)
        if clip.sampling == "uniform"
    ]
    most = max((clip.frames for clip in spread), default=0)
    fitting = [clip for clip in spread if clip.frames >= min(FEW, most)]
    ranked = sorted(fitting, key=lambda clip: abs(log2(clip.frames / prior.frames)))
    if prior.whole or held.duration_sec < SPAN_SEC:
        return ranked
    return [
        clip.model_copy(update={"sampling": "stride", "stride": SPAN_SEC * 30 / clip.frames, "fps": 30.0})
        for clip in ranked
    ]


def explain(prior: Prior, clip: ClipSpec) -> str:
    """What speaks for a clip, and what nobody knows of it."""
    nearest = "" if clip.frames == prior.frames else f"; {clip.frames} frames are the nearest that can be had here"
    return (
        f"{prior.reason}{nearest}; not known without trials: whether networks of this cost see what the probe does, "
        "and which clip serves them best (`vidnas race` tries it out)"
    )


def _share(value: float, error: float) -> str:
    return f"{100 * value:.0f} ± {100 * error:.0f}%"
