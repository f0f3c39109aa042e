"""X3D: a tiny 2D network expanded along time, space, width and depth (X3D Table 1, Fig. 2)."""

import math
from collections.abc import Sequence

from vidnas.arch.cost import format_macs, network_cost
from vidnas.arch.rounding import round_depth, round_width
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, GroupSpec, HeadSpec, Kernel, StemSpec, StreamSpec
from vidnas.base.errors import VidnasError

BASE_WIDTHS = (12, 24, 48, 96)
BASE_DEPTHS = (1, 2, 5, 3)


def x3d(
    name: str,
    clip: ClipSpec,
    *,
    width_factor: float = 2.0,
    bottleneck: float = 2.25,
    depth_factor: float = 2.2,
    kernel: Kernel | None = None,
) -> ArchSpec:
    """An X3D network from its expansion factors.

    Args:
        name: name of the result.
        clip: frames and training crop.
        width_factor: relative to a stem of 12 channels (the papers' gamma_w is relative to 24, so 2.0 is 1).
        bottleneck: gamma_b, hidden over output channels.
        depth_factor: gamma_d, on stages of 1, 2, 5 and 3 blocks.
        kernel: kernel of every block; default 3 x 3 x 3.
    """
    widths = [round_width(base, width_factor) for base in BASE_WIDTHS]
    depths = [round_depth(depth, depth_factor) for depth in BASE_DEPTHS]
    return x3d_of_widths(name, clip, widths, depths, bottleneck=bottleneck, kernel=kernel)


def x3d_of_widths(
    name: str,
    clip: ClipSpec,
    widths: Sequence[int],
    depths: Sequence[int],
    *,
    bottleneck: float = 2.25,
    kernel: Kernel | None = None,
    head: HeadSpec | None = None,
) -> ArchSpec:
    """An X3D network from the output channels and depth of its four stages; the stem is as wide as the first."""
    groups = tuple(
        GroupSpec(depth=depth, stride=2, channels=width, expansion=bottleneck, kernel=kernel or Kernel(t=3, s=3))
        for width, depth in zip(widths, depths, strict=True)
    )
    stream = StreamSpec(
        stem=StemSpec(channels=widths[0]),
        groups=groups,
        expansion_of="output",
        projection_norm="on_channel_change",
        conv5=int(bottleneck * widths[-1]),
    )
    return ArchSpec(name=name, clip=clip, streams=(stream,), head=head or ClassificationSpec())


def x3d_at_cost(
    name: str, clip: ClipSpec, macs: float, *, depth_factor: float = 2.2, head: HeadSpec | None = None
) -> ArchSpec:
    """The X3D network of a given depth whose width meets a cost: what a searched network is compared with.

    One width factor scales all stages to whole channels; the last two stages then move by a few channels to come
    nearer.

    Deviation: X3D rounds widths to multiples of 8, which is too coarse to meet a given cost.

    Raises:
        VidnasError: no width comes within 1% of the cost.
    """
    depths = [round_depth(depth, depth_factor) for depth in BASE_DEPTHS]

    def at(widths: Sequence[int]) -> ArchSpec:
        return x3d_of_widths(name, clip, widths, depths, head=head)

    def miss(widths: Sequence[int]) -> float:
        return abs(network_cost(at(widths)).macs / macs - 1)

    def scaled(factor: float) -> list[int]:
        return [max(1, round(base * factor)) for base in BASE_WIDTHS]

    low, high = 1 / 12, 64.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if network_cost(at(scaled(middle))).macs < macs else (low, middle)
    near = {tuple(scaled(low * (1 + percent / 100))) for percent in range(-6, 7)}
    candidates = {
        (*first, third + i, fourth + j) for *first, third, fourth in near for i in range(-2, 3) for j in range(-3, 4)
    }
    # The least miss counts only down to half a percent: among those the widths nearest to X3D's proportions win.
    best = min(
        (widths for widths in candidates if min(widths) >= 1),
        key=lambda widths: (max(miss(widths), 0.005), _distortion(widths)),
    )
    if miss(best) > 0.01:
        raise VidnasError(
            f"no X3D network of depths {depths} costs {format_macs(macs)} @ {clip}: the nearest has "
            f"{format_macs(network_cost(at(best)).macs)}; compare at another depth factor"
        )
    return at(best)


def _distortion(widths: Sequence[int]) -> float:
    """How far widths are from 1 : 2 : 4 : 8."""
    factors = [math.log(width / base) for width, base in zip(widths, BASE_WIDTHS, strict=True)]
    return max(factors) - min(factors)


def x2d() -> ArchSpec:
    """The starting point of the expansion: one frame."""
    return x3d("x2d", ClipSpec(frames=1, size=112), bottleneck=1.0, depth_factor=1.0)


def x3d_xs() -> ArchSpec:
    """4 frames, stride 12."""
    return x3d("x3d_xs", ClipSpec(frames=4, size=160, stride=12))


def x3d_s() -> ArchSpec:
    """13 frames, stride 6."""
    return x3d("x3d_s", ClipSpec(frames=13, size=160, stride=6))


def x3d_m() -> ArchSpec:
    """16 frames, stride 5, crop 224."""
    return x3d("x3d_m", ClipSpec(frames=16, size=224, stride=5))


def x3d_l() -> ArchSpec:
    """X3D-M deeper, crop 312."""
    return x3d("x3d_l", ClipSpec(frames=16, size=312, stride=5), depth_factor=5.0)


def x3d_xl() -> ArchSpec:
    """X3D-L wider."""
    return x3d("x3d_xl", ClipSpec(frames=16, size=312, stride=5), width_factor=2.9, depth_factor=5.0)


def x3d_xxl() -> ArchSpec:
    """X3D-XL with 32 frames, deeper.

    Deviation: no official configuration exists; 32 frames, stride 2.5 (the same span) and gamma_d 10.1 are
    inferred and reproduce four printed figures.
    """
    return x3d("x3d_xxl", ClipSpec(frames=32, size=312, stride=2.5), width_factor=2.9, depth_factor=10.1)
