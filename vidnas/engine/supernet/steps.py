"""What one step of the search computes on a supernet: scores, and gradients in the memory of one architecture."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vidnas.engine.tasks.registry import task_of
from vidnas.search.parsec import TemperatureMode, distinct, temperature, weight_step_weights
from vidnas.search.space.space import Choice
from vidnas.search.supernet import Supernet


class MicroBatch(NamedTuple):
    """Clips (N, C, T, H, W) that go through the network at once, their targets, and which of them count (N,)."""

    clips: Tensor
    targets: Tensor
    readable: Tensor


class SupernetScorer:
    """Log-likelihoods of architectures on one batch, the same for all of them: `vidnas.search.protocols.Scorer`.

    Each different architecture runs once. Gradients are off.

    Args:
        supernet: shared weights; its training mode is used as it is.
        clips: (N, C, T, H, W).
        targets: of the clips, as the task of the space's head has them.
        readable: (N,) bool; a clip that could not be read does not count. None: all could.
        parts: micro-batches that the clips go through the network in; norms see one at a time.
        autocast: makes the context that forward passes run in, for their precision.
        dropout_seed: None leaves torch's random state alone; a number starts every pass from it.
        label_smoothing: of the likelihood, for the weights' loss.
    """

    def __init__(
        self,
        supernet: Supernet,
        clips: Tensor,
        targets: Tensor,
        readable: Tensor | None = None,
        *,
        parts: int = 1,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        dropout_seed: int | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.supernet = supernet
        if readable is None:
            readable = torch.ones(len(targets), dtype=torch.bool, device=targets.device)
        divided = zip(*(tensor.chunk(parts) for tensor in (clips, targets, readable)), strict=True)
        self.micro_batches = [MicroBatch(*part) for part in divided]
        self.task = task_of(supernet.space.head)
        self.autocast = autocast
        self.dropout_seed = dropout_seed
        self.label_smoothing = label_smoothing

    @property
    def batch_size(self) -> int:
        """Clips."""
        return sum(len(part.targets) for part in self.micro_batches)

    def __call__(self, choices: Sequence[Choice]) -> list[float]:
        """Sum over the batch of log p(y | x, w, A) for each choice; higher is better."""
        different, places = distinct(choices)
        with torch.no_grad():
            scores = [sum(float(self.log_likelihood(c, part)) for part in self.parts()) for c in different]
        return [scores[place] for place in places]

    def log_likelihood(self, choice: Choice, part: MicroBatch) -> Tensor:
        """Of one micro-batch, a differentiable scalar in at least fp32."""
        return self.log_likelihood_of(self.logits(choice, part.clips), part)

    def log_likelihood_of(self, logits: Tensor, part: MicroBatch) -> Tensor:
        """Summed over the clips that could be read."""
        return self.task.log_likelihood(logits, part.targets, part.readable, self.label_smoothing)

    def logits(self, choice: Choice, clips: Tensor) -> Tensor:
        """Of one micro-batch (N, C, T, H, W), differentiable, (N, classes) in at least fp32."""
        with self.autocast():
            logits: Tensor = self.supernet(clips, choice)
        # Under autocast logits are half precision, too coarse for sums that an exponential follows.
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def parts(self) -> list[MicroBatch]:
        """The micro-batches for a pass of one architecture, with dropout as in every other pass."""
        if self.dropout_seed is not None:
            torch.manual_seed(self.dropout_seed)
        return self.micro_batches

    def backward(self, weighted: Sequence[tuple[Choice, float]]) -> list[float]:
        """Add the gradient of -sum weight * log-likelihood to the supernet's; returns the log-likelihoods."""
        return [self._backward(choice, weight) for choice, weight in weighted]

    def _backward(self, choice: Choice, weight: float) -> float:
        total = 0.0
        for part in self.parts():
            likelihood = self.log_likelihood(choice, part)
            (likelihood * -weight).backward()
            total += float(likelihood.detach())
        return total


class WeightsScorer(Protocol):
    """A `Scorer` that also gives gradients of the shared weights."""

    @property
    def batch_size(self) -> int:
        """Clips that a score sums over."""
        ...

    def __call__(self, choices: Sequence[Choice]) -> list[float]:
        """Scores."""
        ...

    def backward(self, weighted: Sequence[tuple[Choice, float]]) -> object:
        """Add the gradient of -sum weight * log-likelihood."""
        ...


def uniform_backward(scorer: SupernetScorer, choices: Sequence[Choice], share: float = 1.0) -> list[float]:
    """Gradient of the mean loss of the architectures, all weighing the same; returns their log-likelihoods.

    Args:
        scorer: the batch, or a shard of it.
        choices: the architectures.
        share: of the shard in the batch.
    """
    weight = share / (scorer.batch_size * len(choices))
    return scorer.backward([(choice, weight) for choice in choices])


def sandwich_backward(scorer: SupernetScorer, choices: Sequence[Choice], share: float = 1.0) -> list[float]:
    """Gradient of the sandwich rule with in-place distillation; returns log-likelihoods of the targets.

    The space's largest architecture learns from the targets, its smallest one and `choices` from what the largest
    predicts in the same pass. The mean losses are summed (slimmable networks, arXiv 1903.05134, alg. 1).

    Args:
        scorer: the batch, or a shard of it.
        choices: the architectures beside the largest and the smallest.
        share: of the shard in the batch.

    Returns:
        Of the largest, the smallest, and each choice.
    """
    space, weight = scorer.supernet.space, share / scorer.batch_size
    scores, taught = [0.0], []
    for part in scorer.parts():
        logits = scorer.logits(space.largest(), part.clips)
        likelihood = scorer.log_likelihood_of(logits, part)
        (likelihood * -weight).backward()
        scores[0] += float(likelihood.detach())
        taught.append(scorer.task.scores(logits.detach()))
    for choice in (space.smallest(), *choices):
        score = 0.0
        for part, scores_taught in zip(scorer.parts(), taught, strict=True):
            logits, readable = scorer.logits(choice, part.clips), part.readable
            (scorer.task.distillation_loss(logits[readable], scores_taught[readable]) * weight).backward()
            score += float(scorer.log_likelihood_of(logits.detach(), part))
        scores.append(score)
    return scores


def two_pass_backward(
    scorer: WeightsScorer, choices: Sequence[Choice], mode: TemperatureMode = "auto", min_effective: float = 0.5
) -> list[float]:
    """PARSEC's gradient of the weights, exactly, with one architecture's graph in memory at a time.

    All K are scored without gradients, which fixes the temperature and omega; then those that matter run backward,
    weighted, with the same dropout. Works with micro-batches and shards.
    """
    scores = scorer(choices)
    values = torch.tensor(scores, dtype=torch.float64)
    size = scorer.batch_size
    tau = temperature(values, mode, batch_size=size, min_effective=min_effective)
    weights = weight_step_weights(values, tau)
    different, places = distinct(choices)
    summed = torch.zeros(len(different), dtype=torch.float64).index_add_(0, torch.tensor(places), weights)
    scorer.backward([(choice, w / size) for choice, w in zip(different, summed.tolist(), strict=True) if w > 0])
    return scores


def streamed_backward(scorer: SupernetScorer, choices: Sequence[Choice], tau: float) -> list[float]:
    """The same gradient for a given temperature in one pass: an online softmax over gradients.

    Each architecture's gradient joins with the weight it has so far; when a better one comes, what is there shrinks.
    One micro-batch only, gradients empty before, no loss scaling (an infinite gradient times 0 is NaN).
    """
    parameters = [p for p in scorer.supernet.parameters() if p.requires_grad]
    (part,) = scorer.micro_batches
    size = len(part.targets)
    best, total = -math.inf, 0.0
    scores = []
    for choice in choices:
        if scorer.dropout_seed is not None:
            torch.manual_seed(scorer.dropout_seed)
        likelihood = scorer.log_likelihood(choice, part)
        score = float(likelihood.detach())
        level = score / tau
        new_best = max(best, level)
        shrink, weight = math.exp(best - new_best), math.exp(level - new_best)
        _scale_gradients(parameters, shrink)
        (likelihood * (-weight / size)).backward()
        best, total = new_best, total * shrink + weight
        scores.append(score)
    _scale_gradients(parameters, 1 / total)
    return scores


def clip_gradients(module: nn.Module, limit: float | None) -> None:
    """Scale the gradient to at most this norm, once, after all architectures have been added."""
    if limit is not None:
        nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], limit)


def _scale_gradients(parameters: Sequence[nn.Parameter], factor: float) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)
