"""What one search holds, as one file: baselines, family, front and rank correlation of a run folder.

    python benchmarks/family.py RUN --out benchmarks/results/family.json

Gathers what `vidnas run --baselines random,evolution`, `vidnas derive`, `vidnas pareto` and `vidnas rank` have left
there; `make family` runs them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from machine import save


def gather(run: Path) -> dict[str, Any]:
    def read(name: str) -> Any:
        return json.loads((run / name).read_text())

    search, front, ranking = read("search/result.json"), read("pareto.json"), read("rank.json")
    evaluations = len((run / "search/archive.jsonl").read_text().splitlines())
    methods = {"search": {**search, "evaluations": evaluations}, **search["baselines"]}
    return {
        "targets": search["targets"],
        "clip": search["clip"],
        "holdout_videos": front["holdout_videos"],
        "methods": {
            name: {key: found[key] for key in ("evaluations", "architectures", "batches") if key in found}
            | {key: found["candidates"][0][key] for key in ("cost", "holdout_log_likelihood", "holdout_top1")}
            for name, found in methods.items()
        },
        "family": read("derived/family.json"),
        "front": [
            {key: point[key] for key in ("cost", "top1", "log_likelihood", "source")}
            for point in front["architectures"]
            if point["on_front"]
        ],
        "ranking": {key: ranking[key] for key in ("settings", "kendall", "networks")},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    save(options.out, "make family", gather(options.run))
