"""Auto-TSNet's search space, Tables 1 and 2 of the paper."""

from collections.abc import Sequence

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.arch.zoo.tsnet import DENSE, EVERY, LAYOUT, SPARSE
from vidnas.search.space.around import attention_around, fusions_around
from vidnas.search.space.fusion_space import FusionOption, FusionSpace
from vidnas.search.space.progressive import step_space
from vidnas.search.space.published.autox3d import EXPANSIONS, KERNELS
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

# Smallest channels, largest and step of each group.
SPARSE_CHANNELS = (*[(32, 48, 8)] * 2, *[(64, 88, 8)] * 2, *[(128, 176, 16)] * 4, *[(248, 344, 24)] * 3)
DENSE_CHANNELS = ((8, 8, 8), (8, 16, 8), *[(8, 24, 8)] * 2, *[(16, 32, 8)] * 4, *[(32, 56, 8)] * 3)
SPARSE_STEM, DENSE_STEM = 24, 8
STEM_KERNEL = Kernel(t=3, s=3)
SPARSE_CONV5, DENSE_CONV5 = 774, 90
FUSIONS: tuple[FusionOption, ...] = (
    "none",
    "time_strided_convolution",
    "time_to_channel",
    "time_strided_sampling",
)
# Groups 2.1, 2.2, 3.2, 3.3, 4.2 and 4.3.
ATTENTION = (2, 3, 5, 6, 9, 10)


def auto_tsnet_space(clip: ClipSpec | None = None) -> Space:
    """Two streams of 6 kernels, 7 expansions and the printed channel ranges; fusion after each of the 11 groups.

    Deviation: the paper counts 8e24 architectures of the sparse stream and 6e24 of the dense one with fusions, its
    tables 3.3e24 and 2.8e29. It says that GloRe has 4096 places, not where: here after six groups of each stream. It
    does not print conv5, which is that of Auto-TSNet-S, reconstructed (docs/discrepancies.md).
    """
    fusions = (FusionSpace(source=DENSE, target=SPARSE, group=g, kind=FUSIONS) for g in range(len(LAYOUT)))
    return Space(
        name="auto_tsnet_space",
        clip=clip or get_spec("auto_tsnet_s").clip,
        streams=(
            _stream(SPARSE_STEM, SPARSE_CHANNELS, SPARSE_CONV5, EVERY),
            _stream(DENSE_STEM, DENSE_CHANNELS, DENSE_CONV5, 1),
        ),
        fusions=tuple(fusions),
        head=ClassificationSpec(),
    )


def auto_tsnet_backbone() -> Space:
    """The sparse stream alone, which the first step searches (Table 6)."""
    return step_space(auto_tsnet_space(), 0).model_copy(update={"name": "auto_tsnet_backbone"})


def manual_tsnet_fusions() -> Space:
    """Manual-TSNet-70% with a time-strided convolution or nothing after each group (Table 7)."""
    kinds: tuple[FusionOption, ...] = ("none", "time_strided_convolution")
    return fusions_around(get_spec("manual_tsnet_70"), kinds, source=DENSE, target=SPARSE)


def manual_tsnet_attention() -> Space:
    """Manual-TSNet-70% with GloRe or nothing after six groups of each stream (Table 8)."""
    return attention_around(get_spec("manual_tsnet_70"), ATTENTION)


def _stream(stem: int, channels: Sequence[tuple[int, int, int]], conv5: int, every: int) -> StreamSpace:
    groups = tuple(
        GroupSpace(
            depth=depth,
            stride=2 if stride == 2 else 1,
            channels=tuple(range(smallest, largest + 1, step)),
            expansion=EXPANSIONS,
            kernel=KERNELS,
            attention=("none", "glore") if g in ATTENTION else ("none",),
        )
        for g, ((depth, stride), (smallest, largest, step)) in enumerate(zip(LAYOUT, channels, strict=True))
    )
    return StreamSpace(
        every=every,
        stem=StemSpec(channels=stem, kernel=STEM_KERNEL),
        groups=groups,
        expansion_of="input",
        conv5=conv5,
    )
