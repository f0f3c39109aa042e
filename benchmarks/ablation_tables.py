"""The tables of the ablations of two streams: what a network is in them, and means over seeds."""

from statistics import mean, stdev
from typing import Any

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec, StreamSpec
from vidnas.search.race import paired

TABLES = (4, 7, 8, 6, 9)


def described(spec: ArchSpec) -> dict[str, Any]:
    """Cost and what the tables count."""
    cost = network_cost(spec)

    def attention(stream: StreamSpec) -> list[int]:
        return [g for g, group in enumerate(stream.groups) if group.attention]

    return {
        "macs": cost.macs,
        "params": cost.params,
        "fusions": {str(fusion.group): fusion.kind for fusion in spec.fusions},
        "attention": [attention(stream) for stream in spec.streams],
        "network": spec.content_hash,
    }


def summary(entries: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Per table and name the means over the seeds, and how far it is ahead of the table's first, in points."""
    told: dict[str, list[dict[str, Any]]] = {}
    for table in TABLES:
        own = sorted((entry for entry in entries if entry["table"] == table), key=lambda entry: entry["place"])
        names = list(dict.fromkeys(entry["name"] for entry in own))
        by_name = {name: {one["seed"]: one["top1"] for one in own if one["name"] == name} for name in names}
        for name in names:
            first, top1 = by_name[names[0]], by_name[name]
            gains = [100 * (top1[seed] - first[seed]) for seed in top1 if seed in first]
            ahead = paired(gains) if len(gains) > 1 and name != names[0] else None
            values = [*top1.values()]
            searches = [one for one in own if one["name"] == name and "sec" in one]
            told.setdefault(f"table {table}", []).append(
                {
                    "name": name,
                    "top1": mean(values),
                    "deviation": stdev(values) if len(values) > 1 else None,
                    "ahead_of_first": None if name == names[0] or not gains else mean(gains),
                    "standard_error": ahead.error if ahead else None,
                    "seeds": len(values),
                    "macs": mean(one["macs"] for one in own if one["name"] == name),
                    **({"search": _means(searches)} if searches else {}),
                }
            )
    return told


def _means(searches: list[dict[str, Any]]) -> dict[str, float]:
    return {key: mean(one[key] for one in searches) for key in ("sec", "entropy", "entropy_share")}
