"""A planted video task searched as vidnas searches, and single networks trained on it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from planted.networks import CELL, choice_of, option_of, planted_budget, task_space
from planted.options import AnyOption
from planted.tasks import Task
from vidnas.arch.spec import ArchSpec
from vidnas.data.dataset import Batch
from vidnas.data.sampler import StepBatches
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.supernet.candidates import candidates_from, judge, probable_candidates
from vidnas.engine.supernet.config import Schedule, SearchConfig
from vidnas.engine.supernet.folder import SearchFolder
from vidnas.engine.supernet.search import SupernetSearch, run_search
from vidnas.engine.train.optim import learning_rate, make_optimizer
from vidnas.engine.train.train import fresh_network
from vidnas.search.budget import Budget

CPU = torch.device("cpu")
LR = 0.01
BATCH = 32


class Part(NamedTuple):
    """A range of a task's indices."""

    first: int
    number: int


WEIGHTS, ALPHA, HOLDOUT = Part(0, 2048), Part(10_000, 1024), Part(20_000, 1024)


def clips(task: Task, seed: int, part: Part) -> Batch:
    """The clips of a part, (N, 1, T, S, S)."""
    indices = range(part.first, part.first + part.number)
    cells, labels = zip(*(task.clip(seed, index) for index in indices), strict=True)
    pixels = torch.from_numpy(np.stack(cells))[:, None].repeat_interleave(CELL, 3).repeat_interleave(CELL, 4)
    return Batch(_last(pixels), torch.tensor(labels), torch.ones(len(labels)).bool(), torch.tensor(indices))


def _last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last_3d)


def batches(part: Batch, seed: int, steps: int, start: int = 0) -> Iterator[Batch]:
    """Batches of a part in shuffled epochs, from a step on."""
    for items in StepBatches(len(part.targets), BATCH, seed, num_steps=steps, start_step=start):
        places = torch.tensor([place for _, place in items])
        yield Batch(_last(part.clips[places]), part.targets[places], part.readable[places], part.indices[places])


def search_config(seed: int, steps: int, **settings: Any) -> SearchConfig:
    """The defaults but for the length, the learning rate and two architectures per step on the weights."""
    fixed = SearchConfig(
        steps=steps, batch_size=BATCH, lr=LR, weight_samples=2, seed=seed, device="cpu", checkpoint_every_steps=steps
    )
    return replace(fixed, **settings)


@dataclass(frozen=True)
class Searched:
    """What a search of a task found.

    Attributes:
        derived: the network that the holdout chose among the probable ones within the budget.
        top1: its accuracy on the holdout with the shared weights.
        loss: its mean loss there.
        most_probable: of alpha alone, whatever it costs.
        planted_probability: P(planted) under alpha.
        entropy_share: H / H0 at the end.
        mean_cost_share: cost of the last step's samples as a share of the budget.
        cpu_sec: seconds of one thread.
    """

    derived: AnyOption
    top1: float
    loss: float
    most_probable: AnyOption
    planted_probability: float
    entropy_share: float
    mean_cost_share: float
    cpu_sec: float


@dataclass(frozen=True)
class Job:
    """A search after its last step.

    Attributes:
        search: supernet and alpha.
        options: the networks of its space.
        budget: the planted network's cost.
        norm_clips: batches to estimate norm statistics from.
        mean_cost: of the last step's samples.
        cpu_sec: seconds of one thread, clips included.
    """

    search: SupernetSearch
    options: Sequence[AnyOption]
    budget: Budget
    norm_clips: list[Tensor]
    mean_cost: float
    cpu_sec: float


def run(task: Task, config: SearchConfig, options: Sequence[AnyOption] = ()) -> Job:
    """All steps of a search with the planted network's cost as the budget; `options` as in `task_space`."""
    start = time.process_time()
    options = options or task.options
    seed, space = config.seed, task_space(task, options)
    budget = planted_budget(space, task)
    weights, alpha = clips(task, seed, WEIGHTS), clips(task, seed, ALPHA)
    schedule = config.schedule(WEIGHTS.number // BATCH)
    job = SupernetSearch(space, [budget], schedule, config, make_fabric(CPU, config.precision))
    mean_cost = _run(job, weights, alpha, schedule)
    norm_clips = [batch.clips for batch in batches(weights, seed + 2, config.norm_batches)]
    return Job(job, options, budget, norm_clips, mean_cost, time.process_time() - start)


def search(task: Task, seed: int, steps: int, options: Sequence[AnyOption] = ()) -> Searched:
    """Search, and derive as vidnas does; `options` as in `task_space`."""
    return derived(task, run(task, search_config(seed, steps), options))


def derived(task: Task, job: Job) -> Searched:
    """What a finished search has found."""
    start = time.process_time()
    distribution, space, seed = job.search.alpha.distribution, job.search.supernet.space, job.search.config.seed
    candidates = probable_candidates(distribution, [job.budget], job.search.config.candidates)
    holdout = clips(task, seed, HOLDOUT)
    judged = judge(job.search.supernet, candidates, job.norm_clips, [holdout], CPU)[0]
    return Searched(
        derived=option_of(space, judged.derived.choice, job.options),
        top1=judged.headline,
        loss=-judged.log_likelihood,
        most_probable=option_of(space, distribution.most_probable(), job.options),
        planted_probability=planted_probability(job, task),
        entropy_share=distribution.entropy() / distribution.initial_entropy,
        mean_cost_share=job.mean_cost / job.budget.target,
        cpu_sec=job.cpu_sec + time.process_time() - start,
    )


def planted_probability(job: Job, task: Task) -> float:
    """P(planted) under alpha."""
    choice = choice_of(job.search.supernet.space, task.planted)
    return float(job.search.alpha.distribution.log_prob([choice]).exp())


def _run(job: SupernetSearch, weights: Batch, alpha: Batch, schedule: Schedule) -> float:
    """All steps, in a folder that is thrown away; the mean cost of the last step's samples."""
    seed = job.config.seed

    def of(part: Batch, part_seed: int, steps: int) -> Any:
        return lambda start: batches(part, part_seed, steps, start)

    with TemporaryDirectory() as name:
        folder = SearchFolder(Path(name))
        run_search(
            job,
            of(weights, seed, schedule.total),
            of(alpha, seed + 1, schedule.alpha_steps),
            folder,
            {},
            resume=False,
        )
        mean_cost: float = json.loads(folder.curves.read_text().splitlines()[-1])["mean_cost"]["macs"]
    return mean_cost


def separation(scores: Mapping[AnyOption, float], task: Task) -> float:
    """Share of pairs of a network that can and one that cannot in which the former has the higher score."""
    can = np.array([score for option, score in scores.items() if not task.insufficient(option)])
    cannot = np.array([score for option, score in scores.items() if task.insufficient(option)])
    differences = can[:, None] - cannot
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def scores_anew(job: Job, task: Task, options: Sequence[AnyOption]) -> dict[AnyOption, float]:
    """Mean log-likelihood of networks on the holdout with the shared weights and norm statistics of their own."""
    search, space = job.search, job.search.supernet.space
    choices = [choice_of(space, option) for option in options]
    every = candidates_from(choices, search.alpha.distribution, [job.budget])
    judged = judge(search.supernet, every, job.norm_clips, [clips(task, search.config.seed, HOLDOUT)], CPU)
    return {option_of(space, one.derived.choice, options): one.log_likelihood for one in judged}


def scores_of_batch(job: Job, task: Task) -> dict[AnyOption, float]:
    """Log-likelihood of every network on the holdout with the statistics of what is scored, as alpha sees it."""
    search, space = job.search, job.search.supernet.space
    choices = [choice_of(space, option) for option in task.options]
    holdout = clips(task, search.config.seed, HOLDOUT)
    search.supernet.eval()
    of_batches = [search.scorer(batch)(choices) for batch in batches(holdout, 0, HOLDOUT.number // BATCH)]
    return dict(zip(task.options, map(sum, zip(*of_batches, strict=True)), strict=True))


class Trained(NamedTuple):
    """Results of one network on the holdout."""

    top1: float
    loss: float


def train_alone(task: Task, option: AnyOption, seed: int, steps: int) -> Trained:
    """Train one network of the space from scratch; see `train_network`."""
    space = task_space(task)
    return train_network(task, space.decode(choice_of(space, option)), seed, steps)


def train_network(task: Task, spec: ArchSpec, seed: int, steps: int) -> Trained:
    """Train from scratch on the weights' clips, with the search's optimiser and its form of schedule."""
    config, network = search_config(seed, steps), fresh_network(spec, seed)
    optimizer = make_optimizer(network, config)
    for step, batch in enumerate(batches(clips(task, seed, WEIGHTS), seed, steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(LR, step, steps, steps // 10)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(batch.clips), batch.targets).backward()
        optimizer.step()
    holdout = clips(task, seed, HOLDOUT)
    with torch.no_grad():
        logits = network.eval()(holdout.clips)
    top1 = (logits.argmax(1) == holdout.targets).float().mean()
    return Trained(float(top1), float(F.cross_entropy(logits, holdout.targets)))
