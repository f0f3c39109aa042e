"""What last trainings say of races: a row per seed, and the mean of each role."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from statistics import mean, stdev, variance
from typing import Any, NamedTuple

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.search.race import paired

ROLES = (
    "winner", "first_on_folds", "x3d", "x3d_same_clip", "x3d_auto_clip", "random", "entropy", "supernet", "two_streams",
    "progressive",
)  # fmt: skip
# Seeds of the last trainings of a race, which follow each other: those of race 1 are 2 and 3.
PAIR = 2


class Entry(NamedTuple):
    """A network that is trained at the end: in which role, from which seed, and where it came from."""

    role: str
    seed: int
    spec: ArchSpec
    source: str

    @property
    def key(self) -> str:
        return f"{self.spec.content_hash}_{self.seed}"


def seed_rows(found: list[Entry], trained: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per seed: its networks by role, several random ones."""
    rows: dict[int, dict[str, Any]] = {}
    for entry in found:
        if entry.key not in trained:
            continue
        cost = network_cost(entry.spec)
        one = {
            "top1": trained[entry.key]["top1"],
            "macs": cost.macs,
            "clip": f"{cost.clip} {entry.spec.clip.sampling}",
            "source": entry.source,
            "network": entry.spec.content_hash,
        }
        row = rows.setdefault(entry.seed, {"seed": entry.seed, "random": []})
        if entry.role == "random":
            row["random"].append(one)
        else:
            row[entry.role] = one
    return [rows[seed] for seed in sorted(rows)]


def same_order(races: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Of pairs of networks that were judged in the same two rounds of a race, how many came in the same order in both.

    Half of them where chance decides, or fewer: whoever is in a later round was among the best of the one before.
    """
    told = {"pairs": 0, "same": 0}
    for first, second in _pairs_of_rounds(races):
        for a, b in combinations(first.keys() & second.keys(), 2):
            gains = [judged[a] - judged[b] for judged in (first, second)]
            if all(gains):
                told["pairs"] += 1
                told["same"] += gains[0] * gains[1] > 0
    return told


def round_deviation(races: Iterable[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """How far the difference of two networks in one round is from the true one, as a standard deviation in points.

    Two networks that are equal in truth differ by so much in a round. From how unlike the changes of networks from one
    round to another are, pooled over all pairs of rounds; None without two networks in the same two rounds. Pairs of
    three rounds or more have rounds in common, so not all comparisons are independent.
    """
    squares, comparisons = 0.0, 0
    for first, second in _pairs_of_rounds(races):
        changes = [100 * (second[network] - first[network]) for network in first.keys() & second.keys()]
        if len(changes) > 1:
            squares += (len(changes) - 1) * variance(changes)
            comparisons += len(changes) - 1
    return {"points": (squares / comparisons) ** 0.5 if comparisons else None, "comparisons": comparisons}


def _pairs_of_rounds(races: Iterable[Mapping[str, Any]]) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    """What each network reached in two rounds of the same race."""
    for race in races:
        rounds: dict[tuple[int, int], dict[str, float]] = {}
        for trial in race["trials"]:
            if trial["headline"] is not None:
                rounds.setdefault((trial["fold"], trial["seed"]), {})[trial["network"]] = trial["headline"]
        yield from combinations(rounds.values(), 2)


def table(record: Mapping[str, Any]) -> dict[str, Any]:
    """Mean of each role, and by how many points the winner is ahead, with the standard error over races.

    The seeds of a race train the same winner, which was chosen once, so they are averaged first.
    """
    rows = record["seeds"]

    def values(row: Mapping[str, Any], role: str) -> list[float]:
        found = row.get(role) or []
        return [one["top1"] for one in (found if isinstance(found, list) else [found])]

    told = {}
    for role in ROLES:
        reached = [value for row in rows for value in values(row, role)]
        if not reached:
            continue
        both = [row for row in rows if values(row, role) and values(row, "winner")]
        by_race: dict[int, list[float]] = {}
        for row in both:
            gain = 100 * (values(row, "winner")[0] - mean(values(row, role)))
            by_race.setdefault(row["seed"] // PAIR, []).append(gain)
        ahead = paired([mean(gains) for gains in by_race.values()]) if len(by_race) > 1 else None
        told[role] = {
            "top1": mean(reached),
            "deviation": stdev(reached) if len(reached) > 1 else None,
            "trainings": len(reached),
            "winner_ahead": ahead
            and {
                "mean": ahead.mean,
                "standard_error": ahead.error,
                "races": len(by_race),
                "pairs": len(both),
            },
        }
    return told
