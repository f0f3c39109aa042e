"""AutoX3D-S, M, L as printed in the supplement's Table 2, with and without attention.

Deviation: the sizes of the GloRe units are not in the paper; nodes 72 and states 144 are fitted to the published
costs (docs/discrepancies.md).
"""

from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, GloReSpec, GroupSpec, Kernel, StemSpec, StreamSpec

# (depth, stride, channels, expansion, t, s) of AutoX3D-S, supplement Table 2a.
ROWS = (
    (1, 2, 16, 2.25, 3, 3),
    (2, 1, 16, 5.25, 3, 3),
    (2, 2, 48, 4.5, 3, 3),
    (3, 1, 48, 2.25, 1, 3),
    (2, 2, 72, 4.5, 1, 5),
    (3, 1, 72, 3.75, 3, 3),
    (3, 1, 88, 2.25, 5, 3),
    (3, 1, 88, 3.0, 3, 3),
    (2, 2, 144, 3.75, 3, 5),
    (2, 1, 144, 3.0, 1, 3),
    (3, 1, 192, 3.0, 3, 3),
)
DEPTHS_L = (1, 5, 4, 6, 4, 6, 6, 6, 4, 4, 6)
ATTENTION_GROUP = 3
STREAM_CONV5 = 432


def _autox3d(name: str, clip: ClipSpec, depths: tuple[int, ...], attention_after: tuple[int, ...] | None) -> ArchSpec:
    attention = None if attention_after is None else GloReSpec(nodes=72, states=144, after=attention_after)
    groups = tuple(
        GroupSpec(
            depth=depth,
            stride=2 if stride == 2 else 1,
            channels=channels,
            expansion=expansion,
            kernel=Kernel(t=t, s=s),
            attention=attention if g == ATTENTION_GROUP else None,
        )
        for g, (depth, (_, stride, channels, expansion, t, s)) in enumerate(zip(depths, ROWS, strict=True))
    )
    stream = StreamSpec(stem=StemSpec(channels=24), groups=groups, expansion_of="input", conv5=STREAM_CONV5)
    return ArchSpec(name=name, clip=clip, streams=(stream,), head=ClassificationSpec())


_DEPTHS_S = tuple(row[0] for row in ROWS)
_CLIP_S = ClipSpec(frames=13, size=160, stride=6)
_CLIP_M = ClipSpec(frames=16, size=224, stride=5)
_CLIP_L = ClipSpec(frames=16, size=312, stride=5)


def autox3d_s() -> ArchSpec:
    """AutoX3D-S with GloRe after group 4."""
    return _autox3d("autox3d_s", _CLIP_S, _DEPTHS_S, ())


def autox3d_s_no_attention() -> ArchSpec:
    """AutoX3D-S without attention."""
    return _autox3d("autox3d_s_no_attention", _CLIP_S, _DEPTHS_S, None)


def autox3d_m() -> ArchSpec:
    """AutoX3D-S at 16 frames and crop 224."""
    return _autox3d("autox3d_m", _CLIP_M, _DEPTHS_S, ())


def autox3d_m_no_attention() -> ArchSpec:
    """AutoX3D-M without attention."""
    return _autox3d("autox3d_m_no_attention", _CLIP_M, _DEPTHS_S, None)


def autox3d_l() -> ArchSpec:
    """AutoX3D-M twice as deep, crop 312; two GloRe units in the doubled group."""
    return _autox3d("autox3d_l", _CLIP_L, DEPTHS_L, (3, 6))


def autox3d_l_no_attention() -> ArchSpec:
    """AutoX3D-L without attention."""
    return _autox3d("autox3d_l_no_attention", _CLIP_L, DEPTHS_L, None)
