"""What is raced for on a list of videos, and who may start."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Literal

from vidnas.arch.cost import network_cost
from vidnas.arch.scale import TOLERANCE
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, HeadSpec, head_for
from vidnas.base.errors import VidnasError
from vidnas.base.log import log
from vidnas.data.video_list import VideoList
from vidnas.pipeline.lists import Holding
from vidnas.pipeline.plan import reachable
from vidnas.search.clips import clip_proposals
from vidnas.search.limits import BoundedSpace, Limits
from vidnas.search.proposals import (
    Proposal,
    along_axes,
    by_entropy,
    different_in_turn,
    drawn,
    hand_made,
    kept,
    mutants,
    neighbours,
    x3d_at,
    x3d_at_each,
    x3d_of,
)
from vidnas.search.space.published.auto import auto_clip, auto_space, nearest_rung
from vidnas.search.space.space import Space

# Rungs of X3D's ladder that are tried on the way to a budget without multiply-adds.
_RUNGS = 4


@dataclass(frozen=True)
class Course:
    """What a race is run on.

    Attributes:
        train: the training list, all that a race sees.
        held: what its videos hold.
        limits: the budgets.
        clip: where it is given.
        space: where other networks than X3D are to come from, at its clip; None is from anywhere.
        streams: of the networks of a scaled space, where they may come from anywhere.
        check: refuses spaces in which the search that is to follow cannot be made; None takes all.

    Raises:
        VidnasError: no budget bounds compute, and no clip is given.
    """

    train: VideoList
    held: Holding
    limits: Limits
    clip: ClipSpec | None = None
    space: Space | None = None
    streams: Literal[1, 2] = 1
    check: Callable[[Space], None] | None = None

    def __post_init__(self) -> None:
        if self.clip is None and not self.limits.bounds_compute:
            raise VidnasError(
                f"a budget of {self.limits.text} does not say how large a clip may be; add --target-macs or "
                "--target-ms, or give a --clip, as 16x56"
            )

    @property
    def head(self) -> HeadSpec:
        """Of every network in the race, before a budget of parameters narrows it."""
        return head_for(ClassificationSpec(), len(self.train.classes), multi_label=self.train.multi_label)

    @cached_property
    def macs(self) -> float:
        """Multiply-adds from which clips and X3D's depth follow: the budget's, or those of X3D within the others.

        Raises:
            VidnasError: no width of X3D meets the budgets.
        """
        targets = self.limits.targets
        if "macs" in targets and "ms" not in targets:
            return targets["macs"]
        # Parameters leave compute open: where something else bounds it, they have no say in the clip.
        bounding = {metric: target for metric, target in targets.items() if metric in ("macs", "ms")}
        limits = replace(self.limits, targets=bounding or targets)
        # From below: a clip of many multiply-adds may be out of reach.
        macs = min(targets.get("macs", limits.start_macs), limits.start_macs)
        for _ in range(_RUNGS):
            rung = nearest_rung(macs)
            clip = self.clip or auto_clip(rung, self.held.frames, self.held.short_side, self.held.duration_sec)
            macs = limits.near(macs).macs_of(x3d_of(clip, self.head, rung.depth_factor))
            if nearest_rung(macs) == rung:
                break
        return self._up_to_budget(macs)

    @property
    def depth_factor(self) -> float:
        """Of X3D at this cost."""
        return nearest_rung(self.macs).depth_factor

    def x3d(self, clip: ClipSpec) -> Proposal:
        """X3D within the budgets at a clip.

        Raises:
            VidnasError: no width of it meets them.
        """
        return Proposal(x3d_at(clip, self.limits.near(self.macs), self.head, self.depth_factor), "x3d")

    def x3d_at_all(self, clips: Sequence[ClipSpec]) -> list[Proposal]:
        """X3D at each clip at which some width of it meets the budgets, and which the networks asked for can see."""
        seen = [clip for clip in clips if self._sees(clip)]
        specs = x3d_at_each(seen, self.limits.near(self.macs), self.head, self.depth_factor)
        return [Proposal(spec, "x3d") for spec in specs]

    def _sees(self, clip: ClipSpec) -> bool:
        try:
            self.check_clip(clip)
        except VidnasError:
            return False
        return True

    def check_clip(self, clip: ClipSpec) -> None:
        """Make sure that there are networks of the space, or of so many streams, as they are asked for.

        Raises:
            VidnasError: not at this clip.
        """
        if self.space is None and self.streams == 1:
            return
        space = self._space_at(clip, self.macs)
        if self.space is not None:
            for budget in BoundedSpace(space, replace(self.limits, targets=self.limits.counted)).budgets:
                reachable(budget)
        if self.check is not None:
            self.check(space)

    def clips(self) -> list[Proposal]:
        """What the race of clips starts with.

        Raises:
            VidnasError: X3D meets the budgets nowhere.
        """
        if self.clip is not None:
            self.check_clip(self.clip)
            return [self.x3d(self.clip)]
        clips = clip_proposals(self.macs, self.held.frames, self.held.short_side, self.held.duration_sec)
        found = self.x3d_at_all(clips)
        met = {proposal.spec.clip for proposal in found}
        missed = [clip for clip in clips if self.limits.timed and clip not in met and self._sees(clip)]
        if missed:
            named = ", ".join(f"{clip} {clip.sampling}" for clip in missed)
            log.info(f"note: at some clips no width of X3D was found for {self.limits.text}: {named}")
        if not found:
            if clips:
                self.check_clip(clips[-1])
            raise VidnasError(
                f"no X3D network is within {self.limits.text} at any clip that these videos hold; give another target, "
                "or a clip (--clip 16x56)"
            )
        return found

    def networks(self, clip: ClipSpec, number: int, seed: int, supernet: Sequence[Proposal] = ()) -> list[Proposal]:
        """As many networks, one of each source after another.

        Args:
            clip: of all.
            number: that is wanted.
            seed: of the draws.
            supernet: what a search proposes at that clip.
        """
        x3d, head = self.x3d(clip).spec, self.head
        limits = self.limits.near(self.scale_macs(x3d))
        sources: list[Iterable[Proposal]] = [kept(supernet, limits)]
        bounded = BoundedSpace(self.space, limits) if self.space else self._scaled_space(x3d, limits, seed)
        if bounded is not None:
            # A random one is always there, however few there are: it says what the others are worth.
            sources += [drawn(bounded, seed), by_entropy(bounded, number)]
        if self.space is None:
            sources += [
                mutants(x3d, limits, seed, "near x3d"),
                along_axes(clip, limits, head, self.depth_factor),
                hand_made(clip, limits, head, self.streams),
            ]
        return list(islice(different_in_turn(sources), number))

    def holds(self, spec: ArchSpec) -> bool:
        """Whether a network is one of those that are asked for: with a space, of that space."""
        if self.space is None:
            return True
        try:
            self.space.encode(spec)
        except VidnasError:
            return False
        return True

    def changed(self, parent: ArchSpec, seed: int) -> Iterator[Proposal]:
        """Networks with one to three decisions of a parent changed; of a space that is given, with one of its own."""
        limits = self.limits.near(network_cost(parent).macs)
        if self.space is None:
            return mutants(parent, limits, seed, "mutant")
        return neighbours(BoundedSpace(self.space, limits), parent, seed, "mutant")

    def scale_macs(self, x3d: ArchSpec) -> float:
        """Multiply-adds round which a space is scaled: the budget's where X3D uses it up, else those of X3D."""
        return self._up_to_budget(float(network_cost(x3d).macs))

    def _up_to_budget(self, macs: float) -> float:
        target = self.limits.targets.get("macs")
        return target if target is not None and macs >= (1 - TOLERANCE) * target else macs

    def _space_at(self, clip: ClipSpec, macs: float) -> Space:
        """The one that is given, or AutoX3D's or Auto-TSNet's, scaled to a cost and a clip.

        Raises:
            VidnasError: no scale of it has the cost.
        """
        if self.space is not None:
            return self.space
        space, _ = auto_space(macs, num_classes=len(self.train.classes), streams=self.streams, clip=clip)
        return space.with_classes(len(self.train.classes), multi_label=self.train.multi_label)

    def _scaled_space(self, x3d: ArchSpec, limits: Limits, seed: int) -> BoundedSpace | None:
        """What is scaled to X3D's cost and clip; None where it has nothing within the budgets."""
        try:
            bounded = BoundedSpace(self._space_at(x3d.clip, self.scale_macs(x3d)), limits)
            next(drawn(bounded, seed), None)
        except VidnasError as error:
            log.info(f"note: no networks of a scaled space: {error}")
            return None
        return bounded
