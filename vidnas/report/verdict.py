"""The result in one honest sentence."""

from vidnas.arch.cost import format_macs
from vidnas.report.data import NetworkResult, RunReport

SIGNIFICANT = 0.05


def verdict(report: RunReport) -> str:
    """Searched network against X3D: accuracies, costs, videos, McNemar's p, and whether that is a difference."""
    searched, x3d = report.searched, report.x3d
    if x3d is None:
        return (
            f"The searched network classifies {_percent(searched.top1)} of {searched.videos} test videos correctly at "
            f"{format_macs(searched.cost.macs)} @ {searched.cost.clip}; it was not compared with X3D."
        )
    figures = (
        f"searched {_percent(searched.top1)} against X3D {_percent(x3d.top1)} top-1 on "
        f"{_videos(searched, x3d)}, at {_costs(searched, x3d)}"
    )
    judged = _judged(report)
    if not searched.costs_as_much_as(x3d):
        return f"No comparison at equal cost: {figures}; {judged}."
    if searched.top1 <= x3d.top1:
        return f"Not better than X3D: {figures}; {judged}."
    lead = f"{100 * (searched.top1 - x3d.top1):.1f} points"
    if report.paired and report.paired.p_value < SIGNIFICANT:
        return f"Better than X3D by {lead}: {figures}; {judged}."
    return f"Ahead of X3D by {lead}, which proves nothing yet: {figures}; {judged}."


def p_text(p: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _judged(report: RunReport) -> str:
    if report.paired is None:
        return "the two were not compared video by video"
    p = report.paired.p_value
    significance = "significant" if p < SIGNIFICANT else "not significant"
    seeds = "one seed" if len(report.seeds) == 1 else f"{len(report.seeds)} seeds"
    return f"the difference is {significance} (exact McNemar {p_text(p)}, {seeds})"


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
