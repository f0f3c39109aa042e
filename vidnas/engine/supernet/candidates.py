"""From a trained supernet to one architecture: the most probable ones under the budget, judged on a holdout."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidnas.data.dataset import Batch
from vidnas.engine.run.processes import all_reduce_sum, get_rank, get_world_size, together
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.train.recalibrate import recalibrate_norms
from vidnas.nn.build import VideoNetwork
from vidnas.search.budget import Budget, usage
from vidnas.search.derive import Candidate, derive, fitting_choices
from vidnas.search.distribution import Distribution
from vidnas.search.space.space import Choice
from vidnas.search.supernet import Supernet, extract

# How far down the list of the most probable architectures candidates are looked for.
_SEARCHED = 20_000
# What counts as using the budget.
_NEAR = 0.9


@dataclass(frozen=True)
class Judgement:
    """A candidate with its result on the holdout.

    Attributes:
        derived: the candidate.
        log_likelihood: mean per clip.
        headline: the figure that the task is known by (top-1, mAP), in [0, 1].
    """

    derived: Candidate
    log_likelihood: float
    headline: float


def probable_candidates(distribution: Distribution, budgets: Sequence[Budget], number: int) -> list[Candidate]:
    """Likely architectures within the budgets: the most probable ones, and as many of those that use a budget up.

    After a short search the distribution is still wide and its most probable members may cost much less than the
    target; so half of the `number` are the most probable among those that cost 0.9 to 1 of it. The holdout decides.
    Where none of the first 20,000 fits, the one that `derive` finds.

    Raises:
        VidnasError: nothing in the space costs so little.
    """
    near: list[Candidate] = []
    others: list[Candidate] = []
    wanted_near = -(-number // 2)
    for candidate in fitting_choices(distribution, budgets, among=_SEARCHED):
        uses_budget = usage(budgets, [candidate.choice])[0] >= _NEAR and len(near) < wanted_near
        (near if uses_budget else others).append(candidate)
        if len(near) == wanted_near and len(others) >= number - wanted_near:
            break
    found = near + others[: number - len(near)]
    return sorted(found, key=lambda d: -d.log_prob) or [derive(distribution, budgets, among=1)]


def candidates_from(
    choices: Sequence[Choice], distribution: Distribution, budgets: Sequence[Budget]
) -> list[Candidate]:
    """Architectures that the list of the most probable ones did not give, as candidates."""
    costs = budgets[0].costs.costs(choices).tolist()
    log_probs = distribution.log_prob(choices).tolist()
    return [Candidate(*row, rank=None) for row in zip(choices, costs, log_probs, strict=True)]


def judge(
    supernet: Supernet,
    candidates: Sequence[Candidate],
    norm_clips: Sequence[Tensor],
    holdout: Iterable[Batch],
    device: torch.device,
) -> list[Judgement]:
    """Extract each candidate, estimate its norm statistics, and score it on the holdout; best first.

    Where there are several processes they share the candidates and come to the same result.

    Args:
        supernet: trained shared weights.
        candidates: architectures.
        norm_clips: training batches (N, C, T, H, W) for the norm statistics.
        holdout: batches that no step of the search has seen; gone through once per candidate.
        device: where the candidates run.
    """
    figures = torch.zeros(len(candidates), 2, dtype=torch.float64)
    together(_judge_own, supernet, candidates, norm_clips, holdout, device, figures)
    results = [
        Judgement(candidate, *row) for candidate, row in zip(candidates, all_reduce_sum(figures).tolist(), strict=True)
    ]
    return sorted(results, key=lambda judged: judged.log_likelihood, reverse=True)


def _judge_own(
    supernet: Supernet,
    candidates: Sequence[Candidate],
    norm_clips: Sequence[Tensor],
    holdout: Iterable[Batch],
    device: torch.device,
    figures: Tensor,
) -> None:
    """Fill the rows of this process's candidates: log-likelihood and headline."""
    for place in range(get_rank(), len(candidates), get_world_size()):
        network = extract(supernet, candidates[place].choice)
        recalibrate_norms(network, (clips.to(device) for clips in norm_clips))
        figures[place] = torch.tensor(_score(network.eval(), holdout, device), dtype=torch.float64)


@torch.no_grad()
def _score(network: VideoNetwork, holdout: Iterable[Batch], device: torch.device) -> tuple[float, float]:
    task, likelihood = task_of(network.spec.head), 0.0
    scores: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in holdout:
        read = Batch(*(tensor.to(device) for tensor in batch.only_readable()))
        if not len(read.targets):
            continue
        logits = network(read.clips).float()
        likelihood += float(task.log_likelihood(logits, read.targets, read.readable))
        scores.append(logits)
        targets.append(read.targets)
    if not scores:
        return 0.0, 0.0
    # The order of the scores of a class is that of its logits.
    headline = task.headline_of(torch.cat(scores), torch.cat(targets))
    return likelihood / sum(map(len, targets)), headline
