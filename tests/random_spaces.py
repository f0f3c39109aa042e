"""Random small search spaces: every field of a space takes all kinds of its values."""

import random
from collections.abc import Sequence

from random_specs import attention_of

from vidnas.arch.spec import ATTENTION_KINDS, ClassificationSpec, ClipSpec, Kernel, SqueezeExciteSpec, StemSpec
from vidnas.search.space.attention_options import Attention
from vidnas.search.space.fusion_space import FusionOption, FusionSpace
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace

EXPANSIONS = ((1.0,), (2.25,), (0.5, 1.0), (1.5, 2.25, 3.0), (1.0, 1.25, 1.5, 1.75), (1.5, 3.0))
CHANNELS = ((8,), (4, 8), (8, 12, 16), (4, 8, 12, 16), (12, 16), (8, 12, 16, 20, 24))


def random_space(seed: int) -> Space:
    """A valid space, a function of `seed` alone."""
    rng = random.Random(seed)
    stream = _random_stream(rng)
    head = _random_head(rng)
    # Large enough that a norm never sees so few values that its gradient is all rounding.
    clip = ClipSpec(frames=rng.choice((2, 3)), size=rng.randint(12, 21))
    return Space(name=f"random_{seed}", clip=clip, streams=(stream,), head=head)


def random_two_stream_space(seed: int) -> Space:
    """A valid space of two streams with any fusions to choose from, a function of `seed` alone.

    Sums need equal widths of one option each, so they are rare.
    """
    rng = random.Random(f"two {seed}")
    strides = [rng.choice((1, 2)) for _ in range(rng.randint(1, 3))]
    everys = [rng.choice((1, 2)), 1]
    everys[0] *= rng.choice((1, 2, 4))
    rng.shuffle(everys)
    streams = [_random_stream(rng, strides).model_copy(update={"every": every}) for every in everys]
    fusions = []
    for g in range(len(strides)):
        source = rng.randrange(2) if everys[0] == everys[1] else everys.index(min(everys))
        ratio = everys[1 - source] // everys[source]
        kinds: list[FusionOption] = ["none", "time_strided_convolution"]
        kinds += ["time_to_channel", "time_strided_sampling"] if ratio > 1 else []
        if rng.random() < 0.75:
            options = tuple(rng.sample(kinds, rng.randint(1, len(kinds))))
            fusions.append(FusionSpace(source=source, target=1 - source, group=g, kind=options))
        elif rng.random() < 0.5 and strides[g : g + 2] != [strides[g], 1] and strides[g] == 2:
            options = tuple(rng.sample(kinds[:2], rng.randint(1, 2)))
            fusion = FusionSpace(source=source, target=1 - source, group=g, kind=options, combination="sum")
            streams[source] = _with_channels(streams[source], g, 8)
            streams[1 - source] = _with_channels(streams[1 - source], g, 16)
            fusions.append(fusion)
    clip = ClipSpec(frames=max(everys) * rng.choice((1, 2)), size=rng.randint(12, 21))
    return Space(name=f"two_{seed}", clip=clip, streams=tuple(streams), fusions=tuple(fusions), head=_random_head(rng))


def _with_channels(stream: StreamSpace, group: int, channels: int) -> StreamSpace:
    changed = stream.groups[group].model_copy(update={"channels": (channels,)})
    groups = (*stream.groups[:group], changed, *stream.groups[group + 1 :])
    return stream.model_copy(update={"groups": groups})


def _random_stream(rng: random.Random, strides: Sequence[int] | None = None) -> StreamSpace:
    """Any groups, or some of these strides."""
    stem = StemSpec(channels=rng.choice((4, 8, 12)), kernel=Kernel(t=rng.choice((1, 3)), s=rng.choice((1, 3))))
    groups: list[GroupSpace] = []
    before: tuple[int, ...] = (stem.channels,)
    for g in range(len(strides) if strides else rng.randint(1, 3)):
        channels = before if len(before) > 1 and rng.random() < 0.4 else rng.choice(CHANNELS)
        if strides and strides[g] == 1 and set(channels) & set(before):
            channels = before
        # Different lists with a width in common need a stride, or the shortcut would be ambiguous.
        joinable = channels == before or not set(channels) & set(before)
        stride = strides[g] if strides else 1 if joinable and rng.random() < 0.6 else 2
        groups.append(_random_group(rng, channels, stride))
        before = channels
    return StreamSpace(
        stem=stem,
        groups=tuple(groups),
        expansion_of=rng.choice(("input", "output")),
        se=None if rng.random() < 0.25 else SqueezeExciteSpec(ratio=rng.choice((0.0625, 0.5)), every=rng.randint(1, 3)),
        activation=rng.choice(("swish", "relu")),
        depthwise=rng.random() < 0.75,
        projection_norm=rng.choice(("always", "on_channel_change")),
        conv5=rng.randint(4, 32),
    )


def _random_head(rng: random.Random) -> ClassificationSpec:
    return ClassificationSpec(
        num_classes=3, hidden=rng.randint(4, 16), dropout=0.0, pool=rng.choice(("fixed", "global"))
    )


def _random_group(rng: random.Random, channels: tuple[int, ...], stride: int) -> GroupSpace:
    depth = rng.randint(1, 3)
    kernels = [Kernel(t=t, s=s) for t in (1, 3) for s in (1, 3, 5)]
    return GroupSpace(
        depth=depth,
        stride=2 if stride == 2 else 1,
        channels=channels,
        expansion=rng.choice(EXPANSIONS),
        kernel=tuple(rng.sample(kernels, rng.randint(1, 3))),
        attention=_random_attention(rng, depth),
        nodes_per_channel=rng.choice((0.25, 0.6)),
    )


def _random_attention(rng: random.Random, depth: int) -> tuple[Attention, ...]:
    options: list[Attention] = ["none", *ATTENTION_KINDS]
    # Odd sizes, as every unit that is as wide as its group has an even one.
    for kind in ATTENTION_KINDS:
        for first in rng.sample((1, 3, 5, 7, 9), 2):
            sizes = iter((first, rng.choice((1, 3, 7))))
            places = tuple(sorted(rng.sample(range(1, depth + 1), rng.randint(0, depth))))
            options.append(attention_of(kind, lambda sizes=sizes: next(sizes), places))
    return tuple(rng.sample(options, rng.randint(1, min(5, len(options)))))
