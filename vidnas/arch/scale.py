"""A network made wider or narrower until it meets a cost."""

from collections.abc import Iterator

from vidnas.arch.cost import format_macs, network_cost
from vidnas.arch.spec import ArchSpec, AttentionSpec, GroupSpec, StreamSpec, attention_sizes
from vidnas.base.errors import VidnasError

# How much of a cost may be left, and below what that is not told apart.
TOLERANCE, _FINE = 0.01, 0.003
_NARROWEST, _WIDEST, _PRECISION = 1 / 64, 64.0, 1.002


def scaled_to_cost(spec: ArchSpec, macs: float) -> ArchSpec:
    """The same structure with all channels times one factor, so that it costs `macs` at its clip, or up to 1% less.

    Kernels, depths, strides, expansions and the head stay. The channels of the last groups then move by a few to come
    nearer to the cost.

    Raises:
        VidnasError: no factor does.
    """
    low, high = _NARROWEST, _WIDEST
    while high / low > _PRECISION:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _macs(_scaled(spec, middle)) <= macs else (low, middle)
    best, least = None, TOLERANCE
    for near in _near(spec, low):
        left = 1 - _macs(near) / macs
        if 0 <= left <= least:
            best, least = near, left
        if best is not None and least <= _FINE:
            return best
    if best is None:
        raise VidnasError(
            f"{spec.name}: no width of it costs {format_macs(macs)} @ {spec.clip}, the nearest "
            f"{format_macs(_macs(_scaled(spec, low)))}"
        )
    return best


def _macs(spec: ArchSpec) -> int:
    return network_cost(spec).macs


def _near(spec: ArchSpec, factor: float) -> Iterator[ArchSpec]:
    """Factors about one, and the last groups a little narrower or wider, the least changed first."""
    for percent in sorted(range(-4, 5), key=abs):
        scaled = _scaled(spec, factor * (1 + percent / 100))
        yield scaled
        for last in (1, 2, 3):
            for channels in (-1, 1, -2, 2, -3, 3):
                if widened := _widened(scaled, last, channels):
                    yield widened


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


def _widened(spec: ArchSpec, last: int, channels: int) -> ArchSpec | None:
    """Some channels more or less in the last groups of the last stream; None where that leaves none."""
    stream = spec.streams[-1]
    kept, changed = stream.groups[:-last], stream.groups[-last:]
    if min(group.channels for group in changed) + channels < 1:
        return None
    wider = tuple(group.model_copy(update={"channels": group.channels + channels}) for group in changed)
    stream = stream.model_copy(update={"groups": (*kept, *wider)})
    return spec.model_copy(update={"streams": (*spec.streams[:-1], stream)})


def _times(size: int, factor: float) -> int:
    return max(1, round(size * factor))
