"""Networks that a race may try within its budgets at a clip, each with the source that it comes from.

All are plain specs: what differs from X3D by depth, by a kernel or by everything is trained and judged in the same way,
whatever space it is from.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from vidnas.arch.fusion import FUSED_CHANNELS, FusionKind, FusionSpec, check_fusions
from vidnas.arch.registry import get_spec
from vidnas.arch.scale import TOLERANCE
from vidnas.arch.spec import ArchSpec, ClipSpec, GroupSpec, HeadSpec, Kernel
from vidnas.arch.zoo.x3d import x3d
from vidnas.base.errors import VidnasError
from vidnas.base.mistakes import FieldError
from vidnas.search.baselines import choices_within, neighbours_within
from vidnas.search.entropy import most_entropy
from vidnas.search.limits import BoundedSpace, Limits
from vidnas.search.space.published.scaled_streams import sees_twice, two_streams_at

# Networks of the zoo that differ by more than their clip.
HAND_MADE = ("x3d_s", "x3d_xl", "autox3d_s", "autox3d_s_no_attention")
HAND_MADE_OF_TWO = ("manual_tsnet_70", "manual_tsnet_85", "manual_tsnet_55")
# Along X3D's axes depth and bottleneck, and its kernel in time: each changed alone. X3D's own depths are in the zoo.
_DEPTH_FACTORS = (1.0, 1.6, 3.2)
_BOTTLENECKS = (1.5, 3.0, 4.5)
_TIMES, _SIDES = (1, 3, 5), (3, 5)
# By what a mutation multiplies channels and expansion, and what it leaves these between.
_FACTORS = (2 / 3, 3 / 2)
_EXPANSIONS = (1.0, 6.75)
# In a row: draws that miss the budgets once they are timed, mutants that no width brings to them, and known ones.
_MOST_MISSED = 50
# Of a budget, what draws use at least; less where a space has no others.
_LEAST_USED = (1 - TOLERANCE, 0.9, 0.5, 0.0)


class Proposal(NamedTuple):
    """A network to be tried.

    Attributes:
        spec: its clip is a part of it.
        source: where it comes from.
    """

    spec: ArchSpec
    source: str


def named(spec: ArchSpec, name: str) -> ArchSpec:
    """The spec with a name that tells it from others of its kind."""
    return spec.model_copy(update={"name": f"{name}_{spec.content_hash[:6]}"})


def x3d_of(clip: ClipSpec, head: HeadSpec, depth_factor: float) -> ArchSpec:
    """X3D at a clip, at its own width."""
    return x3d("x3d", clip, depth_factor=depth_factor).model_copy(update={"head": head})


def x3d_at(clip: ClipSpec, limits: Limits, head: HeadSpec, depth_factor: float) -> ArchSpec:
    """X3D within the budgets at a clip, its width solved: what every other network is compared with.

    Raises:
        VidnasError: no width of it meets them.
    """
    return named(limits.bring(x3d_of(clip, head, depth_factor)), "x3d")


def x3d_at_each(clips: Sequence[ClipSpec], limits: Limits, head: HeadSpec, depth_factor: float) -> list[ArchSpec]:
    """As `x3d_at` at every clip at which some width meets the budgets."""
    found = limits.brought([x3d_of(clip, head, depth_factor) for clip in clips])
    return [named(spec, "x3d") for spec in found if spec is not None]


def hand_made(clip: ClipSpec, limits: Limits, head: HeadSpec, streams: Literal[1, 2] = 1) -> Iterator[Proposal]:
    """The structures of the zoo within the budgets at this clip, where two streams are asked for those first."""
    specs = [get_spec(name).model_copy(update={"clip": clip, "head": head}) for name in HAND_MADE]
    if streams == 2 and sees_twice(clip):
        two = (two_streams_at(get_spec(name), clip) for name in HAND_MADE_OF_TWO)
        specs = [*(spec.model_copy(update={"head": head}) for spec in two), *specs]
    yield from (Proposal(spec, "zoo") for spec in _within(specs, limits))


def along_axes(clip: ClipSpec, limits: Limits, head: HeadSpec, depth_factor: float) -> Iterator[Proposal]:
    """X3D deeper and shallower, with other bottlenecks, and with kernels of five frames."""
    specs = [
        *(x3d("x3d_depth", clip, depth_factor=depth) for depth in _DEPTH_FACTORS if depth != depth_factor),
        *(x3d("x3d_bottleneck", clip, depth_factor=depth_factor, bottleneck=ratio) for ratio in _BOTTLENECKS),
        x3d("x3d_time", clip, depth_factor=depth_factor, kernel=Kernel(t=5, s=3)),
    ]
    with_head = (spec.model_copy(update={"head": head}) for spec in specs)
    yield from (Proposal(spec, "axes") for spec in _within(with_head, limits))


def mutants(
    parent: ArchSpec, limits: Limits, seed: int, source: str, *, changes: Sequence[int] = (1, 2, 3)
) -> Iterator[Proposal]:
    """Different networks with one to three decisions of a parent changed, within the budgets.

    A decision is a group's depth, kernel, expansion or its channels beside those of the others; of two streams also
    what the sparser one is given of the other after a group. Of a network that adds maps up, whose widths cannot be
    changed apart, only those that do so no more. Where a long row of them brings nothing new that can be had within the
    budgets, there are no more.

    Args:
        parent: as it is, at any cost.
        limits: the budgets, met by the width.
        seed: of the draws.
        source: what they are called in the race.
        changes: how many decisions may be changed at once; drawn among these.
    """
    rng = np.random.default_rng(seed)
    seen = {parent.content_hash}
    missed = 0
    while missed < _MOST_MISSED:
        changed = parent
        for _ in range(int(rng.choice(changes))):
            changed = _changed(changed, rng)
        # Changes may undo one another; the parent at a slightly different width is no other network.
        same = (changed.streams, changed.fusions) == (parent.streams, parent.fusions)
        for spec in _within([] if same else [changed.model_copy(update={"name": "mutant"})], limits):
            if spec.content_hash not in seen:
                seen.add(spec.content_hash)
                missed = -1
                yield Proposal(spec, source)
        missed += 1


def by_entropy(bounded: BoundedSpace, number: int) -> Iterator[Proposal]:
    """The optimum of the entropy in a space within the budgets, and the next best.

    One that turns out to take more milliseconds than a table predicts is made narrower.
    """
    for choice in most_entropy(bounded.space, bounded.budgets, number):
        yield from kept([Proposal(bounded.space.decode(choice), "entropy")], bounded.limits, "entropy")


def kept(proposals: Iterable[Proposal], limits: Limits, name: str | None = None) -> Iterator[Proposal]:
    """Proposals within the budgets: those that are not are made narrower, and left out where that is not possible.

    Args:
        proposals: any.
        limits: the budgets.
        name: that they are given; None leaves them theirs.
    """
    for spec, source in proposals:
        narrow = limits.narrowed(spec)
        if narrow is not None:
            yield Proposal(named(narrow, name) if name else narrow, source)


def drawn(bounded: BoundedSpace, seed: int) -> Iterator[Proposal]:
    """Different uniform draws among the networks of a space that use up a budget: the honest baseline.

    Those that miss it when they are timed are left out. Where a small space has no more, others within the budgets
    follow, those that use more of them first, until there is nothing new.

    Raises:
        VidnasError: nothing in the space is within the budgets.
    """
    seen: set[str] = set()
    for least in _LEAST_USED:
        met = bounded.limits.met_by if least == _LEAST_USED[0] else bounded.limits.kept_by
        missed = 0
        try:
            for choice in choices_within(bounded.budgets, seed, least):
                spec = named(bounded.space.decode(choice), "random")
                missed += 1
                if spec.content_hash not in seen and met(spec):
                    seen.add(spec.content_hash)
                    missed = 0
                    yield Proposal(spec, "random")
                if missed == _MOST_MISSED:
                    break
        except VidnasError:
            if least == 0 and not seen:
                raise


def neighbours(bounded: BoundedSpace, parent: ArchSpec, seed: int, source: str) -> Iterator[Proposal]:
    """The networks of a space within the budgets that differ from a parent in one decision, in random order.

    Args:
        bounded: space and budgets.
        parent: of the space.
        seed: of the order.
        source: what they are called in the race.
    """
    found = neighbours_within(bounded.budgets, bounded.space.encode(parent))
    for place in np.random.default_rng(seed).permutation(len(found)):
        spec = bounded.space.decode(found[place])
        if bounded.limits.kept_by(spec):
            yield Proposal(named(spec, source), source)


def different_in_turn(sources: Iterable[Iterable[Proposal]]) -> Iterator[Proposal]:
    """The first of each source, then the second of each, and so on, without networks that came before."""
    seen: set[str] = set()
    left = [iter(source) for source in sources]
    while left:
        for source in list(left):
            new = next((one for one in source if one.spec.content_hash not in seen), None)
            if new is None:
                left.remove(source)
            else:
                seen.add(new.spec.content_hash)
                yield new


def _within(specs: Iterable[ArchSpec], limits: Limits) -> Iterator[ArchSpec]:
    """Those that some width brings to the budgets, one after another, as each may have to be timed."""
    for spec in specs:
        (brought,) = limits.brought([spec])
        if brought is not None:
            yield named(brought, spec.name)


def _changed(spec: ArchSpec, rng: np.random.Generator) -> ArchSpec:
    """One decision of a random group changed, or of the fusions between two streams."""
    number = len(spec.streams)
    s = int(rng.integers(number + (number > 1)))
    if s == number:
        return _with_changed_fusion(spec, rng)
    stream = spec.streams[s]
    g = int(rng.integers(len(stream.groups)))
    groups = (*stream.groups[:g], _changed_group(stream.groups[g], rng), *stream.groups[g + 1 :])
    stream = stream.model_copy(update={"groups": groups})
    return spec.model_copy(update={"streams": (*spec.streams[:s], stream, *spec.streams[s + 1 :])})


def _with_changed_fusion(spec: ArchSpec, rng: np.random.Generator) -> ArchSpec:
    """Another kind of fusion after a random group, or none; as it is where none can be there."""
    source, target = sorted(range(2), key=lambda s: spec.streams[s].every)
    ratio = spec.streams[target].every // spec.streams[source].every
    g = int(rng.integers(len(spec.streams[target].groups)))
    others = [fusion for fusion in spec.fusions if fusion.group != g]
    now = next((fusion.kind for fusion in spec.fusions if fusion.group == g), None)
    kinds: list[FusionKind | None] = [None, *(FUSED_CHANNELS if ratio > 1 else ("time_strided_convolution",))]
    kinds.remove(now)
    kind = kinds[int(rng.integers(len(kinds)))]
    new = [FusionSpec(source=source, target=target, group=g, kind=kind)] if kind else []
    fusions = tuple(sorted([*others, *new], key=lambda fusion: fusion.group))
    try:
        check_fusions(spec.streams, fusions)
    except FieldError:
        return spec
    return spec.model_copy(update={"fusions": fusions})


def _changed_group(group: GroupSpec, rng: np.random.Generator) -> GroupSpec:
    kernel = group.kernel
    expansions = [round(group.expansion * factor, 2) for factor in _FACTORS]
    options: list[dict[str, object]] = []
    options += [{"kernel": Kernel(t=t, s=kernel.s)} for t in _TIMES if t != kernel.t]
    options += [{"kernel": Kernel(t=kernel.t, s=s)} for s in _SIDES if s != kernel.s]
    options += [{"depth": depth} for depth in (group.depth - 1, group.depth + 1) if depth >= 1]
    options += [{"channels": max(1, round(group.channels * factor))} for factor in _FACTORS]
    options += [{"expansion": ratio} for ratio in expansions if _EXPANSIONS[0] <= ratio <= _EXPANSIONS[1]]
    attention = group.attention
    if attention and attention.after:
        options = [option for option in options if "depth" not in option]
    return group.model_copy(update=options[int(rng.integers(len(options)))])
