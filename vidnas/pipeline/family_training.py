"""The two ways to train a network of a family: from the supernet's weights, and from random ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidnas.arch.spec import ArchSpec
from vidnas.base.files import read_json
from vidnas.base.log import log, notes_only
from vidnas.data.augment import Views
from vidnas.engine.evaluate.saved import load_result
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.train.recalibrate import recalibrate_norms
from vidnas.engine.trials.executors import Executor, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult, test_once
from vidnas.nn.build import build
from vidnas.nn.weights import load_model, save_model
from vidnas.pipeline.finished_search import FinishedSearch
from vidnas.search.space.space import Choice
from vidnas.search.supernet import extract

# Where a network's weights come from; each has a folder of its own.
WEIGHTS = ("inherited", "fine_tuned", "scratch")
# Fine-tuning takes this part of the epochs, of the warm-up and of the learning rate of a training from scratch.
FINE_TUNING = 1 / 3


@dataclass(frozen=True)
class FamilyTraining:
    """How the networks of a family are trained.

    Attributes:
        inherit: take the supernet's weights along and fine-tune them.
        scratch: train from random weights.
        epochs: of a training from scratch; None is as in the run.
        fine_tune_epochs: None is a third of those.
        fine_tune_lr: peak learning rate; None is a third of that from scratch.
    """

    inherit: bool = False
    scratch: bool = False
    epochs: int | None = None
    fine_tune_epochs: int | None = None
    fine_tune_lr: float | None = None

    def scratch_config(self, run: TrainConfig) -> TrainConfig:
        """Settings of a training from random weights."""
        return run if self.epochs is None else replace(run, epochs=self.epochs, steps=None)

    def fine_tune_config(self, run: TrainConfig) -> TrainConfig:
        """Settings of a training that starts from the supernet's weights."""
        whole = self.scratch_config(run)
        short = whole.shorten(FINE_TUNING)
        if self.fine_tune_epochs is not None:
            short = replace(short, epochs=self.fine_tune_epochs, steps=None)
        return replace(short, lr=self.fine_tune_lr or whole.peak_lr * FINE_TUNING)


def member_jobs(
    finished: FinishedSearch, spec: ArchSpec, choice: Choice, folder: Path, settings: FamilyTraining
) -> list[TrialJob]:
    """The trainings that the settings ask for, in folder/fine_tuned and /scratch.

    What fine-tuning starts from is made and tested here, in folder/inherited, as it takes the supernet.
    """
    lists, views = finished.lists, Views.parse(finished.job.views)
    run = finished.training

    def job(weights: str, config: TrainConfig, start: Path | None = None) -> TrialJob:
        return TrialJob(
            spec, folder / weights, lists.train, lists.test, config, finished.job.data, views, weights=start
        )

    jobs = []
    if settings.inherit:
        inherited = job("inherited", run)
        _keep_inherited(finished, choice, inherited)
        jobs.append(job("fine_tuned", settings.fine_tune_config(run), inherited.folder))
    if settings.scratch:
        jobs.append(job("scratch", settings.scratch_config(run)))
    return jobs


def train_members(jobs: Sequence[TrialJob], executor: Executor) -> list[TrialResult]:
    """Do all trainings of a family but for what is done already; one that fails leaves the others alone.

    Raises:
        Interrupted: stopped by a signal; the same command goes on.
    """

    def named(job: TrialJob) -> str:
        return f"{job.spec.name}, {job.folder.name.replace('_', '-')}"

    def note(place: int, trial: TrialResult) -> None:
        told = trial.failure or f"{trial.tested().headline:.1%}"
        log.info(f"{named(jobs[place])}: {told}")

    for one in jobs:
        log.info(f"{named(one)}: {one.config.describe_length()}, peak lr {one.config.peak_lr:.3g}")
    return run_jobs(executor, jobs, note)


def read_trials(spec: ArchSpec, folder: Path) -> Mapping[str, TrialResult]:
    """What has been tested, by the origin of the weights."""
    found = {}
    for weights in WEIGHTS:
        run = RunFolder(folder / weights)
        if (run.test / "result.json").exists():
            made = read_json(run.model_info)["config"]
            found[weights] = TrialResult(spec, run.root, made["kept"], made["steps"], test=load_result(run.test))
    return found


def _keep_inherited(finished: FinishedSearch, choice: Choice, job: TrialJob) -> None:
    """The network with the supernet's weights and norm statistics of its own: kept as a model file, and tested."""
    folder, data, lists = RunFolder(job.folder), finished.job.data, finished.lists
    if folder.is_finished:
        network = load_model(folder.root)[0]
    else:
        device = finished.search.fabric.device
        extracted = extract(finished.search.supernet, choice)
        recalibrate_norms(extracted, (clips.to(device) for clips in finished.data.norm_clips()))
        network = build(job.spec)
        network.load_state_dict(extracted.state_dict())
        folder.root.mkdir(exist_ok=True)
        made_from = {
            "kept": f"the supernet's weights, norm statistics from {finished.config.norm_batches} batches",
            "steps": 0,
            "list": lists.train.content_hash,
            "numbered": lists.train.numbered,
            "group_regex": data.group_regex,
            "jitter": list(data.jitter),
        }
        save_model(folder.root, network, classes=lists.train.classes, config=made_from)
    with notes_only():
        test_once(network, lists.test, job)
