"""A small network of two streams, of which every part has something to do, and a small space of such."""

from vidnas.arch.fusion import FusionKind, FusionSpec
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, GloReSpec, GroupSpec, Kernel, StemSpec, StreamSpec
from vidnas.search.space.fusion_space import FusionSpace
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

KINDS: tuple[FusionKind, ...] = ("time_strided_convolution", "time_to_channel", "time_strided_sampling")


def small_two_streams(**changes: object) -> ArchSpec:
    """Every kind of fusion, attention before a fusion, and one behind the last group; 2 of 8 frames are sparse."""
    kernel = Kernel(t=3, s=3)

    def stream(widths: tuple[int, ...], every: int) -> StreamSpec:
        groups = [
            GroupSpec(depth=1 + g % 2, stride=2 if g % 2 == 0 else 1, channels=width, expansion=2, kernel=kernel)
            for g, width in enumerate(widths)
        ]
        groups[1] = groups[1].model_copy(update={"attention": GloReSpec(nodes=3, states=5)})
        return StreamSpec(every=every, stem=StemSpec(channels=6), groups=tuple(groups), conv5=widths[-1] + 3)

    fusions = tuple(
        FusionSpec(source=1, target=0, group=g, kind=kind, combination="sum" if g == 3 else "concat")
        for g, kind in enumerate((*KINDS, "time_strided_convolution"))
    )
    spec = ArchSpec(
        name="small_two_streams",
        clip=ClipSpec(frames=8, size=32),
        streams=(stream((12, 12, 16, 20), 4), stream((4, 5, 6, 10), 1)),
        fusions=fusions,
        head=ClassificationSpec(num_classes=5, hidden=16),
    )
    return ArchSpec.from_data({**spec.model_dump(), **changes})


def two_stream_space() -> Space:
    """Two groups in each stream, two kinds of fusion or none, attention in the last ones; 2 of 8 frames are sparse."""
    sparse = (_group(2, (8, 16)), _group(2, (16, 32), "none", "glore"))
    dense = (_group(2, (4, 8)), _group(2, (8, 16), "none", "glore"))
    kinds = ("none", "time_strided_convolution", "time_to_channel")
    return Space(
        name="two",
        clip=ClipSpec(frames=8, size=24, sampling="uniform"),
        streams=(
            StreamSpace(every=4, stem=StemSpec(channels=8, kernel=Kernel(t=1, s=3)), groups=sparse, conv5=32),
            StreamSpace(stem=StemSpec(channels=4), groups=dense, conv5=16),
        ),
        fusions=tuple(FusionSpace(source=1, target=0, group=g, kind=kinds) for g in range(2)),
        head=ClassificationSpec(num_classes=12, hidden=32),
    )


def _group(stride: int, channels: tuple[int, ...], *attention: str) -> GroupSpace:
    return GroupSpace.model_validate(
        {
            "depth": 1,
            "stride": stride,
            "channels": channels,
            "expansion": 1.5,
            "kernel": [{"t": 1, "s": 3}, {"t": 3, "s": 3}],
            "attention": attention or "none",
        }
    )
