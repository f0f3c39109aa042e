"""What a run may claim: two trained networks are compared, not two architectures."""

from vidnas.arch.cost import format_macs
from vidnas.report.data import NetworkResult, PairedComparison, RunReport

# benchmarks/results/demo_seeds.json
SPREAD = (
    "Another seed alone moves a network by several points, and by more where videos are few: on those of `make demo` "
    "one X3D, trained with eight seeds, gave 33 to 61%."
)


def verdict(report: RunReport) -> str:
    """Searched network and X3D: accuracies, videos, costs, and how many trainings they rest on; no winner."""
    searched, x3d = report.searched, report.x3d
    if x3d is None:
        return (
            f"The searched network {searched.claim} at "
            f"{format_macs(searched.cost.macs)} @ {searched.cost.clip}; it was not compared with X3D."
        )
    equal = "" if searched.costs_as_much_as(x3d) else ", not at equal cost"
    return (
        f"Searched {_percent(searched.headline)}, X3D {_percent(x3d.headline)} {searched.metric} on "
        f"{_videos(searched, x3d)} at {_costs(searched, x3d)}{equal}: {trainings(len(report.seeds))}."
    )


def trainings(seeds: int) -> str:
    """What accuracies rest on, and what does not follow from them."""
    if seeds > 1:
        return f"means of {seeds} trainings each"
    return "one training each, which does not say which architecture is better"


def paired_text(paired: PairedComparison) -> str:
    """The same test videos, one by one, with McNemar's p for what it is."""
    return (
        f"only the searched network is right on {paired.only_searched_right} videos, only X3D on "
        f"{paired.only_x3d_right}; exact McNemar {_p_text(paired.p_value)} compares these two trained networks on "
        "these videos, not the architectures"
    )


def _p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _videos(searched: NetworkResult, x3d: NetworkResult) -> str:
    if searched.videos == x3d.videos:
        return f"{searched.videos} test videos"
    return f"{searched.videos} and {x3d.videos} test videos"


def _costs(searched: NetworkResult, x3d: NetworkResult) -> str:
    ours, theirs = searched.cost, x3d.cost
    if ours.clip == theirs.clip:
        return f"{format_macs(ours.macs)} and {format_macs(theirs.macs)} @ {ours.clip}"
    return f"{format_macs(ours.macs)} @ {ours.clip} and {format_macs(theirs.macs)} @ {theirs.clip}"
