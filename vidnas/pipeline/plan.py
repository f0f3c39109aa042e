"""What a search will do: space, budget and parts, settled and explained before anything is trained."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vidnas.arch.cost import format_macs
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.zoo.x3d import x3d_at_cost
from vidnas.data.formats import VideoList
from vidnas.errors import VidnasError
from vidnas.pipeline.lists import Holding, holding, search_parts
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space import Space
from vidnas.search.spaces.auto import auto_space, nearest_rung
from vidnas.search.spaces.registry import resolve_space

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


@dataclass(frozen=True)
class SpaceChoice:
    """Where to search.

    Attributes:
        space: `auto` scales AutoX3D's space to the target; `autox3d` is the published one; `tiny` has 12 variables;
            anything else is a space file.
        clip: frames x size, as 16x56; null lets the space choose.
        sampling: stride (frames at a fixed distance) or uniform (over the whole video); null: uniform for videos
            shorter than X3D's clips.
        stride: frames of the reference rate between neighbours; null spreads the clip over X3D's span.
        fps: the reference rate.
    """

    space: str = "auto"
    clip: str | None = None
    sampling: Literal["stride", "uniform"] | None = None
    stride: float | None = None
    fps: float = 30.0


@dataclass(frozen=True)
class SearchPlan:
    """A search, settled: `explanation` says why this space and clip, `macs_range` what it spans."""

    train: VideoList
    space: Space
    target_macs: float
    explanation: str
    macs_range: tuple[float, float]
    parts: Mapping[str, VideoList]
    budgets: tuple[Budget, ...]


def parse_macs(text: str) -> float:
    """`50M`, `0.5G`, `50000000`.

    Raises:
        VidnasError: not a cost.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(?:e(\d+))?\s*([kKmMgG]?)", text.strip())
    value = float(match[1]) * 10 ** int(match[2] or 0) * _UNITS[match[3].lower()] if match else 0.0
    if value <= 0:
        raise VidnasError(f"target {text!r}: write multiply-adds of one clip, as 50M or 0.5G")
    return value


def plan_search(train: VideoList, target_macs: float, choice: SpaceChoice, seed: int) -> SearchPlan:
    """Choose the space for a training list and a budget, and divide the list.

    Raises:
        VidnasError: a target outside the space's range (both ends are given), a bad clip or space, too few groups.
    """
    classes = len(train.classes)
    held = holding(train)
    clip = _clip(choice, held)
    if choice.space == "auto":
        space, explanation = auto_space(
            target_macs,
            num_classes=classes,
            clip=clip,
            max_frames=held.frames,
            max_size=held.short_side,
            video_sec=held.duration_sec,
        )
    else:
        space = resolve_space(choice.space, clip=clip, num_classes=classes)
        explanation = f"space {space.name}, clip {space.clip}, {space.size:.1e} architectures"
    table = CostTable.of(space)
    least, most = reachable(table, target_macs)
    if space.clip.sampling == "stride" and space.clip.span_sec > held.duration_sec:
        explanation += (
            f"; its {space.clip.span_sec:.1f} s are longer than most videos ({held.duration_sec:.1f} s), which repeat "
            "their last frame"
        )
    return SearchPlan(
        train, space, target_macs, explanation, (least, most), search_parts(train, seed), (Budget(table, target_macs),)
    )


def reachable(table: CostTable, target_macs: float) -> tuple[float, float]:
    """The cheapest and the dearest cost of a space, after a look whether the target is between them.

    Raises:
        VidnasError: it is not; both ends are given.
    """
    space = table.space
    least, most = table.cheapest()[1], table.dearest()[1]
    if not least <= target_macs <= most:
        raise VidnasError(
            f"target {format_macs(target_macs)} is outside the space {space.name}, which spans {format_macs(least)} to "
            f"{format_macs(most)} @ {space.clip}; change the target, the clip or the space"
        )
    return least, most


def x3d_baseline(searched: ArchSpec, macs: float) -> ArchSpec:
    """X3D at the searched network's cost: same clip, same head, depth of the nearest preset, width solved.

    Raises:
        VidnasError: no width meets the cost within 1%.
    """
    depth_factor = nearest_rung(macs).depth_factor
    return x3d_at_cost("x3d_equal_macs", searched.clip, macs, depth_factor=depth_factor, head=searched.head)


def _clip(choice: SpaceChoice, held: Holding) -> ClipSpec | None:
    """The clip that the settings give, or None where the space chooses it."""
    if choice.clip is None:
        if choice.sampling or choice.stride:
            raise VidnasError("space.sampling and space.stride need space.clip (as in --space.clip 16x56)")
        return None
    sized = ClipSpec(frames=1, size=1, fps=choice.fps).resized(choice.clip)
    span = 80 / 30
    sampling = choice.sampling or ("uniform" if held.duration_sec < span else "stride")
    stride = choice.stride or span * choice.fps / sized.frames
    return sized.model_copy(update={"sampling": sampling, "stride": stride if sampling == "stride" else 1.0})
