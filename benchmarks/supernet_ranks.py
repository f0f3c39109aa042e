"""When a supernet ranks networks: its scores against trainings of their own, by its length and by how it is trained.

    make supernet-ranks DATA=DIR OPTIONS="--macs 20e6 --clip 16x56 --group-regex REGEX"

Random networks of equal cost from AutoX3D's space, scaled to the clip, or with `--space x3d_kernels` from X3D with the
kernels of its groups open, are trained to the end with the default recipe on the training list without a holdout, each
from two seeds, and judged on the holdout: how far the two seeds agree is the limit of any judge. Supernets of several
lengths, their weights alone, judge the same networks on the same videos: all of them, and as few as a step on alpha
sees. The test list is not read. Hours; given again it goes on where it was stopped, also from the result file alone.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from going_on import hold_to, settings
from machine import command_of

from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel
from vidnas.arch.zoo.x3d import x3d_at_cost
from vidnas.base.files import write_json
from vidnas.base.log import notes_only
from vidnas.data.datamodule import DataConfig
from vidnas.data.formats import VideoList, load_dataset
from vidnas.data.processes import cores, run_apart
from vidnas.engine.run.runtime import versions
from vidnas.engine.supernet.candidates import candidates_from
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.supernet.folder import SearchFolder
from vidnas.engine.supernet.search import run_search
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import GRACE_SEC, WorkerProcesses, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.plan import SearchPlan, SpaceChoice, plan_search
from vidnas.pipeline.rank import without
from vidnas.pipeline.search import judge_on_holdout, new_search, prepare_process
from vidnas.search.limits import BoundedSpace, Limits
from vidnas.search.proposals import drawn
from vidnas.search.rank_correlation import kendall
from vidnas.search.space.around import kernels_around
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.space import Choice

MODES: dict[str, Mapping[str, Any]] = {
    "one architecture a step": {},
    "four architectures a step": {"weight_samples": 4},
    "sandwich": {"weight_mode": "sandwich", "weight_samples": 2},
}
# Alpha comes in at the last step, and does not move.
SUPERNET = SearchConfig(lr=0.003, checkpoint_every_steps=500, warmup_fraction=1 - 1e-9, alpha_lr=1e-12)
LENGTHS = (1000, 2000, 5000, 9000, 20_000, 40_000)
SEEDS = 2
KERNELS = tuple(Kernel(t=t, s=s) for t in (1, 3, 5) for s in (3, 5))
# Sets of videos as small as a step on alpha scores architectures on.
FEW_VIDEOS, FEW_SETS = 8, 10


def space_choice(options: argparse.Namespace, clip: ClipSpec, classes: int) -> SpaceChoice:
    """Where the networks are from."""
    if options.space == "auto" and not options.head:
        return SpaceChoice(clip=clip)
    if options.space == "auto":
        space, _ = auto_space(options.macs, num_classes=classes, clip=clip)
    else:
        head = ClassificationSpec(num_classes=classes)
        space = kernels_around(x3d_at_cost("x3d", clip, options.macs, head=head), KERNELS)
    if options.head:
        space = space.model_copy(update={"head": space.head.model_copy(update={"hidden": options.head})})
    path = options.work / options.name / f"{named(options)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(space.to_json())
    return SpaceChoice(space=str(path))


def named(options: argparse.Namespace) -> str:
    """The space, as its files are called."""
    return f"{options.space}_head_{options.head}" if options.head else options.space


def train_alone(
    plan: SearchPlan,
    choices: Sequence[Choice],
    data: DataConfig,
    training: TrainConfig,
    options: argparse.Namespace,
    record: dict[str, Any],
) -> None:
    """Train what has no result in the record yet."""
    holdout = plan.parts["holdout"]
    videos = without(plan.train, holdout)
    done = record["alone"]
    jobs, keys = [], []
    for seed in range(SEEDS):
        for choice in choices:
            spec = plan.space.decode(choice)
            key = f"{spec.content_hash}_{seed}"
            if key not in done:
                folder = options.work / options.name / named(options) / "alone" / key
                jobs.append(TrialJob(spec, folder, videos, holdout, replace(training, seed=seed), data))
                keys.append(key)
    record["training_steps"] = training.steps

    def note(place: int, trial: TrialResult) -> None:
        test = trial.tested()
        sec = trial.figures.get("train_sec")
        done[keys[place]] = {"top1": test.headline, "log_likelihood": test.log_likelihood, "sec": sec}
        save(options.out, record)
        print(f"alone {len(done)}/{SEEDS * len(choices)}: {test.headline:.1%}", flush=True)

    run_jobs(WorkerProcesses(options.workers, 1), jobs, note)


class Supernet(NamedTuple):
    """One that is to be trained and to judge."""

    mode: str
    steps: int
    plan: SearchPlan
    choices: Sequence[Choice]
    data: DataConfig
    work: Path


def judged_by_supernet(job: Supernet) -> dict[str, Any]:
    """Scores of the networks on a supernet of so many steps on the weights, alpha never moved; on one thread."""
    plan = job.plan
    config = prepare_process(replace(SUPERNET, steps=job.steps, **MODES[job.mode]), threads=1)
    parts = SearchData(plan.train, plan.parts, plan.space.clip, job.data, config)
    schedule = config.schedule(parts.steps_per_epoch)
    search = new_search(plan, schedule, config)
    folder = SearchFolder(job.work / f"supernet_{job.mode.replace(' ', '_')}_{job.steps}")
    folder.root.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    identity = {"mode": job.mode, "steps": job.steps}
    with notes_only():
        run_search(
            search, parts.weights_batches(schedule), parts.alpha_batches(schedule), folder, identity, resume=True
        )
    sec = time.perf_counter() - start
    found = candidates_from(job.choices, search.alpha.distribution, plan.budgets)

    def judged(holdout: VideoList) -> list[tuple[float, float]]:
        of = SearchData(plan.train, {**plan.parts, "holdout": holdout}, plan.space.clip, job.data, config)
        by_choice = {one.derived.choice: one for one in judge_on_holdout(search, found, of)}
        return [(by_choice[choice].log_likelihood, by_choice[choice].headline) for choice in job.choices]

    holdout = plan.parts["holdout"]
    draws = np.random.default_rng(0)
    few = [sorted(draws.choice(len(holdout), FEW_VIDEOS, replace=False).tolist()) for _ in range(FEW_SETS)]
    likelihoods, top1 = zip(*judged(holdout), strict=True)
    return {
        "mode": job.mode,
        "steps": job.steps,
        "sec": sec,
        "log_likelihood": likelihoods,
        "top1": top1,
        "few": [[likelihood for likelihood, _ in judged(holdout.subset(places))] for places in few],
    }


def table(record: Mapping[str, Any], networks: Sequence[str]) -> list[dict[str, Any]]:
    """Per supernet its rank correlation with the means over the seeds; before them that of seed with seed.

    With top-1, of which many networks may have the same, and with the log-likelihood. A supernet judges by its own
    log-likelihood.
    """

    def by_seed(figure: str) -> list[list[float]]:
        return [[record["alone"][f"{name}_{seed}"][figure] for name in networks] for seed in range(SEEDS)]

    def means(figure: str) -> list[float]:
        return [mean(values) for values in zip(*by_seed(figure), strict=True)]

    first, second = by_seed("top1")
    found = kendall(first, second)
    rows: list[dict[str, Any]] = [
        {
            "judge": "another seed",
            "steps": record["training_steps"],
            "tau": found.tau,
            "tau_likelihood": kendall(*by_seed("log_likelihood")).tau,
            "null_standard_error": found.null_standard_error,
            "mean_top1": mean(means("top1")),
        }
    ]
    for one in record["supernets"]:
        rows.append(
            {
                "judge": one["mode"],
                "steps": one["steps"],
                "tau": kendall(one["log_likelihood"], means("top1")).tau,
                "tau_likelihood": kendall(one["log_likelihood"], means("log_likelihood")).tau,
                "tau_of_few": mean(kendall(scores, means("log_likelihood")).tau for scores in one["few"]),
                "null_standard_error": found.null_standard_error,
                "mean_top1": mean(one["top1"]),
            }
        )
    return rows


def in_words(row: Mapping[str, Any]) -> str:
    """A row of the table as a line."""
    return (
        f"{row['judge']:<26} {row['steps']:>6} steps  tau {row['tau']:+.2f} with top-1, {row['tau_likelihood']:+.2f} "
        f"with log-likelihood, mean top-1 {row['mean_top1']:.1%}"
    )


def save(path: Path, record: Mapping[str, Any]) -> None:
    """Write the result as far as it is known."""
    write_json(path, {**record, "date": date.today().isoformat(), "versions": versions()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", default="generated", help="of the list, in the work folder")
    parser.add_argument("--group-regex")
    parser.add_argument("--macs", type=float, default=4e6)
    parser.add_argument("--clip", default="8x40")
    parser.add_argument("--jitter", type=float, nargs=2, default=(1.0, 1.15))
    parser.add_argument("--space", choices=("auto", "x3d_kernels"), default="auto")
    parser.add_argument("--head", type=int, help="its hidden channels; X3D's are 2048")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--steps", type=int, help="of every training; default by rule")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--modes", choices=MODES, nargs="+", default=list(MODES))
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    command = command_of("supernet-ranks DATA=DIR", parser, options, apart=("data", "work", "workers"))
    data = DataConfig(options.data, group_regex=options.group_regex, jitter=tuple(options.jitter), workers=0)
    train = load_dataset(options.data, group_regex=options.group_regex).train
    clip = ClipSpec(frames=1, size=1, sampling="uniform").resized(options.clip)
    plan = plan_search(train, {"macs": options.macs}, space_choice(options, clip, len(train.classes)), 0)
    draws = drawn(BoundedSpace(plan.space, Limits({"macs": options.macs})), 0)
    specs = [proposal.spec for proposal in islice(draws, options.networks)]
    choices = [plan.space.encode(spec) for spec in specs]
    names = [plan.space.decode(choice).content_hash for choice in choices]
    training = TrainConfig(steps=options.steps).with_length(len(train), len(train.classes))
    identity = {
        "training list": train.content_hash[:12],
        "holdout": plan.parts["holdout"].content_hash[:12],
        "clip": str(clip),
        "macs": options.macs,
        "space": plan.space.content_hash,
        "networks": names,
        **settings(train=training, clips=data, search=SUPERNET),
    }
    record: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    hold_to(record, identity, options.out)
    record = {"alone": {}, "supernets": [], "commands": [], **record}
    record["commands"] = list(dict.fromkeys([*record["commands"], command]))
    record |= {"space": named(options), "clip": str(clip), "macs": options.macs, "networks": options.networks}
    train_alone(plan, choices, data, training, options, record)
    done = {(one["mode"], one["steps"]) for one in record["supernets"]}
    jobs = [
        Supernet(mode, steps, plan, choices, data, options.work / options.name / named(options))
        for steps in options.lengths
        for mode in options.modes
        if (mode, steps) not in done
    ]

    def note(place: int, judged: dict[str, Any]) -> None:
        if not judged:
            raise SystemExit(f"{jobs[place].mode}, {jobs[place].steps} steps: its process was ended twice; try again")
        record["supernets"].append(judged)
        record["table"] = table(record, names)
        save(options.out, record)
        print(in_words(record["table"][-1]), flush=True)

    run_apart(judged_by_supernet, jobs, options.workers, dead={}, done=note, grace_sec=GRACE_SEC)
    record["table"] = table(record, names)
    save(options.out, record)
    for row in record["table"]:
        print(in_words(row))


if __name__ == "__main__":
    main()
