"""Spaces around one network: all of it stays but its fusions, or its attention.

What Auto-TSNet isolates in sec. 5.6 (Tables 7 and 8).
"""

from collections.abc import Collection, Sequence

from vidnas.arch.fusion import FusionSpec
from vidnas.arch.spec import ArchSpec, GroupSpec, StreamSpec
from vidnas.base.errors import VidnasError
from vidnas.search.space.attention_options import Attention
from vidnas.search.space.fusion_space import FusionOption, FusionSpace
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace


def fusions_around(spec: ArchSpec, kinds: Sequence[FusionOption], *, source: int, target: int) -> Space:
    """After each group one of these kinds, in place of the fusions that the network has.

    Args:
        spec: of two streams.
        kinds: candidates, `none` among them or not.
        source: the stream that gives.
        target: the stream that reads.

    Raises:
        VidnasError: the streams do not fit each other with some of the kinds.
    """
    places = range(min(len(stream.groups) for stream in spec.streams))
    fusions = [FusionSpace(source=source, target=target, group=group, kind=tuple(kinds)) for group in places]
    return _space(spec, f"{spec.name}_fusions", [_fixed(stream) for stream in spec.streams], fusions)


def attention_around(
    spec: ArchSpec, groups: Collection[int], options: Sequence[Attention] = ("none", "glore")
) -> Space:
    """After these groups of each stream one of the options, in place of the attention that the network has.

    Raises:
        VidnasError: a stream has no such group.
    """
    for s, stream in enumerate(spec.streams):
        if missing := [g for g in groups if g >= len(stream.groups)]:
            raise VidnasError(f"{spec.name}: stream {s} has {len(stream.groups)} groups, there is no {missing[0]}")
    streams = [_fixed(stream, dict.fromkeys(groups, options)) for stream in spec.streams]
    return _space(spec, f"{spec.name}_attention", streams, [_fixed_fusion(fusion) for fusion in spec.fusions])


def _space(spec: ArchSpec, name: str, streams: Sequence[StreamSpace], fusions: Sequence[FusionSpace]) -> Space:
    content = {"name": name, "clip": spec.clip, "streams": streams, "fusions": fusions, "head": spec.head}
    return Space.from_data(content, name)


def _fixed(stream: StreamSpec, attention: dict[int, Sequence[Attention]] | None = None) -> StreamSpace:
    """With one option of everything, but for attention after some groups."""
    groups = [_fixed_group(group, (attention or {}).get(g)) for g, group in enumerate(stream.groups)]
    fields = {name: getattr(stream, name) for name in StreamSpec.model_fields if name != "groups"}
    return StreamSpace(**fields, groups=tuple(groups))


def _fixed_group(group: GroupSpec, attention: Sequence[Attention] | None) -> GroupSpace:
    return GroupSpace(
        depth=group.depth,
        stride=group.stride,
        channels=(group.channels,),
        expansion=(group.expansion,),
        kernel=(group.kernel,),
        attention=tuple(attention or [group.attention or "none"]),
    )


def _fixed_fusion(fusion: FusionSpec) -> FusionSpace:
    return FusionSpace(**fusion.model_dump(exclude={"kind"}), kind=(fusion.kind,))
