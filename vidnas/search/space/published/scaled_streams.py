"""Auto-TSNet's space made smaller or larger: the same stages and kinds of choice at other widths, depths and clips."""

from collections.abc import Iterator
from typing import NamedTuple

from vidnas.arch.rounding import round_depth
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.arch.zoo.tsnet import DENSE, LAYOUT, SPARSE
from vidnas.arch.zoo.x3d import BASE_DEPTHS
from vidnas.base.errors import VidnasError
from vidnas.search.space.fusion_space import FusionSpace
from vidnas.search.space.published.auto_tsnet import (
    ATTENTION,
    DENSE_CHANNELS,
    DENSE_CONV5,
    DENSE_STEM,
    FUSIONS,
    SPARSE_CHANNELS,
    SPARSE_CONV5,
    SPARSE_STEM,
    STEM_KERNEL,
)
from vidnas.search.space.published.autox3d import EXPANSIONS, KERNELS
from vidnas.search.space.published.scaled import MIN_CHANNELS, UNIT, channel_range, round_to_unit
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

# Of how many frames the sparse stream may take one, the published first; it keeps so many where the clip has enough.
RATIOS, SPARSE_FRAMES = (8, 4, 2), 4
# The dense stream has few channels in any case.
MIN_DENSE_CHANNELS = 4


class _Row(NamedTuple):
    """A group of both streams: its place among the published ones, its depth, and whether a stage starts with it."""

    published: int
    depth: int
    starts: bool


def frames_per_sparse(clip: ClipSpec) -> int:
    """Of how many frames of a clip the sparse stream takes one: at most 8, of at least 4 where there are so many.

    Raises:
        VidnasError: the frames cannot be divided.
    """
    divided = [ratio for ratio in RATIOS if clip.frames % ratio == 0 and clip.frames > ratio]
    if not divided:
        raise VidnasError(f"clip {clip}: two streams need an even number of frames, at least 4; give another clip")
    enough = [ratio for ratio in divided if clip.frames // ratio >= SPARSE_FRAMES]
    return enough[0] if enough else divided[-1]


def sees_twice(clip: ClipSpec) -> bool:
    """Whether two streams can divide the frames of a clip."""
    return any(clip.frames % ratio == 0 and clip.frames > ratio for ratio in RATIOS)


def two_streams_at(spec: ArchSpec, clip: ClipSpec) -> ArchSpec:
    """A network of the zoo at another clip, of which its sparse stream takes as many frames as the space scaled to it.

    Raises:
        VidnasError: the frames cannot be divided.
    """
    streams = list(spec.streams)
    streams[SPARSE] = streams[SPARSE].model_copy(update={"every": frames_per_sparse(clip)})
    return spec.model_copy(update={"clip": clip, "streams": tuple(streams)})


def two_stream_clip(clip: ClipSpec, max_frames: int | None) -> ClipSpec:
    """A clip of one stream with more frames, so that the sparse stream sees about 4 of at most 32.

    Args:
        clip: what networks of one stream see at the cost.
        max_frames: that the videos hold.
    """
    fitting = [ratio for ratio in RATIOS if SPARSE_FRAMES * ratio <= (max_frames or SPARSE_FRAMES * RATIOS[0])]
    frames = SPARSE_FRAMES * fitting[0] if fitting else SPARSE_FRAMES
    return clip.model_copy(update={"frames": frames, "stride": _same_span(clip, frames)})


def scaled_two_streams(
    clip: ClipSpec,
    *,
    width_factor: float = 1.0,
    depth_factor: float = 2.2,
    max_expansion: float = EXPANSIONS[-1],
    kernels: tuple[Kernel, ...] = KERNELS,
    nodes_per_channel: float = 1.5,
    num_classes: int = 400,
) -> Space:
    """The published space of two streams, scaled as `scaled_space` does; at the default factors it is itself.

    The first block of a stage is a group of its own, as there; the others are dealt to as many groups as there.
    """
    every = frames_per_sparse(clip)
    rows = [*_rows(depth_factor)]

    def stream(least: int, stem: int, channels: list[tuple[int, ...]], conv5: int, ratio: int) -> StreamSpace:
        groups = tuple(
            GroupSpace(
                depth=row.depth,
                stride=2 if row.starts else 1,
                channels=own,
                expansion=tuple(e for e in EXPANSIONS if e <= max_expansion),
                kernel=kernels,
                attention=("none", "glore") if row.published in ATTENTION else ("none",),
                nodes_per_channel=nodes_per_channel,
            )
            for row, own in zip(rows, channels, strict=True)
        )
        return StreamSpace(
            every=ratio,
            stem=StemSpec(channels=max(least, round_to_unit(stem * width_factor)), kernel=STEM_KERNEL),
            groups=groups,
            expansion_of="input",
            conv5=max(UNIT, round(conv5 * width_factor)),
        )

    sparse = [_scaled(SPARSE_CHANNELS[row.published], width_factor, MIN_CHANNELS) for row in rows]
    dense = [_scaled(DENSE_CHANNELS[row.published], width_factor, MIN_DENSE_CHANNELS) for row in rows]
    # The first group has one width, and the second no other than that and twice that, or it would need a stride.
    dense[0] = dense[0][:1]
    if not rows[1].starts:
        dense[1] = tuple(channels for channels in dense[1] if channels in (dense[0][0], 2 * dense[0][0]))
    streams = (
        stream(MIN_CHANNELS, SPARSE_STEM, sparse, SPARSE_CONV5, every),
        stream(MIN_DENSE_CHANNELS, DENSE_STEM, dense, DENSE_CONV5, 1),
    )
    return Space(
        name=f"auto_tsnet_space_{clip.frames}x{clip.size}_w{width_factor:.3g}_d{depth_factor:.3g}",
        clip=clip,
        streams=streams,
        fusions=tuple(FusionSpace(source=DENSE, target=SPARSE, group=g, kind=FUSIONS) for g in range(len(rows))),
        head=ClassificationSpec(num_classes=num_classes, hidden=max(256, round_to_unit(2048 * width_factor))),
    )


def _rows(depth_factor: float) -> Iterator[_Row]:
    starts = [g for g, (_, stride) in enumerate(LAYOUT) if stride == 2]
    for start, end, base_depth in zip(starts, [*starts[1:], len(LAYOUT)], BASE_DEPTHS, strict=True):
        blocks = round_depth(base_depth, depth_factor)
        yield _Row(start, 1, starts=True)
        groups = min(end - start - 1, blocks - 1)
        for place in range(groups):
            yield _Row(start + 1 + place, (blocks - 1 + place) // groups, starts=False)


def _scaled(published: tuple[int, int, int], width_factor: float, least: int) -> tuple[int, ...]:
    smallest, largest, step = published
    return channel_range(smallest * width_factor, largest * width_factor, step * width_factor, least)


def _same_span(clip: ClipSpec, frames: int) -> float:
    return clip.stride * clip.frames / frames if clip.sampling == "stride" else clip.stride
