"""Random small architectures: every field of a spec takes all kinds of its values."""

import random
from collections.abc import Callable

from vidnas.arch.fusion import FUSED_CHANNELS, FusionKind, FusionSpec
from vidnas.arch.spec import (
    ATTENTION_KINDS,
    ArchSpec,
    AttentionSpec,
    ClassificationSpec,
    ClipSpec,
    GroupSpec,
    Kernel,
    SqueezeExciteSpec,
    StemSpec,
    StreamSpec,
)


def random_spec(seed: int) -> ArchSpec:
    """A valid spec, a function of `seed` alone."""
    rng = random.Random(seed)
    stream, head = _random_stream(rng), _random_head(rng)
    clip = ClipSpec(
        frames=rng.choice((1, 1, 2, 5, 8)),
        size=rng.randint(1, 71),
        sampling=rng.choice(("stride", "uniform")),
        stride=rng.uniform(0.5, 12),
        fps=rng.choice((12.5, 25.0, 30.0, 29.97)),
    )
    return ArchSpec(name=f"random_{seed}", clip=clip, streams=(stream,), head=head)


def random_two_streams(seed: int) -> ArchSpec:
    """A valid spec of two streams with any fusions between them, a function of `seed` alone.

    The first groups have the same strides in both, so that their maps can be fused; one stream may have more groups.
    """
    rng = random.Random(f"two {seed}")
    strides = [1 if rng.random() < 0.5 else 2 for _ in range(rng.randint(1, 4))]
    both = rng.choice((1, 1, 1, 2))
    everys = [both, both * rng.choice((1, 2, 4))]
    rng.shuffle(everys)
    colours = rng.randint(1, 4)
    streams = []
    for every in everys:
        stream = _random_stream(rng)
        shared = [_random_group(rng).model_copy(update={"stride": stride}) for stride in strides]
        extra = stream.groups[: rng.choice((0, 0, 1))]
        stem = stream.stem.model_copy(update={"in_channels": colours})
        streams.append(stream.model_copy(update={"every": every, "stem": stem, "groups": (*shared, *extra)}))
    fusions = []
    # Sums need equal widths, which a later sum into the other stream at this group would break.
    for g in range(len(strides)):
        source = rng.randrange(2) if everys[0] == everys[1] else everys.index(min(everys))
        if rng.random() < 0.4:
            continue
        ratio = everys[1 - source] // everys[source]
        kinds: list[FusionKind] = ["time_strided_convolution"]
        kinds += ["time_to_channel", "time_strided_sampling"] if ratio > 1 else []
        kind = rng.choice(kinds)
        combination = "sum" if rng.random() < 0.3 else "concat"
        if combination == "sum":
            given = FUSED_CHANNELS[kind](streams[source].groups[g].channels, ratio)
            target = streams[1 - source]
            group = target.groups[g].model_copy(update={"channels": given})
            groups = (*target.groups[:g], group, *target.groups[g + 1 :])
            streams[1 - source] = target.model_copy(update={"groups": groups})
        fusions.append(FusionSpec(source=source, target=1 - source, group=g, kind=kind, combination=combination))
    clip = ClipSpec(frames=max(everys) * rng.randint(1, 3), size=rng.randint(1, 50))
    head = _random_head(rng)
    if len({sum(group.stride == 2 for group in stream.groups) for stream in streams}) > 1:
        head = head.model_copy(update={"pool": "global"})
    return ArchSpec(name=f"two_{seed}", clip=clip, streams=tuple(streams), fusions=tuple(fusions), head=head)


def _random_stream(rng: random.Random) -> StreamSpec:
    return StreamSpec(
        stem=StemSpec(
            channels=rng.randint(4, 24),
            kernel=Kernel(t=rng.choice((1, 3, 5)), s=rng.choice((1, 3, 5, 7))),
            in_channels=rng.randint(1, 4),
        ),
        groups=tuple(_random_group(rng) for _ in range(rng.randint(1, 4))),
        expansion_of=rng.choice(("input", "output")),
        se=None if rng.random() < 0.25 else SqueezeExciteSpec(ratio=rng.uniform(0.03, 1), every=rng.randint(1, 3)),
        activation=rng.choice(("swish", "relu")),
        depthwise=rng.random() < 0.75,
        projection_norm=rng.choice(("always", "on_channel_change")),
        conv5=rng.randint(4, 64),
    )


def _random_head(rng: random.Random) -> ClassificationSpec:
    return ClassificationSpec(
        num_classes=rng.choice((0, 1, 2, 10)),
        hidden=rng.randint(4, 64),
        dropout=rng.choice((0.0, 0.5)),
        pool=rng.choice(("fixed", "global")),
        ensemble=rng.choice(("softmax_mean", "logit_mean")),
    )


def attention_of(kind: str, size: Callable[[], int], after: tuple[int, ...]) -> AttentionSpec:
    """Units of a kind, each of whose sizes is asked for."""
    spec = ATTENTION_KINDS[kind]
    return spec(**{name: size() for name in spec.model_fields if name not in ("kind", "after")}, after=after)


def _random_group(rng: random.Random) -> GroupSpec:
    depth = rng.randint(1, 3)
    attention = None
    if rng.random() < 0.4:
        places = sorted(rng.sample(range(1, depth + 1), rng.randint(0, depth)))
        kind = rng.choice(list(ATTENTION_KINDS))
        attention = attention_of(kind, lambda: rng.randint(1, 20), tuple(places))
    return GroupSpec(
        depth=depth,
        stride=1 if rng.random() < 0.5 else 2,
        channels=rng.choice((4, 6, 8, 12, 16)),
        expansion=rng.choice((0.43, 0.5, 1.0, 1.5, 2.25, 2.9, 6.0)),
        kernel=Kernel(t=rng.choice((1, 3, 5, 7)), s=rng.choice((1, 3, 5, 7))),
        attention=attention,
    )
