"""UTD-MHAD with its cross-subject split: the network that `vidnas run` finds against X3D at equal cost.

    make utd UTD=DIR          one seed
    make utd-seeds UTD=DIR    three seeds, and three random networks of equal cost for each

DIR holds train.csv and test.csv (path and label per line) and classes.txt. A killed run goes on where it was.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.engine.run.runtime import versions
from vidnas.engine.trials.job import TrialJob, run_trial
from vidnas.pipeline.finished_search import open_search
from vidnas.search.costs import CostTable
from vidnas.search.space.space import Space

RECIPE = Path(__file__).with_name("utd.yaml")
# Random networks cost at most this much more or less than the searched one.
TOLERANCE = 0.01


def random_networks(space: Space, macs: float, number: int, seed: int) -> Iterator[ArchSpec]:
    """Uniformly drawn architectures of the space whose cost lies within 1% of `macs`."""
    table, rng = CostTable.of(space), random.Random(seed)
    while number:
        choice = tuple(rng.randrange(size) for size in space.sizes)
        if abs(table.cost(choice) / macs - 1) <= TOLERANCE:
            number -= 1
            yield space.decode(choice)


def one_seed(data: str, out: Path, seed: int, randoms: int) -> dict[str, Any]:
    """Run, then train and test random networks in the same way."""
    words = ["run", "--method", "supernet", "--config", str(RECIPE), "--data", data, "--out", str(out), "--resume"]
    words += ["--search.seed", str(seed), "--train.seed", str(seed)]
    subprocess.run([sys.executable, "-m", "vidnas", *words], check=True)
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    result["seed"] = seed
    result["random"] = []
    if randoms:
        finished = open_search(out)
        searched = finished.spec(finished.chosen, "searched")
        specs = random_networks(finished.space, network_cost(searched).macs, randoms, seed)
        for i, spec in enumerate(specs):
            lists, made = finished.lists, finished.job
            job = TrialJob(spec, out / f"random_{i}", lists.train, lists.test, made.training, made.data)
            result["random"].append({"top1": run_trial(job).tested().headline, "macs": network_cost(spec).macs})
    return result


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    results = [one_seed(options.data, options.out / f"seed_{seed}", seed, options.random) for seed in options.seeds]
    several = len(results) > 1
    record = {
        "command": f"make {'utd-seeds' if several else 'utd'} UTD=DIR",
        "date": date.today().isoformat(),
        "versions": versions(),
        "recipe": RECIPE.read_text(),
        "results": results,
        "searched_top1": spread([result["searched"]["top1"] for result in results]),
        "x3d_top1": spread([result["x3d"]["top1"] for result in results]),
    }
    if options.random:
        record["random_top1"] = spread([entry["top1"] for result in results for entry in result["random"]])
    options.result.write_text(json.dumps(record, indent=2) + "\n")
    print(f"results: {options.result}")


if __name__ == "__main__":
    main()
