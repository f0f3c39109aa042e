"""From a trained supernet to one architecture: the most probable ones under the budget, judged on a holdout."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from vidnas.base.errors import Diverged, VidnasError
from vidnas.data.dataset import Batch
from vidnas.engine.run.processes import all_reduce_sum, get_rank, get_world_size, rank_zero_error, together
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.train.recalibrate import recalibrate_norms
from vidnas.nn.build import VideoNetwork
from vidnas.search.baselines import raised
from vidnas.search.budget import Budget, between, usage
from vidnas.search.costs import CostTable
from vidnas.search.derive import Candidate, derive, fitting_choices
from vidnas.search.distribution import Distribution
from vidnas.search.space.space import Choice
from vidnas.search.supernet import Supernet, extract

# How far down the list of the most probable architectures candidates are looked for.
_SEARCHED = 20_000


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


def probable_candidates(
    distribution: Distribution, budgets: Sequence[Budget], number: int, use: float = 0.0
) -> list[Candidate]:
    """The most probable architectures within the budgets that use one of them up; the holdout decides among them.

    Short trainings of shared weights favour what learns fast, and so does the distribution: its most probable members
    may cost much less than the target, which trainings to the end do not reward. Where none of the first 20,000 fits,
    elimination finds one.

    Args:
        distribution: over the space.
        budgets: that are to be kept.
        number: of candidates.
        use: share of a budget that has to be used; where a space cannot, as behind steps that have fixed most of the
            cost, nothing has to.

    Raises:
        VidnasError: nothing in the space costs so little.
    """
    if use and not _can_use(budgets, use):
        use = 0.0
    listed = fitting_choices(distribution, budgets, among=_SEARCHED)
    found = list(islice((one for one in listed if usage(budgets, [one.choice])[0] >= use), number))
    return found or [_derived_in_band(distribution, budgets, use)]


def _can_use(budgets: Sequence[Budget], use: float) -> bool:
    """Whether something in the space is dear enough for one of the budgets."""
    return any(
        not isinstance(budget.costs, CostTable) or budget.costs.dearest()[1] >= use * budget.target
        for budget in budgets
    )


def _derived_in_band(distribution: Distribution, budgets: Sequence[Budget], use: float) -> Candidate:
    """What uses the first budget; failing that, as where another budget allows less, what keeps all."""
    table, target = budgets[0].costs, budgets[0].target
    if isinstance(table, CostTable) and use:
        with suppress(VidnasError):
            return derive(distribution, [*between(table, use * target, target), *budgets[1:]], among=1)
    derived = derive(distribution, budgets, among=1)

    def likeliest(choices: Sequence[Choice]) -> Choice:
        return max(choices, key=lambda one: distribution.log_prob([one])[0])

    # Two limits on one cost can be too narrow for the elimination that `derive` falls back to.
    dearer = raised(derived.choice, budgets, use, likeliest)
    return (
        derived if dearer is None or dearer == derived.choice else candidates_from([dearer], distribution, budgets)[0]
    )


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

    Raises:
        Diverged: not one candidate has finite scores.
    """
    figures = torch.zeros(len(candidates), 2, dtype=torch.float64)
    together(_judge_own, supernet, candidates, norm_clips, holdout, device, figures)
    results = [
        Judgement(candidate, *row) for candidate, row in zip(candidates, all_reduce_sum(figures).tolist(), strict=True)
    ]
    results.sort(key=_merit, reverse=True)
    if _merit(results[0]) == -math.inf:
        message = f"not one of {len(results)} candidates has finite scores on the holdout"
        raise rank_zero_error(Diverged(f"{message}; search anew with a lower search.lr or search.grad_clip"))
    return results


def _merit(judged: Judgement) -> float:
    """NaN has no place in an order; it is the worst."""
    return judged.log_likelihood if math.isfinite(judged.log_likelihood) else -math.inf


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
