"""What is raced for on a list of videos, and who may start."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from vidnas.arch.cost import format_macs
from vidnas.arch.spec import ClassificationSpec, ClipSpec, HeadSpec, head_for
from vidnas.base.errors import VidnasError
from vidnas.base.log import log
from vidnas.data.video_list import VideoList
from vidnas.pipeline.lists import Holding
from vidnas.search.clips import clip_proposals
from vidnas.search.proposals import (
    Proposal,
    along_axes,
    by_entropy,
    different_in_turn,
    drawn,
    hand_made,
    mutants,
    x3d_at,
)
from vidnas.search.space.published.auto import auto_space, nearest_rung
from vidnas.search.space.space import Space


@dataclass(frozen=True)
class Course:
    """What a race is run on.

    Attributes:
        train: the training list, all that a race sees.
        held: what its videos hold.
        macs: the budget.
        clip: where it is given.
        space: where other networks than X3D are to come from, at its clip; None is from anywhere.
        streams: of the networks of a scaled space, where they may come from anywhere.
        check: refuses spaces in which the search that is to follow cannot be made; None takes all.
    """

    train: VideoList
    held: Holding
    macs: float
    clip: ClipSpec | None = None
    space: Space | None = None
    streams: Literal[1, 2] = 1
    check: Callable[[Space], None] | None = None

    @property
    def head(self) -> HeadSpec:
        """Of every network in the race."""
        return head_for(ClassificationSpec(), len(self.train.classes), multi_label=self.train.multi_label)

    @property
    def depth_factor(self) -> float:
        """Of X3D at this cost."""
        return nearest_rung(self.macs).depth_factor

    def x3d(self, clip: ClipSpec) -> Proposal:
        """X3D at this cost and a clip."""
        return Proposal(x3d_at(clip, self.macs, self.head, self.depth_factor), "x3d")

    def x3d_at_all(self, clips: Sequence[ClipSpec]) -> list[Proposal]:
        """X3D at each clip at which some width of it has the cost, and which the networks asked for can see."""
        found = []
        for clip in clips:
            try:
                self.check_clip(clip)
                found.append(self.x3d(clip))
            except VidnasError:
                continue
        return found

    def check_clip(self, clip: ClipSpec) -> None:
        """Make sure that there are networks of the space, or of so many streams, as they are asked for.

        Raises:
            VidnasError: not at this clip.
        """
        space = self._scaled_space(clip) if self.space is None and self.streams > 1 else self.space
        if space is not None and self.check is not None:
            self.check(space)

    def clips(self) -> list[Proposal]:
        """What the race of clips starts with."""
        if self.clip is not None:
            self.check_clip(self.clip)
            return [self.x3d(self.clip)]
        clips = clip_proposals(self.macs, self.held.frames, self.held.short_side, self.held.duration_sec)
        found = self.x3d_at_all(clips)
        if not found:
            if clips:
                self.check_clip(clips[-1])
            raise VidnasError(
                f"no X3D network costs {format_macs(self.macs)} at any clip that these videos hold; give another "
                "target, or a clip (--clip 16x56)"
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
        macs, head = self.macs, self.head
        x3d = self.x3d(clip).spec
        sources: list[Iterable[Proposal]] = [supernet]
        try:
            space = self.space or self._scaled_space(clip)
            sources += [by_entropy(space, macs, number), drawn(space, macs, seed)]
        except VidnasError as error:
            log.info(f"note: no networks of a scaled space: {error}")
        if self.space is None:
            sources += [
                mutants(x3d, macs, seed, "near x3d"),
                along_axes(clip, macs, head, self.depth_factor),
                hand_made(clip, macs, head),
            ]
        return list(islice(different_in_turn(sources), number))

    def _scaled_space(self, clip: ClipSpec) -> Space:
        """AutoX3D's, or Auto-TSNet's, scaled to this cost and clip.

        Raises:
            VidnasError: no scale of it has the cost.
        """
        space, _ = auto_space(self.macs, num_classes=len(self.train.classes), streams=self.streams, clip=clip)
        return space.with_classes(len(self.train.classes), multi_label=self.train.multi_label)
