"""What each choice of a training recipe is worth on small lists: paired trainings on folds of training lists.

    make recipe DATA=DIR             lists of DIR: train.csv and classes.txt; the test list is not read
    make recipe DATA=DIR OPTIONS="--name jhmdb --group-regex REGEX --steps 4388 --only base,AutoAugment"
    make recipe DATA=DIR OPTIONS="--name generated --group-regex '' --macs 4e6 --clip 8x40 --jitter 1 1.15 --steps 1500"

X3D of equal cost is trained on plain clips with the other defaults, and with one choice changed, on the same folds from
the same seeds. Given again, it goes on where it was stopped.
"""

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from going_on import hold_to, settings

from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec
from vidnas.base.files import write_json
from vidnas.data.datamodule import DataConfig
from vidnas.data.folds import make_folds
from vidnas.data.formats import load_dataset
from vidnas.data.processes import cores
from vidnas.engine.run.runtime import versions
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import WorkerProcesses, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.search.limits import Limits
from vidnas.search.proposals import x3d_at
from vidnas.search.space.published.auto import nearest_rung

DROPOUT = 0.5
# Each changes the base: settings of the training, settings of the clips, and times its length.
CHOICES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], float]] = {
    "base": ({}, {}, 1),
    "half the length": ({}, {}, 1 / 2),
    "twice the length": ({}, {}, 2),
    "RandAugment": ({}, {"augment": "rand"}, 1),
    "AutoAugment": ({}, {"augment": "auto"}, 1),
    "RandAugment at twice the length": ({}, {"augment": "rand"}, 2),
    "AutoAugment at twice the length": ({}, {"augment": "auto"}, 2),
    "AutoAugment at four times the length": ({}, {"augment": "auto"}, 4),
    "AutoAugment at a rate of 0.004": ({"lr": 0.004}, {"augment": "auto"}, 1),
    "AutoAugment at a rate of 0.008": ({"lr": 0.008}, {"augment": "auto"}, 1),
    "AutoAugment and dropout 0.2": ({"dropout": 0.2}, {"augment": "auto"}, 1),
    "AutoAugment and an average of weights 0.998": ({"ema": 0.998}, {"augment": "auto"}, 1),
    "tempo 0.7 to 1": ({}, {"tempo": (0.7, 1.0)}, 1),
    "rotation by 15 degrees": ({}, {"rotate": 15.0}, 1),
    "erasing 0.25": ({}, {"erase": 0.25}, 1),
    "jitter 1 to 1.5": ({}, {"jitter": (1.0, 1.5)}, 1),
    "aspect 0.8 to 1.25": ({}, {"aspect": (0.8, 1.25)}, 1),
    "mixup 0.2": ({"mixup": 0.2}, {}, 1),
    "average of weights 0.998": ({"ema": 0.998}, {}, 1),
    "no label smoothing": ({"label_smoothing": 0.0}, {}, 1),
    "weight decay 0.05": ({"weight_decay": 0.05}, {}, 1),
    "rate 0.004": ({"lr": 0.004}, {}, 1),
    "rate 0.001": ({"lr": 0.001}, {}, 1),
    "dropout 0.2": ({"dropout": 0.2}, {}, 1),
}


def table(trials: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per choice its mean, and the mean of its paired gains over the base in points, with the standard error."""
    top1 = {(trial["choice"], trial["fold"]): trial["top1"] for trial in trials if trial["top1"] is not None}
    rows = {}
    for choice in CHOICES:
        folds = [fold for name, fold in top1 if name == choice and ("base", fold) in top1]
        if not folds:
            continue
        gains = [100 * (top1[choice, fold] - top1["base", fold]) for fold in folds]
        error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None
        rows[choice] = {
            "top1": mean(top1[choice, fold] for fold in folds),
            "gain": mean(gains),
            "standard_error": error,
            "folds": len(folds),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", default="utd", help="of the lists, in the result")
    parser.add_argument("--group-regex", default=r"_s(\d+)_", help="'' where every video is a group")
    parser.add_argument("--macs", type=float, default=20e6)
    parser.add_argument("--clip", default="16x56")
    parser.add_argument("--jitter", type=float, nargs=2, default=(1.0, 1.25))
    parser.add_argument("--steps", type=int, help="of the base; default by rule")
    parser.add_argument("--folds", type=int, default=2, help="of them so many are run")
    parser.add_argument("--only", help="choices, by comma")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--work", type=Path, required=True, help="takes trainings that are under way")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    groups = options.group_regex or None
    record = json.loads(options.out.read_text()) if options.out.exists() else {"lists": {}}
    own = record["lists"].setdefault(options.name, {})
    videos = load_dataset(options.data, group_regex=groups).train
    folds = make_folds(videos, 0)
    base = TrainConfig(steps=options.steps, checkpoint_every_steps=500, log_every_steps=50)
    base = base.with_length(len(videos), len(videos.classes))
    data = DataConfig(options.data, group_regex=groups, jitter=tuple(options.jitter), augment="off", workers=0)
    clip = ClipSpec(frames=1, size=1, sampling="uniform").resized(options.clip)

    def network(dropout: float) -> ArchSpec:
        head = ClassificationSpec(num_classes=len(videos.classes), dropout=dropout)
        return x3d_at(clip, Limits({"macs": options.macs}), head, nearest_rung(options.macs).depth_factor)

    identity = {
        "training list": videos.content_hash[:12],
        "folds": [fold.held_out.content_hash[:12] for fold in folds],
        "clip": str(clip),
        "macs": options.macs,
        "network": network(DROPOUT).content_hash,
        **settings(train=base, clips=data),
    }
    hold_to(own, identity, options.out)
    own.setdefault("trials", [])
    own.update(clip=str(clip), macs=options.macs, base_steps=base.steps, date=date.today().isoformat())
    record |= {"command": "make recipe DATA=DIR", "versions": versions()}
    done = {(trial["choice"], trial["fold"]) for trial in own["trials"]}
    jobs, places = [], []
    names = options.only.split(",") if options.only else list(CHOICES)
    for fold in range(options.folds):
        for choice in names:
            if (choice, fold) in done:
                continue
            training, clips, length = CHOICES[choice]
            changes = dict(training)
            spec = network(changes.pop("dropout", DROPOUT))
            config = replace(base, steps=round((base.steps or 0) * length), seed=fold, **changes)
            folder = options.work / options.name / f"{choice.replace(' ', '_')}_{fold}"
            jobs.append(TrialJob(spec, folder, folds[fold].train, folds[fold].held_out, config, replace(data, **clips)))
            places.append((choice, fold))

    def note(place: int, trial: TrialResult) -> None:
        choice, fold = places[place]
        test = trial.test
        own["trials"].append(
            {
                "choice": choice,
                "fold": fold,
                "steps": trial.steps,
                "top1": test.headline if test else None,
                "log_likelihood": test.log_likelihood if test else None,
                "training_top1": trial.figures.get("top1"),
                "sec": trial.figures.get("train_sec"),
                "failure": trial.failure,
            }
        )
        own["table"] = table(own["trials"])
        write_json(options.out, record)
        print(f"{choice}, fold {fold + 1}: {test.headline if test else trial.failure}", flush=True)

    run_jobs(WorkerProcesses(options.workers, 1), jobs, note)
    for choice, row in own["table"].items():
        error = "" if row["standard_error"] is None else f" (s.e. {row['standard_error']:.1f})"
        print(f"{choice:<32} {row['top1']:6.1%}  {row['gain']:+5.1f}{error}  {row['folds']} folds")


if __name__ == "__main__":
    main()
