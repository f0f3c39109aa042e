"""A network made wider or narrower until it meets a cost."""

from collections.abc import Callable, Iterator
from functools import partial

from vidnas.arch.cost import format_macs, network_cost
from vidnas.arch.spec import ArchSpec, AttentionSpec, GroupSpec, StreamSpec, attention_sizes
from vidnas.base.errors import VidnasError

# How much of a cost may be left, and below what that is not told apart.
TOLERANCE, _FINE = 0.01, 0.003
_NARROWEST, _WIDEST, _PRECISION = 1 / 64, 64.0, 1.002
_MOST_WIDENED = 1.25


def scaled_to_cost(spec: ArchSpec, macs: float) -> ArchSpec:
    """The same structure with all channels times one factor, so that it costs `macs` at its clip, or up to 1% less.

    Kernels, depths, strides, expansions and the head stay. Where rounding leaves some of the cost, single groups become
    a little wider, the last ones first.

    Raises:
        VidnasError: no factor does, or the maps of streams are added up, which have to stay equally wide.
    """
    for i, fusion in enumerate(spec.fusions):
        if fusion.combination == "sum":
            raise VidnasError(
                f"{spec.name}: fusions.{i} adds up the maps of two streams, whose widths cannot be scaled apart; "
                "use concat"
            )
    low, high = _NARROWEST, _WIDEST
    while high / low > _PRECISION:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _macs(_scaled(spec, middle)) <= macs else (low, middle)
    best = _scaled(spec, low)
    for wider in _widenings(best):
        while (1 - _FINE) * macs > _macs(best):
            widened = wider(best)
            if widened is None or _macs(widened) > macs:
                break
            best = widened
    if not (1 - TOLERANCE) * macs <= _macs(best) <= macs:
        raise VidnasError(
            f"{spec.name}: no width of it costs {format_macs(macs)} @ {spec.clip}, the nearest "
            f"{format_macs(_macs(_scaled(spec, low)))}"
        )
    return best


def _macs(spec: ArchSpec) -> int:
    return network_cost(spec).macs


def _widenings(spec: ArchSpec) -> Iterator[Callable[[ArchSpec], ArchSpec | None]]:
    """Ways to make a stream a channel wider, the last one first: a group, last ones first, then the last convolution.

    Each gives None where it has made its part wider by a quarter.
    """
    for s, stream in reversed(list(enumerate(spec.streams))):
        for g, group in reversed(list(enumerate(stream.groups))):
            yield partial(_wider_group, s=s, g=g, most=max(group.channels + 1, round(group.channels * _MOST_WIDENED)))
        yield partial(_wider_conv5, s=s, most=round(stream.conv5 * _MOST_WIDENED))


def _wider_group(spec: ArchSpec, s: int, g: int, most: int) -> ArchSpec | None:
    stream = spec.streams[s]
    channels = stream.groups[g].channels + 1
    if channels > most:
        return None
    group = stream.groups[g].model_copy(update={"channels": channels})
    groups = (*stream.groups[:g], group, *stream.groups[g + 1 :])
    return _with_stream(spec, s, stream.model_copy(update={"groups": groups}))


def _wider_conv5(spec: ArchSpec, s: int, most: int) -> ArchSpec | None:
    stream = spec.streams[s]
    channels = stream.conv5 + 1
    return None if channels > most else _with_stream(spec, s, stream.model_copy(update={"conv5": channels}))


def _with_stream(spec: ArchSpec, s: int, stream: StreamSpec) -> ArchSpec:
    return spec.model_copy(update={"streams": (*spec.streams[:s], stream, *spec.streams[s + 1 :])})


def _scaled(spec: ArchSpec, factor: float) -> ArchSpec:
    return spec.model_copy(update={"streams": tuple(_scaled_stream(stream, factor) for stream in spec.streams)})


def _scaled_stream(stream: StreamSpec, factor: float) -> StreamSpec:
    stem = stream.stem.model_copy(update={"channels": _times(stream.stem.channels, factor)})
    groups = tuple(_scaled_group(group, factor) for group in stream.groups)
    return stream.model_copy(update={"stem": stem, "groups": groups, "conv5": _times(stream.conv5, factor)})


def _scaled_group(group: GroupSpec, factor: float) -> GroupSpec:
    attention = group.attention and _scaled_attention(group.attention, factor)
    return group.model_copy(update={"channels": _times(group.channels, factor), "attention": attention})


def _scaled_attention(attention: AttentionSpec, factor: float) -> AttentionSpec:
    return attention.model_copy(
        update={name: _times(size, factor) for name, size in attention_sizes(attention).items()}
    )


def _times(size: int, factor: float) -> int:
    return max(1, round(size * factor))
