"""AutoX3D's space made smaller or larger: the same stages and kinds of choice at other widths, depths and clips."""

from vidnas.arch.rounding import round_depth
from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.arch.zoo.x3d import BASE_DEPTHS
from vidnas.search.space.published.autox3d import EXPANSIONS, KERNELS, ROWS
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

# Channels are multiples of 4, so that expansions in steps of 0.75 give whole numbers of hidden channels.
UNIT = 4
# Fewer channels than these carry too little of a video on to the next block.
MIN_CHANNELS = 8


def scaled_space(
    clip: ClipSpec,
    *,
    width_factor: float = 1.0,
    depth_factor: float = 2.2,
    max_expansion: float = EXPANSIONS[-1],
    kernels: tuple[Kernel, ...] = KERNELS,
    nodes_per_channel: float = 1.5,
    num_classes: int = 400,
) -> Space:
    """The published space, scaled; at the default factors it is the published space itself.

    Args:
        clip: the clip that its networks see.
        width_factor: factor on the widths of stem, channel ranges, conv5 and head; starts, steps and ends of ranges are
            rounded to multiples of 4 and begin at 8, so a narrow space has fewer candidates.
        depth_factor: X3D's gamma_d; a stage has as many blocks as X3D's, in at most as many groups as the published
            space has there.
        max_expansion: where the candidates 1.5, 2.25, ... end.
        kernels: the candidates.
        nodes_per_channel: graph nodes of the attention units per channel.
        num_classes: number of classes of the head.
    """
    starts = [row for row, (_, stride, *_) in enumerate(ROWS) if stride == 2]
    groups = []
    for start, end, base_depth in zip(starts, [*starts[1:], len(ROWS)], BASE_DEPTHS, strict=True):
        smallest, largest, step = ROWS[start][2:]
        for place, depth in enumerate(_share(round_depth(base_depth, depth_factor), end - start)):
            group = GroupSpace(
                depth=depth,
                stride=1 if place else 2,
                channels=channel_range(smallest * width_factor, largest * width_factor, step * width_factor),
                expansion=tuple(e for e in EXPANSIONS if e <= max_expansion),
                kernel=kernels,
                attention=("none", "glore"),
                nodes_per_channel=nodes_per_channel,
            )
            groups.append(group)
    stem = StemSpec(channels=max(MIN_CHANNELS, round_to_unit(24 * width_factor)))
    stream = StreamSpace(stem=stem, groups=tuple(groups), expansion_of="input", conv5=round_to_unit(432 * width_factor))
    return Space(
        name=f"autox3d_space_{clip.frames}x{clip.size}_w{width_factor:.3g}_d{depth_factor:.3g}",
        clip=clip,
        streams=(stream,),
        head=ClassificationSpec(num_classes=num_classes, hidden=max(256, round_to_unit(2048 * width_factor))),
    )


def _share(blocks: int, groups: int) -> list[int]:
    """Blocks of a stage dealt to its groups as evenly as can be, the later ones first: 7 in 3 are 2, 2, 3."""
    groups = min(groups, blocks)
    return [(blocks + place) // groups for place in range(groups)]


def tiny_space(clip: ClipSpec | None = None, *, num_classes: int = 400) -> Space:
    """12 variables (kernel, expansion and channels of 4 groups of one block), for demonstrations and tests."""
    clip = clip or ClipSpec(frames=8, size=48, sampling="uniform")
    ranges = (range(8, 17, 4), range(12, 29, 4), range(24, 57, 8), range(48, 113, 16))
    groups = tuple(
        GroupSpace(depth=1, stride=2, channels=tuple(channels), expansion=(1.5, 2.25, 3.0), kernel=KERNELS)
        for channels in ranges
    )
    stream = StreamSpace(stem=StemSpec(channels=8), groups=groups, expansion_of="input", conv5=192)
    return Space(
        name="tiny_space",
        clip=clip,
        streams=(stream,),
        head=ClassificationSpec(num_classes=num_classes, hidden=256),
    )


def channel_range(smallest: float, largest: float, step: float, least: int = MIN_CHANNELS) -> tuple[int, ...]:
    """Candidates in multiples of 4, of which the first is not below `least`."""
    by = round_to_unit(step)
    start = max(by, round_to_unit(smallest), least)
    return tuple(range(start, max(start, round_to_unit(largest)) + 1, by))


def round_to_unit(width: float) -> int:
    """The nearest multiple of 4, at least that."""
    return UNIT * max(1, round(width / UNIT))
