"""A small network of two streams, of which every part has something to do."""

from vidnas.arch.fusion import FusionKind, FusionSpec
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, GloReSpec, GroupSpec, Kernel, StemSpec, StreamSpec

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
