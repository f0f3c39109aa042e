"""Spaces around one network: all of it stays but its kernels, its fusions, or its attention.

The last two are what Auto-TSNet isolates in sec. 5.6 (Tables 7 and 8).
"""

from collections.abc import Collection, Sequence

from vidnas.arch.fusion import FusionSpec
from vidnas.arch.spec import ArchSpec, GroupSpec, Kernel, StreamSpec
from vidnas.base.errors import VidnasError
from vidnas.search.space.attention_options import Attention
from vidnas.search.space.fusion_space import FusionOption, FusionSpace
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace


def kernels_around(spec: ArchSpec, kernels: Sequence[Kernel]) -> Space:
    """In each group one of these kernels; the network itself can be chosen where its own are among them."""
    streams: list[StreamSpace] = []
    for stream in map(_fixed, spec.streams):
        groups = tuple(group.model_copy(update={"kernel": tuple(kernels)}) for group in stream.groups)
        streams.append(stream.model_copy(update={"groups": groups}))
    return _space(spec, f"{spec.name}_kernels", streams, [_fixed_fusion(fusion) for fusion in spec.fusions])


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
    spec: ArchSpec,
    groups: Collection[int],
    options: Sequence[Attention] = ("none", "glore"),
    *,
    nodes_per_channel: float = 1.5,
) -> Space:
    """After these groups of each stream one of the options, in place of the attention that the network has.

    Args:
        spec: the network.
        groups: of each stream.
        options: after each of them.
        nodes_per_channel: graph nodes of `glore` per channel of its group; the paper's need wide networks.

    Raises:
        VidnasError: a stream has no such group.
    """
    for s, length in enumerate(len(stream.groups) for stream in spec.streams):
        if missing := [g for g in groups if g >= length]:
            raise VidnasError(f"{spec.name}: stream {s} has {length} groups, there is no {missing[0]}")
    streams: list[StreamSpace] = []
    for stream in map(_fixed, spec.streams):
        own = [
            group.model_copy(update={"attention": tuple(options), "nodes_per_channel": nodes_per_channel})
            if g in groups
            else group
            for g, group in enumerate(stream.groups)
        ]
        streams.append(stream.model_copy(update={"groups": tuple(own)}))
    return _space(spec, f"{spec.name}_attention", streams, [_fixed_fusion(fusion) for fusion in spec.fusions])


def _space(spec: ArchSpec, name: str, streams: Sequence[StreamSpace], fusions: Sequence[FusionSpace]) -> Space:
    content = {"name": name, "clip": spec.clip, "streams": streams, "fusions": fusions, "head": spec.head}
    return Space.from_data(content, name)


def _fixed(stream: StreamSpec) -> StreamSpace:
    """With one option of everything."""
    fields = {name: getattr(stream, name) for name in StreamSpec.model_fields if name != "groups"}
    return StreamSpace(**fields, groups=tuple(map(_fixed_group, stream.groups)))


def _fixed_group(group: GroupSpec) -> GroupSpace:
    return GroupSpace(
        depth=group.depth,
        stride=group.stride,
        channels=(group.channels,),
        expansion=(group.expansion,),
        kernel=(group.kernel,),
        attention=(group.attention or "none",),
    )


def _fixed_fusion(fusion: FusionSpec) -> FusionSpace:
    return FusionSpace(**fusion.model_dump(exclude={"kind"}), kind=(fusion.kind,))
