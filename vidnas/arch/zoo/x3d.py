"""X3D: a tiny 2D network expanded along time, space, width and depth (X3D Table 1, Fig. 2)."""

from vidnas.arch.rounding import round_depth, round_width
from vidnas.arch.spec import ArchSpec, ClipSpec, GroupSpec, HeadSpec, Kernel, StemSpec, StreamSpec

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
        kernel: of every block; default 3 x 3 x 3.
    """
    widths = [round_width(base, width_factor) for base in BASE_WIDTHS]
    groups = tuple(
        GroupSpec(
            depth=round_depth(depth, depth_factor),
            stride=2,
            channels=width,
            expansion=bottleneck,
            kernel=kernel or Kernel(t=3, s=3),
        )
        for width, depth in zip(widths, BASE_DEPTHS, strict=True)
    )
    stream = StreamSpec(
        stem=StemSpec(channels=round_width(12, width_factor)),
        groups=groups,
        expansion_of="output",
        projection_norm="on_channel_change",
        conv5=int(bottleneck * widths[-1]),
    )
    return ArchSpec(name=name, clip=clip, streams=(stream,), head=HeadSpec())


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
