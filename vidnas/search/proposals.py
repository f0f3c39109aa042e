"""Networks that a race may try at a cost and a clip, each with the source that it comes from.

All are plain specs: what differs from X3D by depth, by a kernel or by everything is trained and judged in the same way,
whatever space it is from.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vidnas.arch.fusion import FUSED_CHANNELS, FusionKind, FusionSpec, check_fusions
from vidnas.arch.registry import get_spec
from vidnas.arch.scale import TOLERANCE, scaled_to_cost
from vidnas.arch.spec import ArchSpec, ClipSpec, GroupSpec, HeadSpec, Kernel
from vidnas.arch.zoo.x3d import x3d
from vidnas.base.errors import VidnasError
from vidnas.base.mistakes import FieldError
from vidnas.search.baselines import choices_within
from vidnas.search.budget import between
from vidnas.search.costs import CostTable
from vidnas.search.entropy import most_entropy
from vidnas.search.space.space import Space

# Networks of the zoo that differ by more than their clip.
HAND_MADE = ("x3d_s", "x3d_xl", "autox3d_s", "autox3d_s_no_attention")
# Along X3D's axes depth and bottleneck, and its kernel in time: each changed alone. X3D's own depths are in the zoo.
_DEPTH_FACTORS = (1.0, 1.6, 3.2)
_BOTTLENECKS = (1.5, 3.0, 4.5)
_TIMES, _SIDES = (1, 3, 5), (3, 5)
# By what a mutation multiplies channels and expansion, and what it leaves these between.
_FACTORS = (2 / 3, 3 / 2)
_EXPANSIONS = (1.0, 6.75)
# Mutants in a row that are known already or have no width at the cost, after which there are no more.
_MISSES = 200


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


def x3d_at(clip: ClipSpec, macs: float, head: HeadSpec, depth_factor: float) -> ArchSpec:
    """X3D at a cost and a clip, its width solved: what every other network is compared with.

    Raises:
        VidnasError: no width of it has that cost.
    """
    spec = x3d("x3d", clip, depth_factor=depth_factor).model_copy(update={"head": head})
    return named(scaled_to_cost(spec, macs), "x3d")


def hand_made(clip: ClipSpec, macs: float, head: HeadSpec) -> Iterator[Proposal]:
    """The structures of the zoo at this cost and clip."""
    specs = (get_spec(name).model_copy(update={"clip": clip, "head": head}) for name in HAND_MADE)
    yield from (Proposal(spec, "zoo") for spec in _at_cost(specs, macs))


def along_axes(clip: ClipSpec, macs: float, head: HeadSpec, depth_factor: float) -> Iterator[Proposal]:
    """X3D deeper and shallower, with other bottlenecks, and with kernels of five frames."""
    specs = [
        *(x3d("x3d_depth", clip, depth_factor=depth) for depth in _DEPTH_FACTORS if depth != depth_factor),
        *(x3d("x3d_bottleneck", clip, depth_factor=depth_factor, bottleneck=ratio) for ratio in _BOTTLENECKS),
        x3d("x3d_time", clip, depth_factor=depth_factor, kernel=Kernel(t=5, s=3)),
    ]
    with_head = (spec.model_copy(update={"head": head}) for spec in specs)
    yield from (Proposal(spec, "axes") for spec in _at_cost(with_head, macs))


def mutants(
    parent: ArchSpec, macs: float, seed: int, source: str, *, changes: Sequence[int] = (1, 2, 3)
) -> Iterator[Proposal]:
    """Different networks with one to three decisions of a parent changed, at the same cost; endless where it has some.

    A decision is a group's depth, kernel, expansion or its channels beside those of the others; of two streams also
    what the sparser one is given of the other after a group. Of a network that adds maps up, whose widths cannot be
    changed apart, only those that do so no more.

    Args:
        parent: as it is, at any cost.
        macs: the cost, met by the width.
        seed: of the draws.
        source: what they are called in the race.
        changes: how many decisions may be changed at once; drawn among these.
    """
    rng = np.random.default_rng(seed)
    seen = {parent.content_hash}
    misses = 0
    while misses < _MISSES:
        misses += 1
        changed = parent
        for _ in range(int(rng.choice(changes))):
            changed = _changed(changed, rng)
        for spec in _at_cost([changed.model_copy(update={"name": "mutant"})], macs):
            if spec.content_hash not in seen:
                seen.add(spec.content_hash)
                misses = 0
                yield Proposal(spec, source)


def by_entropy(space: Space, macs: float, number: int) -> Iterator[Proposal]:
    """The optimum of the entropy in a space under the budget, and the next best."""
    for choice in most_entropy(CostTable.of(space), macs, number):
        yield Proposal(named(space.decode(choice), "entropy"), "entropy")


def drawn(space: Space, macs: float, seed: int) -> Iterator[Proposal]:
    """Endless uniform draws among the networks of a space that use the budget but for 1%: the honest baseline."""
    for choice in choices_within(between(CostTable.of(space), (1 - TOLERANCE) * macs, macs), seed):
        yield Proposal(named(space.decode(choice), "random"), "random")


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


def _at_cost(specs: Iterable[ArchSpec], macs: float) -> Iterator[ArchSpec]:
    """Those that some width brings to the cost."""
    for spec in specs:
        try:
            yield named(scaled_to_cost(spec, macs), spec.name)
        except VidnasError:
            continue


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
