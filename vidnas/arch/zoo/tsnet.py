"""Manual-TSNet and Auto-TSNet: a sparse stream with many channels beside a dense one with few (Auto-TSNet sec. 5).

Stream 0 is the sparse one (4 of the clip's 32 frames), stream 1 the dense one; fusions go from dense to sparse.

Deviation: the paper prints no widths of Manual-TSNet, which are fitted to the published costs here, and shows
Auto-TSNet-S in a figure without all its numbers. What stands here is a reconstruction: one of many architectures of
the published space that meet the published costs (docs/discrepancies.md).
"""

from collections.abc import Sequence

from vidnas.arch.fusion import FusionKind, FusionSpec
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, GloReSpec, GroupSpec, Kernel, StemSpec, StreamSpec

SPARSE, DENSE = 0, 1
# Of how many frames of the clip the sparse stream takes one: 4 of 32.
EVERY = 8
BOTTLENECK = 2.25
# Depth and stride of each group, Auto-TSNet Table 1; a stage starts at each stride of 2.
LAYOUT = ((1, 2), (2, 1), (1, 2), (4, 1), (1, 2), (3, 1), (3, 1), (4, 1), (1, 2), (3, 1), (3, 1))
DEPTHS_L = (1, 5, 2, 8, 2, 6, 6, 8, 2, 6, 6)

# Manual-TSNet: channels of the four stages, sparse and dense, by the share of the sparse stream in percent.
MANUAL_WIDTHS = {
    85: ((40, 88, 168, 344), (4, 8, 16, 28)),
    70: ((40, 72, 152, 304), (8, 12, 24, 48)),
    55: ((32, 64, 136, 272), (8, 16, 36, 72)),
}
# Groups with a time-strided convolution behind them, by how many there are: 1, 1, 2, 1 and 2, 2, 4, 2 per stage.
MANUAL_FUSIONS = {0: (), 5: (1, 3, 5, 7, 10), 10: (0, 1, 2, 3, 4, 5, 6, 7, 9, 10)}
# Groups of each stream that end with a GloRe unit, by how many units there are in all.
MANUAL_ATTENTION = {0: (), 2: (3,), 4: (3, 6), 6: (3, 6, 10)}

# (t, s, channels, expansion) of Auto-TSNet-S, group by group.
SPARSE_ROWS = (
    (3, 5, 40, 5.25),
    (1, 5, 32, 1.5),
    (3, 5, 88, 1.5),
    (5, 3, 72, 3.0),
    (3, 5, 128, 1.5),
    (5, 3, 176, 1.5),
    (1, 5, 144, 3.75),
    (1, 5, 144, 1.5),
    (5, 5, 248, 3.75),
    (5, 5, 272, 2.25),
    (1, 3, 344, 1.5),
)
DENSE_ROWS = (
    (3, 5, 8, 4.5),
    (1, 3, 8, 1.5),
    (3, 3, 8, 4.5),
    (1, 3, 16, 2.25),
    (1, 5, 16, 4.5),
    (1, 3, 16, 3.0),
    (1, 5, 16, 1.5),
    (1, 3, 16, 1.5),
    (1, 5, 32, 2.25),
    (1, 3, 48, 1.5),
    (1, 5, 40, 3.75),
)
AUTO_FUSIONS: dict[int, FusionKind] = {
    0: "time_to_channel",
    3: "time_strided_convolution",
    5: "time_to_channel",
    6: "time_strided_sampling",
    9: "time_to_channel",
}
AUTO_ATTENTION = (5, 6)

# 32 frames, 2 apart, are SlowFast's 4 x 16 with a ratio of 8; the paper does not say how far apart they are.
_CLIP_S = ClipSpec(frames=32, size=160, stride=2)
_CLIP_M = ClipSpec(frames=32, size=224, stride=2)
_CLIP_L = ClipSpec(frames=32, size=312, stride=2)


def _glore(channels: int) -> GloReSpec:
    nodes = min(channels * 3 // 2, 216)
    return GloReSpec(nodes=nodes, states=2 * nodes)


def _fusion(group: int, kind: FusionKind) -> FusionSpec:
    return FusionSpec(source=DENSE, target=SPARSE, group=group, kind=kind)


def _manual(share: int, *, fusions: int = 5, attention: int = 0) -> ArchSpec:
    name = f"manual_tsnet_{share}"
    name += f"_fusions_{fusions}" if fusions != 5 else ""
    name += f"_glore_{attention}" if attention else ""
    sparse, dense = (_manual_stream(widths, attention) for widths in MANUAL_WIDTHS[share])
    return ArchSpec(
        name=name,
        clip=_CLIP_S,
        streams=(sparse.model_copy(update={"every": EVERY}), dense),
        fusions=tuple(_fusion(group, "time_strided_convolution") for group in MANUAL_FUSIONS[fusions]),
        head=ClassificationSpec(),
    )


def _manual_stream(widths: Sequence[int], attention: int) -> StreamSpec:
    stage = -1
    groups = []
    for g, (depth, stride) in enumerate(LAYOUT):
        stage += stride == 2
        groups.append(
            GroupSpec(
                depth=depth,
                stride=2 if stride == 2 else 1,
                channels=widths[stage],
                expansion=BOTTLENECK,
                kernel=Kernel(t=3, s=3),
                attention=_glore(widths[stage]) if g in MANUAL_ATTENTION[attention] else None,
            )
        )
    return StreamSpec(
        stem=StemSpec(channels=widths[0], kernel=Kernel(t=3, s=3)),
        groups=tuple(groups),
        expansion_of="output",
        conv5=int(BOTTLENECK * widths[-1]),
    )


def _auto(name: str, clip: ClipSpec, depths: Sequence[int], *, attention: bool) -> ArchSpec:
    return ArchSpec(
        # Whatever prints the name says what it is.
        name=f"{name} (reconstruction)",
        clip=clip,
        streams=(
            _auto_stream(24, SPARSE_ROWS, depths, AUTO_ATTENTION if attention else (), EVERY),
            _auto_stream(8, DENSE_ROWS, depths, (), 1),
        ),
        fusions=tuple(_fusion(group, kind) for group, kind in AUTO_FUSIONS.items()),
        head=ClassificationSpec(),
    )


def _auto_stream(
    stem: int,
    rows: Sequence[tuple[int, int, int, float]],
    depths: Sequence[int],
    attention: Sequence[int],
    every: int,
) -> StreamSpec:
    groups = tuple(
        GroupSpec(
            depth=depth,
            stride=2 if stride == 2 else 1,
            channels=channels,
            expansion=expansion,
            kernel=Kernel(t=t, s=s),
            attention=_glore(channels) if g in attention else None,
        )
        for g, (depth, (_, stride), (t, s, channels, expansion)) in enumerate(zip(depths, LAYOUT, rows, strict=True))
    )
    return StreamSpec(
        every=every,
        stem=StemSpec(channels=stem, kernel=Kernel(t=3, s=3)),
        groups=groups,
        expansion_of="input",
        conv5=int(BOTTLENECK * rows[-1][2]),
    )


_DEPTHS_S = tuple(depth for depth, _ in LAYOUT)


def manual_tsnet_85() -> ArchSpec:
    """85% of the cost in the sparse stream."""
    return _manual(85)


def manual_tsnet_70() -> ArchSpec:
    """70% of the cost in the sparse stream; the best of the three in the paper."""
    return _manual(70)


def manual_tsnet_55() -> ArchSpec:
    """55% of the cost in the sparse stream."""
    return _manual(55)


def manual_tsnet_70_fusions_0() -> ArchSpec:
    """Two streams that meet in the head alone (Table 7)."""
    return _manual(70, fusions=0)


def manual_tsnet_70_fusions_10() -> ArchSpec:
    """Twice as many fusions (Table 7)."""
    return _manual(70, fusions=10)


def manual_tsnet_70_glore_2() -> ArchSpec:
    """A GloRe unit in stage 2 of each stream (Table 8)."""
    return _manual(70, attention=2)


def manual_tsnet_70_glore_4() -> ArchSpec:
    """GloRe units in stages 2 and 3 of each stream (Table 8)."""
    return _manual(70, attention=4)


def manual_tsnet_70_glore_6() -> ArchSpec:
    """GloRe units in stages 2, 3 and 4 of each stream (Table 8)."""
    return _manual(70, attention=6)


def auto_tsnet_s() -> ArchSpec:
    """Auto-TSNet-S, reconstructed."""
    return _auto("auto_tsnet_s", _CLIP_S, _DEPTHS_S, attention=True)


def auto_tsnet_s_no_attention() -> ArchSpec:
    """Auto-TSNet-S without attention, reconstructed."""
    return _auto("auto_tsnet_s_no_attention", _CLIP_S, _DEPTHS_S, attention=False)


def auto_tsnet_m() -> ArchSpec:
    """Auto-TSNet-S at crop 224, reconstructed."""
    return _auto("auto_tsnet_m", _CLIP_M, _DEPTHS_S, attention=True)


def auto_tsnet_m_no_attention() -> ArchSpec:
    """Auto-TSNet-M without attention, reconstructed."""
    return _auto("auto_tsnet_m_no_attention", _CLIP_M, _DEPTHS_S, attention=False)


def auto_tsnet_l() -> ArchSpec:
    """Auto-TSNet-M twice as deep, crop 312, reconstructed."""
    return _auto("auto_tsnet_l", _CLIP_L, DEPTHS_L, attention=True)


def auto_tsnet_l_no_attention() -> ArchSpec:
    """Auto-TSNet-L without attention, reconstructed."""
    return _auto("auto_tsnet_l_no_attention", _CLIP_L, DEPTHS_L, attention=False)
