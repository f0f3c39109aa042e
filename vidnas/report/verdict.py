"""What a run may claim: two trained networks are compared, not two architectures."""

from math import isfinite
from statistics import mean, stdev

from vidnas.arch.cost import format_macs, network_cost
from vidnas.report.data import NetworkResult, PairedComparison, RaceSummary, RunReport, SearchReport
from vidnas.report.html import plural

# From so many pairs of trainings on their difference is told, and with it which architecture is better.
FEWEST_PAIRS = 3
# benchmarks/results/demo_seeds.json
SPREAD = (
    "Another seed alone moves a network by several points, and by more where trainings are short: on eight generated "
    "motions one X3D, trained for 750 steps with eight seeds, gave 33 to 61%."
)


def verdict(report: RunReport) -> str:
    """Network found and X3D: figures, videos, costs, and how many trainings they rest on."""
    found, x3d = report.searched, report.x3d
    cost = f"{format_macs(found.cost.macs)} @ {found.cost.clip}"
    if x3d is None and report.race is not None:
        race = report.race
        told = f"of {plural(len(race.networks) - 1, 'other network')} in the race the first was not clearly ahead of it"
        if not race.winner.yardstick:
            told = (
                f"at the clip that had come second, it did better on the folds than X3D and others at "
                f"{race.yardstick.clip}; at its own clip it was raced against none"
            )
        return f"X3D is the answer: {told}. It {_claim(found, len(report.seeds))} at {cost}."
    if x3d is None:
        return f"The searched network {found.claim} at {cost}; it was not compared with X3D."
    equal = "" if found.costs_as_much_as(x3d) else ", not at equal multiply-adds"
    return (
        f"Searched {_percent(found.mean)}, X3D {_percent(x3d.mean)} {found.metric} on "
        f"{_videos(found, x3d)} at {_costs(found, x3d)}{equal}: {trainings(len(report.seeds))}"
        f"{_difference(found, x3d)}."
    )


def search_verdict(report: SearchReport) -> str:
    """What a search has come to, and what it does not say."""
    cost = network_cost(report.spec)
    network = f"a network of {format_macs(cost.macs)} @ {cost.clip}"
    if report.race is not None:
        return f"The race of what was proposed chose {network}, from the source {report.race.winner.source}."
    return (
        f"The search derived {network}. It is not trained: the supernet's weights are shared, and say little of how it "
        "will do with its own."
    )


def trainings(seeds: int) -> str:
    """What accuracies rest on, and what does not follow from them."""
    if seeds == 1:
        return "one training each, which does not say which architecture is better"
    means = f"means of {seeds} trainings each, in pairs from the same seeds"
    return means if seeds >= FEWEST_PAIRS else f"{means}; too few to say which architecture is better"


def race_text(race: RaceSummary) -> str:
    """How the winner came about, and how random networks did."""
    winner, lead = race.winner, race.lead
    failed = f" ({plural(race.failed, 'network')} left as a training failed)" if race.failed else ""
    told = f"{race.trials} trainings{failed} on folds of the training list; the test list had no part in it. "
    told += f"{race.equal} " if race.equal else ""
    if lead is None and winner.yardstick:
        told += "X3D had the highest mean of those that ran all rounds."
    elif lead is None:
        told += f"X3D's training failed, so {winner.name} from the source {winner.source} was compared with nothing."
    else:
        error = f", standard error {lead.error:.1f}" if isfinite(lead.error) else ""
        over = f"over {plural(lead.rounds, 'round')}{error}"
        ahead = f"{lead.points:+.1f} points against X3D at {race.yardstick.clip} {over}"
        if race.yardstick.failed:
            ahead += ", before a training of X3D failed"
        if winner.yardstick:
            told += f"First was {race.networks[0].name} from the source {race.networks[0].source}: {ahead}. "
            told += "The best of many looks better there than it is, so without a lead of a standard error X3D stays."
        else:
            told += f"The winner came from the source {winner.source}: {ahead}; the best of many looks better there "
            told += "than it is."
    if race.random:
        told += f" {plural(len(race.random), 'random network')} of the space: {random_spread(race)} in the first round."
    if race.early:
        told += f" {race.early[0].upper()}{race.early[1:]}; none was stopped early."
    return told


def random_spread(race: RaceSummary) -> str:
    """Mean and deviation of the random networks, `66.5 ± 5.3%`; of one what it reached."""
    values = [100 * value for value in race.random]
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{deviation}%"


def _claim(found: NetworkResult, seeds: int) -> str:
    if seeds == 1:
        return f"{found.claim} (one training)"
    return f"reaches {_percent(found.mean)} {found.metric} on {found.videos} test videos (mean of {seeds} trainings)"


def _difference(found: NetworkResult, x3d: NetworkResult) -> str:
    """By how much it is ahead, where there are pairs enough."""
    ahead = [100 * (own - theirs) for own, theirs in zip(found.of_seeds, x3d.of_seeds, strict=True)]
    if len(ahead) < FEWEST_PAIRS:
        return ""
    return f"; {mean(ahead):+.1f} points, standard error {stdev(ahead) / len(ahead) ** 0.5:.1f}"


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
