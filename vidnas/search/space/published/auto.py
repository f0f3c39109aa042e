"""`--space auto`: a clip and a scaled space for a budget."""

from collections.abc import Callable
from math import log, sqrt
from typing import NamedTuple

from vidnas.arch.cost import format_macs, network_cost
from vidnas.arch.spec import ClipSpec, Kernel
from vidnas.base.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.space.published.autox3d import EXPANSIONS, KERNELS
from vidnas.search.space.published.scaled import scaled_space
from vidnas.search.space.published.scaled_streams import scaled_two_streams, two_stream_clip
from vidnas.search.space.space import Space

# Where in the range of a space's costs the target should lie, and what is aimed at: the lower, the wider the space.
LOW, AIM, HIGH = 0.4, 0.45, 0.7
# X3D's M, L and XL see 80 frames at 30 frames per second.
SPAN_SEC = 80 / 30
# With fewer frames no motion can be told apart, and a search among temporal kernels is pointless.
MIN_FRAMES = 4
# A narrower space has hardly any choice of channels left, so other choices are given up first.
MIN_WIDTH = 0.3
WIDTHS = tuple(0.1 * 1.04**i for i in range(100))
# GloRe's own proportions (Chen et al. 2019): the sizes fitted to AutoX3D would take half the cost of a narrow network.
NODES_PER_CHANNEL = 0.25


class Rung(NamedTuple):
    """A step of X3D's expansion: its cost, its clip, and its depth (gamma_d)."""

    macs: float
    frames: int
    size: int
    depth_factor: float


LADDER = (
    Rung(0.0207e9, 1, 112, 1.0),
    Rung(0.0410e9, 1, 112, 1.0),
    Rung(0.0802e9, 2, 112, 1.0),
    Rung(0.1534e9, 2, 160, 1.0),
    Rung(0.3036e9, 2, 160, 2.2),
    Rung(0.6053e9, 4, 160, 2.2),
    Rung(1.2087e9, 8, 160, 2.2),
    Rung(1.9629e9, 13, 160, 2.2),
    Rung(4.7325e9, 16, 224, 2.2),
    Rung(9.4516e9, 16, 312, 2.2),
    Rung(18.368e9, 16, 312, 5.0),
    Rung(35.838e9, 16, 312, 5.0),
    Rung(71.673e9, 32, 312, 5.0),
    Rung(143.542e9, 32, 312, 10.1),
)


class Offer(NamedTuple):
    """What a scaled space may choose from besides channels, richest first in `OFFERS`."""

    max_expansion: float
    kernels: tuple[Kernel, ...]


OFFERS = (
    Offer(EXPANSIONS[-1], KERNELS),
    Offer(4.5, KERNELS),
    Offer(3.0, KERNELS),
    Offer(3.0, tuple(kernel for kernel in KERNELS if kernel.s == 3)),
)


class Range(NamedTuple):
    """Least and greatest macs of a space."""

    least: float
    greatest: float

    def position(self, target: float) -> float:
        """0 at the least, 1 at the greatest."""
        return (target - self.least) / (self.greatest - self.least)


def auto_space(
    target_macs: float,
    *,
    num_classes: int,
    streams: int = 1,
    clip: ClipSpec | None = None,
    origin: str = "as given",
    max_frames: int | None = None,
    max_size: int | None = None,
    video_sec: float | None = None,
) -> tuple[Space, str]:
    """The published space scaled so that a target lies at 40-70% of its range of costs, and a line that explains it.

    The richest offer of expansions and kernels is taken that leaves the channels at least 0.3 of their published
    width; if none does, the one that leaves them widest. Depth follows the nearest rung of X3D's ladder.

    Args:
        target_macs: multiply-adds of one clip at the training crop.
        num_classes: number of classes of the head.
        streams: 1 scales AutoX3D's space, 2 Auto-TSNet's.
        clip: taken as it is; default that of the rung (`auto_clip`), for two streams with more frames.
        origin: where that clip comes from, for the line.
        max_frames: number of frames that the videos hold; limits the clip.
        max_size: short side of the videos in pixels; limits the clip.
        video_sec: how long the videos are; where that is less than X3D's clips, frames come from the whole video.

    Raises:
        VidnasError: no scaled space reaches the target at this clip; the message has the range that can be had.
    """
    rung = nearest_rung(target_macs)
    chosen, scaled = clip or auto_clip(rung, max_frames, max_size, video_sec), scaled_space
    if streams == 2:
        chosen, scaled = clip or two_stream_clip(chosen, max_frames), scaled_two_streams

    def space_of(width: float, offer: Offer) -> Space:
        return scaled(
            chosen,
            width_factor=width,
            depth_factor=rung.depth_factor,
            max_expansion=offer.max_expansion,
            kernels=offer.kernels,
            nodes_per_channel=NODES_PER_CHANNEL,
            num_classes=num_classes,
        )

    least = _estimate(space_of(WIDTHS[0], OFFERS[-1])).least
    greatest = _estimate(space_of(WIDTHS[-1], OFFERS[0])).greatest
    if not least <= target_macs <= greatest:
        below = target_macs < least
        raise VidnasError(
            f"target {format_macs(target_macs)} is {'below' if below else 'above'} what scaled spaces reach at clip "
            f"{chosen}, {format_macs(least)} to {format_macs(greatest)}: give a {'larger' if below else 'smaller'} "
            f"target or a {'smaller' if below else 'larger'} clip"
        )
    space = _fit(space_of, target_macs)
    table = CostTable.of(space)
    costs = Range(table.cheapest()[1], table.dearest()[1])
    origin = origin if clip else f"from the rung of X3D's ladder at {format_macs(rung.macs)}"
    return space, (
        f"space {space.name}: clip {chosen} {origin}, {space.size:.1e} architectures of {format_macs(costs.least)} "
        f"to {format_macs(costs.greatest)}; the target {format_macs(target_macs)} lies at "
        f"{costs.position(target_macs):.0%} of this range"
    )


def nearest_rung(target_macs: float) -> Rung:
    """The rung whose cost is nearest as a ratio."""
    return min(LADDER, key=lambda rung: abs(log(rung.macs / max(target_macs, 1.0))))


def auto_clip(rung: Rung, max_frames: int | None, max_size: int | None, video_sec: float | None) -> ClipSpec:
    """The clip of a rung, within what the videos hold.

    Deviation: the lowest rungs of X3D see 1 or 2 frames; here they see 4 at a crop of about as many pixels in all.
    """
    frames, size = rung.frames, rung.size
    if frames < MIN_FRAMES:
        frames, size = MIN_FRAMES, 8 * round(size * sqrt(frames / MIN_FRAMES) / 8)
    frames = min(frames, max_frames or frames)
    size = min(size, max_size or size)
    if video_sec is not None and video_sec < SPAN_SEC:
        return ClipSpec(frames=frames, size=size, sampling="uniform")
    return ClipSpec(frames=frames, size=size, stride=SPAN_SEC * 30 / frames, fps=30)


def _fit(space_of: Callable[[float, Offer], Space], target: float) -> Space:
    solved = []
    for offer in OFFERS:
        width, miss = _solve_width(lambda width, offer=offer: space_of(width, offer), target)  # type: ignore[misc]
        if miss == 0 and width >= MIN_WIDTH:
            return space_of(width, offer)
        solved.append((miss, -width, offer))
    _, width, offer = min(solved, key=lambda entry: entry[:2])
    return space_of(-width, offer)


def _solve_width(space_of: Callable[[float], Space], target: float) -> tuple[float, float]:
    """The width factor at which the target lies nearest `AIM`, and how far outside `LOW`..`HIGH` it lies then."""

    def position(width: float) -> float:
        return _estimate(space_of(width)).position(target)

    low, high = 0, len(WIDTHS) - 1
    # The wider the space, the lower the target lies in it, but for the steps of rounding: hence the neighbours.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if position(WIDTHS[middle]) > AIM else (low, middle)
    near = WIDTHS[max(0, low - 2) : high + 3]
    found = {width: position(width) for width in near}
    width = min(found, key=lambda width: abs(found[width] - AIM))
    return width, max(LOW - found[width], found[width] - HIGH, 0.0)


def _estimate(space: Space) -> Range:
    """The range from the smallest and the largest architecture; `CostTable` gives it exactly, but slower."""
    least, greatest = (network_cost(space.decode(choice)).macs for choice in (space.smallest(), space.largest()))
    return Range(least, greatest)
