"""A network made wider or narrower until it meets a cost."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from vidnas.arch.cost import format_amount, network_cost
from vidnas.arch.spec import ArchSpec, AttentionSpec, GroupSpec, StreamSpec, attention_sizes
from vidnas.base.errors import VidnasError

# How much of a cost may be left, and below what that is not told apart.
TOLERANCE, _FINE = 0.01, 0.003
_NARROWEST, _WIDEST, _PRECISION = 1 / 64, 64.0, 1.002
_MOST_WIDENED = 1.25
# Below so many hidden channels a head is not narrowed with the rest.
_LEAST_HIDDEN = 256


def scaled_to_cost(spec: ArchSpec, targets: Mapping[str, float]) -> ArchSpec:
    """The same structure with all channels times one factor, so that it costs what it may at its clip or up to 1% less.

    Kernels, depths, strides and expansions stay; so does the head, unless parameters are counted, of which it would
    have most: then it becomes narrower with the rest, down to 256 hidden channels. Where rounding leaves some of the
    cost, single groups become a little wider, the last ones first.

    Args:
        spec: the structure.
        targets: by metric of `network_cost`; of several all are kept, and one is met.

    Raises:
        VidnasError: no factor does, or the maps of streams are added up, which have to stay equally wide.
    """
    best = widest_within(spec, targets)
    if use_of(best, targets) < 1 - TOLERANCE:
        raise VidnasError(_unmet(spec, targets, best))
    return best


def widest_within(spec: ArchSpec, targets: Mapping[str, float]) -> ArchSpec:
    """As `scaled_to_cost`, however much of the cost coarse widths leave.

    Raises:
        VidnasError: the narrowest costs more, or the maps of streams are added up.
    """
    scaled = _scaled_by(spec, targets)
    low, high = _NARROWEST, _WIDEST
    while high / low > _PRECISION:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if use_of(scaled(middle), targets) <= 1 else (low, middle)
    best = scaled(low)
    if use_of(best, targets) > 1:
        raise VidnasError(_unmet(spec, targets, best))
    for wider in _widenings(best):
        while use_of(best, targets) < 1 - _FINE:
            widened = wider(best)
            if widened is None or use_of(widened, targets) > 1:
                break
            best = widened
    return best


def narrowest(spec: ArchSpec, targets: Mapping[str, float]) -> ArchSpec:
    """What `widest_within` starts from, whatever it costs.

    Raises:
        VidnasError: the maps of streams are added up.
    """
    return _scaled_by(spec, targets)(_NARROWEST)


def use_of(spec: ArchSpec, targets: Mapping[str, float]) -> float:
    """The largest cost / target: at most 1 where all are kept."""
    cost = network_cost(spec)
    return max(getattr(cost, metric) / target for metric, target in targets.items())


def _scaled_by(spec: ArchSpec, targets: Mapping[str, float]) -> Callable[[float], ArchSpec]:
    """The structure with all channels times a factor."""
    for i, fusion in enumerate(spec.fusions):
        if fusion.combination == "sum":
            raise VidnasError(
                f"{spec.name}: fusions.{i} adds up the maps of two streams, whose widths cannot be scaled apart; "
                "use concat"
            )
    return partial(_scaled, spec, with_head="params" in targets)


def _unmet(spec: ArchSpec, targets: Mapping[str, float], nearest: ArchSpec) -> str:
    cost = network_cost(nearest)
    wanted = " and ".join(format_amount(metric, target) for metric, target in targets.items())
    found = " and ".join(format_amount(metric, getattr(cost, metric)) for metric in targets)
    return f"{spec.name}: no width of it costs {wanted} @ {spec.clip}, the nearest {found}"


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


def _scaled(spec: ArchSpec, factor: float, *, with_head: bool) -> ArchSpec:
    streams = tuple(_scaled_stream(stream, factor) for stream in spec.streams)
    hidden = min(spec.head.hidden, max(_LEAST_HIDDEN, _times(spec.head.hidden, factor))) if with_head else None
    head = spec.head.model_copy(update={"hidden": hidden}) if hidden else spec.head
    return spec.model_copy(update={"streams": streams, "head": head})


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
