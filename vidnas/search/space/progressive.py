"""The parts of a space of two streams that a progressive search goes through (Auto-TSNet sec. 4.2).

First stream 0 alone, which in Auto-TSNet is the sparse one; then, with it fixed, stream 1 and the fusions; then, with
all else fixed, attention.
"""

from collections.abc import Iterable, Sequence
from math import prod

from vidnas.arch.spec import ArchSpec, StreamSpec
from vidnas.base.errors import VidnasError
from vidnas.search.space.attention_options import Attention
from vidnas.search.space.fusion_space import FusionSpace
from vidnas.search.space.space import Space, Variable
from vidnas.search.space.stream_space import StreamSpace

STEPS = ("stream 0", "stream 1 and fusions", "attention")


def step_of(variable: Variable) -> int:
    """The step in which a decision of a space of two streams is made."""
    if variable.kind == "attention":
        return 2
    return 0 if variable.path.startswith("streams.0.") else 1


def step_sizes(space: Space) -> tuple[int, ...]:
    """Number of architectures that each step chooses from."""
    return tuple(prod(v.size for v in space.variables if step_of(v) == step) for step in range(len(STEPS)))


def step_space(space: Space, step: int, before: ArchSpec | None = None) -> Space:
    """What a step searches.

    Args:
        space: the whole.
        step: place in `STEPS`.
        before: the network that the step before it has found, None for the first one.

    Raises:
        VidnasError: the space has one stream, or the network is not of the step before.
    """
    if len(space.streams) == 1:
        raise VidnasError(f"space {space.name} has one stream; a progressive search goes from stream to stream")
    first, second = space.streams
    if step == 0:
        return _part(space, step, [_without_attention(first)], [])
    if before is None:
        raise VidnasError(f"space {space.name}: {STEPS[step]} are searched behind {STEPS[step - 1]}; give its network")
    if step == 1:
        step_space(space, 0).encode(before)
        [backbone] = before.streams
        streams = [_without_attention(_fixed(first, backbone)), _without_attention(second)]
        return _part(space, step, streams, space.fusions)
    found = zip(space.fusions, space.fusion_choices(space.encode(before)), strict=True)
    fusions = (fusion.model_copy(update={"kind": (fusion.kind[k],)}) for fusion, k in found)
    streams = [_fixed(stream, spec) for stream, spec in zip(space.streams, before.streams, strict=True)]
    return _part(space, step, streams, fusions)


def _part(space: Space, step: int, streams: Sequence[StreamSpace], fusions: Iterable[FusionSpace]) -> Space:
    """Validated anew, as other lists meet in it."""
    part = space.model_copy(
        update={"name": f"{space.name}_step{step + 1}", "streams": tuple(streams), "fusions": tuple(fusions)}
    )
    return Space.from_data(part.model_dump(), part.name)


def _fixed(stream: StreamSpace, spec: StreamSpec) -> StreamSpace:
    """With the one option that a network has, but for attention."""
    groups = (
        group.model_copy(update={"channels": (own.channels,), "expansion": (own.expansion,), "kernel": (own.kernel,)})
        for group, own in zip(stream.groups, spec.groups, strict=True)
    )
    return stream.model_copy(update={"groups": tuple(groups)})


def attention_before(options: Sequence[Attention]) -> int:
    """What stands for attention until it is searched: none; where a group always has some, its first option."""
    return options.index("none") if "none" in options else 0


def _without_attention(stream: StreamSpace) -> StreamSpace:
    options = ((group.attention[attention_before(group.attention)],) for group in stream.groups)
    groups = (group.model_copy(update={"attention": own}) for group, own in zip(stream.groups, options, strict=True))
    return stream.model_copy(update={"groups": tuple(groups)})
