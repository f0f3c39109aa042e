"""What a search will do: space, budget and parts, settled and explained before anything is trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vidnas.arch.cost import format_amount
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.zoo.x3d import x3d_at_cost
from vidnas.base.errors import VidnasError
from vidnas.data.clips import describe_coverage
from vidnas.data.formats import VideoList
from vidnas.pipeline.clip_prior import Prior, clips_by_prior, explain, prior_of
from vidnas.pipeline.clip_probe import Probe, probe_videos
from vidnas.pipeline.lists import Holding, holding, search_parts
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable, analytic
from vidnas.search.space.published.auto import auto_space, nearest_rung
from vidnas.search.space.published.registry import resolve_space
from vidnas.search.space.space import Space


@dataclass(frozen=True)
class SpaceChoice:
    """Where to search.

    Attributes:
        space: `auto` scales AutoX3D's space to the target; `autox3d` is the published one, `auto_tsnet` that of two
            streams; `tiny` has 12 variables; anything else is a space file (YAML or JSON).
        streams: with `auto`; 2 scales Auto-TSNet's space.
        clip: frames x size, as 16x56, or a whole spec; null is the space's own; `auto` chooses by a look at the videos.
        sampling: stride (frames at a fixed distance) or uniform (over the whole video); null: uniform for videos
            shorter than X3D's clips.
        stride: frames of the reference rate between neighbours; null spreads the clip over X3D's span.
        fps: the reference rate.
        macs: with `auto`; multiply-adds that the space is scaled to, null are those of the budget.
    """

    space: str = "auto"
    streams: Literal[1, 2] = 1
    clip: str | ClipSpec | None = None
    sampling: Literal["stride", "uniform"] | None = None
    stride: float | None = None
    fps: float = 30.0
    macs: float | None = None


@dataclass(frozen=True)
class SearchPlan:
    """A search, settled.

    Attributes:
        train: the list.
        space: what is searched.
        budgets: what its architectures may cost.
        ranges: least and greatest cost of the space, for each budget.
        explanation: why this space and clip.
        parts: the list divided.
        latency_file: where the milliseconds of a budget come from.
        probe: what a look at the videos found, where the clip follows from it.
    """

    train: VideoList
    space: Space
    budgets: tuple[Budget, ...]
    ranges: tuple[tuple[float, float], ...]
    explanation: str
    parts: Mapping[str, VideoList]
    latency_file: Path | None = None
    probe: Probe | None = None

    @property
    def targets(self) -> dict[str, float]:
        """By metric."""
        return {budget.costs.metric: budget.target for budget in self.budgets}

    @property
    def budgets_text(self) -> str:
        """As `20.00 MMACs and 1.000 M params`."""
        return " and ".join(format_amount(metric, target) for metric, target in self.targets.items())


class LatencySource(Protocol):
    """Knows what architectures take on a device."""

    @property
    def path(self) -> Path:
        """The file that holds what was measured."""
        ...

    def costs(self, space: Space) -> CostTable:
        """Milliseconds of one clip for every architecture of a space."""
        ...

    def macs_within(self, target_ms: float, space_at: Callable[[float], Space]) -> float:
        """Roughly the multiply-adds that a network may have; `space_at` gives the space for a number of them."""
        ...


def plan_search(
    train: VideoList,
    targets: Mapping[str, float],
    choice: SpaceChoice,
    seed: int,
    latency: LatencySource | None = None,
    probe: Probe | None = None,
) -> SearchPlan:
    """Choose the space for a training list and its budgets, and divide the list.

    Args:
        train: the list.
        targets: by metric (`macs`, `params`, `activations`, `ms`), in the order of importance; the costs of one clip.
        choice: where to search.
        seed: of the division.
        latency: knows milliseconds; needed for a target in ms.
        probe: what an earlier look at the videos found; without one they are looked at where no clip is given.

    Raises:
        VidnasError: a target outside the space's range (both ends are given), a bad clip or space, too few groups.
    """
    held = holding(train)
    clip = chosen_clip(choice, held)
    if choice.space != "auto":
        if choice.streams != 1:
            raise VidnasError(f"--streams goes with --space auto, {choice.space} has streams of its own; leave one out")
        probe = None
        space, explanation = _named_space(train, choice.space, clip)
    else:
        if choice.macs is None and "macs" not in targets and ("ms" not in targets or latency is None):
            raise VidnasError(
                "a budget of parameters or activations does not say how large a clip may be; add --target-macs or "
                "--target-ms, or name a --space"
            )
        probe = None if clip else probe or probe_videos(train, held, seed)
        space, explanation = _auto_space(train, targets, choice, clip, probe, held, latency)
    budgets = [
        Budget(latency.costs(space) if metric == "ms" and latency else CostTable.of(space, analytic(metric)), target)
        for metric, target in targets.items()
    ]
    # Round what X3D may cost within all budgets, some of them may be out of reach for good.
    loose_may_be = choice.macs is not None
    ranges = [_range(one) if loose_may_be and one.target > _range(one)[1] else reachable(one) for one in budgets]
    explanation += f"; a clip is {describe_coverage(space.clip, held.duration_sec)}"
    latency_file = latency.path if latency and "ms" in targets else None
    parts = search_parts(train, seed)
    return SearchPlan(train, space, tuple(budgets), tuple(ranges), explanation, parts, latency_file, probe)


def _named_space(train: VideoList, name: str, clip: ClipSpec | None) -> tuple[Space, str]:
    """A published space or one of a file, and a line that explains it."""
    space = resolve_space(name, clip=clip).with_classes(len(train.classes), multi_label=train.multi_label)
    if space.size == 1:
        raise VidnasError(
            f"space {space.name} has one architecture, so there is nothing to search: put lists in place of values "
            f"(`vidnas space template` says which), or train it with `vidnas train --arch {name}`"
        )
    return space, f"space {space.name}, clip {space.clip}, {space.size:.1e} architectures"


def _auto_space(
    train: VideoList,
    targets: Mapping[str, float],
    choice: SpaceChoice,
    clip: ClipSpec | None,
    probe: Probe | None,
    held: Holding,
    latency: LatencySource | None,
) -> tuple[Space, str]:
    """The space scaled to a target in multiply-adds or ms at a clip, given or by what a probe found, and a line."""

    def scaled(macs: float) -> tuple[Space, str]:
        if clip is None and probe is not None:
            space, told = _at_prior_clip(macs, len(train.classes), choice.streams, prior_of(probe), held)
        else:
            space, told = auto_space(macs, num_classes=len(train.classes), streams=choice.streams, clip=clip)
        return space.with_classes(len(train.classes), multi_label=train.multi_label), told

    macs = choice.macs or targets.get("macs")
    if macs is not None:
        return scaled(macs)
    assert latency is not None
    return scaled(latency.macs_within(targets["ms"], lambda macs: scaled(macs)[0]))


def _at_prior_clip(macs: float, num_classes: int, streams: int, prior: Prior, held: Holding) -> tuple[Space, str]:
    """At the first clip of those that a prior prefers at which a scaled space reaches the cost, else at the rung's."""
    for clip in clips_by_prior(prior, macs, held):
        try:
            origin = "by a look at the videos"
            space, told = auto_space(macs, num_classes=num_classes, streams=streams, clip=clip, origin=origin)
            break
        except VidnasError:
            continue
    else:
        space, told = auto_space(
            macs,
            num_classes=num_classes,
            streams=streams,
            max_frames=held.frames,
            max_size=held.short_side,
            video_sec=held.duration_sec,
        )
    return space, f"{told}; {explain(prior, space.clip)}"


def reachable(budget: Budget) -> tuple[float, float]:
    """The cheapest and the dearest cost of a space, after a look whether the target is between them.

    Raises:
        VidnasError: it is not; both ends are given.
    """
    (least, most), target = _range(budget), budget.target
    if not least <= target <= most:
        assert isinstance(budget.costs, CostTable)
        space, metric = budget.costs.space, budget.costs.metric
        raise VidnasError(
            f"target {format_amount(metric, target)} is outside the space {space.name}, which spans "
            f"{format_amount(metric, least)} to {format_amount(metric, most)} @ {space.clip}; change the target, the "
            "clip or the space"
        )
    return least, most


def _range(budget: Budget) -> tuple[float, float]:
    assert isinstance(budget.costs, CostTable)
    return budget.costs.cheapest()[1], budget.costs.dearest()[1]


def x3d_baseline(searched: ArchSpec, macs: float) -> ArchSpec:
    """X3D at the searched network's cost: same clip, same head, depth of the nearest preset, width solved.

    Raises:
        VidnasError: no width meets the cost within 1%.
    """
    depth_factor = nearest_rung(macs).depth_factor
    return x3d_at_cost("x3d_equal_macs", searched.clip, macs, depth_factor=depth_factor, head=searched.head)


def chosen_clip(choice: SpaceChoice, held: Holding) -> ClipSpec | None:
    """The clip that the settings give, or None where the space chooses it."""
    if choice.clip is None:
        if choice.sampling or choice.stride:
            raise VidnasError("--sampling and --stride need --clip, as 16x56")
        return None
    if isinstance(choice.clip, ClipSpec):
        return choice.clip
    sized = ClipSpec(frames=1, size=1, fps=choice.fps).resized(choice.clip)
    span = 80 / 30
    sampling = choice.sampling or ("uniform" if held.duration_sec < span else "stride")
    stride = choice.stride or span * choice.fps / sized.frames
    return sized.model_copy(update={"sampling": sampling, "stride": stride if sampling == "stride" else 1.0})
