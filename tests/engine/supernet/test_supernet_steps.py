"""The gradient of the weights over K architectures: two passes, a stream and autograd through all of them agree."""

import pytest
import torch
from torch import Tensor

from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.engine.supernet.steps import (
    SupernetScorer,
    sandwich_backward,
    streamed_backward,
    two_pass_backward,
    uniform_backward,
)
from vidnas.search.parsec import omega
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace
from vidnas.search.supernet import Supernet


def space() -> Space:
    groups = tuple(
        GroupSpace(
            depth=1,
            stride=2,
            channels=(8, 16),
            expansion=(1.5, 3.0),
            kernel=(Kernel(t=1, s=3), Kernel(t=3, s=3)),
        )
        for _ in range(2)
    )
    stream = StreamSpace(stem=StemSpec(channels=8), groups=groups, expansion_of="input", conv5=24)
    return Space(
        name="steps",
        clip=ClipSpec(frames=2, size=16),
        streams=(stream,),
        head=ClassificationSpec(num_classes=4, hidden=16),
    )


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    net = Supernet(space()).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return net


CHOICES: list[Choice] = [
    (0, 0, 0, 0, 0, 0),
    (1, 1, 1, 1, 1, 1),
    (0, 1, 0, 1, 0, 1),
    (0, 0, 0, 0, 0, 0),
    (1, 0, 1, 0, 0, 0),
]


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(6, 3, 2, 16, 16, dtype=torch.float64, generator=generator)
    return clips, torch.tensor([0, 1, 2, 3, 0, 1])


def take_gradients(supernet: Supernet) -> dict[str, Tensor]:
    gradients = {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}
    supernet.zero_grad()
    return gradients


def reference(supernet: Supernet, tau: float, seed: int) -> dict[str, Tensor]:
    """Autograd through sum_k omega_k s_k with all K graphs alive, omega held fixed."""
    clips, labels = batch()
    scores = []
    for choice in CHOICES:
        torch.manual_seed(seed)
        log_p = supernet(clips, choice).log_softmax(1)
        scores.append(log_p.gather(1, labels[:, None]).sum())
    stacked = torch.stack(scores)
    (-(omega(stacked.detach(), tau) * stacked).sum() / len(labels)).backward()
    return take_gradients(supernet)


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    names = [name for name, gradient in theirs.items() if gradient.abs().max() > 0]
    assert names
    for name in names:
        # fp64; scores are sums of 6 clips and go through an exponential.
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("tau", [1.0, 6.0])
def test_two_pass_and_streamed_equal_autograd(supernet: Supernet, tau: float) -> None:
    clips, labels = batch()
    scorer = SupernetScorer(supernet, clips, labels, dropout_seed=7)
    expected = reference(supernet, tau, seed=7)
    streamed_backward(scorer, CHOICES, tau)
    assert_same(take_gradients(supernet), expected)
    # `paper` is tau 1, `mean` is tau = batch size 6.
    two_pass_backward(scorer, CHOICES, "paper" if tau == 1.0 else "mean")
    two_pass = take_gradients(supernet)
    for name, gradient in expected.items():
        # Architectures with less than 1e-3 / K of the weight are skipped, so the sum may lack that share.
        torch.testing.assert_close(two_pass[name], gradient, rtol=2e-3, atol=1e-3 * float(gradient.abs().max()) + 1e-12)


def test_two_pass_is_exact_where_nothing_is_skipped(supernet: Supernet) -> None:
    clips, labels = batch()
    scorer = SupernetScorer(supernet, clips, labels, dropout_seed=7)
    expected = reference(supernet, 6.0, seed=7)
    two_pass_backward(scorer, CHOICES, "mean")
    assert_same(take_gradients(supernet), expected)


def test_uniform_is_the_mean(supernet: Supernet) -> None:
    clips, labels = batch()
    scorer = SupernetScorer(supernet, clips, labels, dropout_seed=7)
    uniform_backward(scorer, CHOICES)
    assert_same(take_gradients(supernet), reference(supernet, 1e12, seed=7))


@pytest.mark.parametrize("parts", [1, 2])
def test_sandwich_teaches_the_others_what_the_largest_predicts(supernet: Supernet, parts: int) -> None:
    clips, labels = batch()
    sampled = CHOICES[2:4]
    scores = sandwich_backward(SupernetScorer(supernet, clips, labels, parts=parts, dropout_seed=7), sampled)
    ours = take_gradients(supernet)

    def log_p(choice: Choice) -> Tensor:
        """Of all clips, with norms over a part and the same dropout in every pass."""
        torch.manual_seed(7)
        return torch.cat([supernet(part, choice).log_softmax(1) for part in clips.chunk(parts)])

    largest, smallest = CHOICES[1], CHOICES[0]
    of_labels = {choice: log_p(choice).gather(1, labels[:, None]).sum() for choice in (largest, smallest, *sampled)}
    # The teacher is a constant: it must not learn to be easy to follow.
    target = log_p(largest).exp().detach()
    loss = -of_labels[largest] / 6
    for choice in (smallest, *sampled):
        loss = loss - (target * log_p(choice)).sum() / 6
    loss.backward()
    assert_same(ours, take_gradients(supernet))
    # The same sums in another order, in fp64.
    assert scores == pytest.approx([float(of_labels[c].detach()) for c in (largest, smallest, *sampled)], rel=1e-10)


def test_sandwich_smooths_only_what_comes_from_labels(supernet: Supernet) -> None:
    clips, labels = batch()
    sandwich_backward(SupernetScorer(supernet, clips, labels, dropout_seed=7, label_smoothing=0.4), [])
    smoothed = take_gradients(supernet)
    torch.manual_seed(7)
    log_p = supernet(clips, CHOICES[1]).log_softmax(1)
    target = log_p.exp().detach()
    blurred = 0.6 * torch.nn.functional.one_hot(labels, 4).double() + 0.1
    torch.manual_seed(7)
    taught = supernet(clips, CHOICES[0]).log_softmax(1)
    (-(blurred * log_p).sum() / 6 - (target * taught).sum() / 6).backward()
    assert_same(smoothed, take_gradients(supernet))


def test_micro_batches_sum_the_score(supernet: Supernet) -> None:
    """Norms see a micro-batch at a time, so the whole equals the parts scored on their own."""
    clips, labels = batch()
    supernet.eval()
    whole = SupernetScorer(supernet, clips, labels, parts=2)(CHOICES)
    first = SupernetScorer(supernet, clips[:3], labels[:3])(CHOICES)
    second = SupernetScorer(supernet, clips[3:], labels[3:])(CHOICES)
    torch.testing.assert_close(torch.tensor(whole), torch.tensor(first) + torch.tensor(second))


def test_scoring_leaves_no_gradient_and_repeats_are_equal(supernet: Supernet) -> None:
    clips, labels = batch()
    supernet.eval()
    scores = SupernetScorer(supernet, clips, labels)(CHOICES)
    assert scores[0] == scores[3]
    assert len(set(scores)) == 4
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_clips_that_could_not_be_read_do_not_count(supernet: Supernet) -> None:
    clips, labels = batch()
    readable = torch.arange(6) != 2
    supernet.eval()
    score = SupernetScorer(supernet, clips, labels, readable)(CHOICES[:1])[0]
    log_p = supernet(clips, CHOICES[0]).log_softmax(1).detach()
    assert score == pytest.approx(sum(float(log_p[i, labels[i]]) for i in (0, 1, 3, 4, 5)))


def test_several_labels_per_clip_take_the_same_steps(supernet: Supernet) -> None:
    """Bernoulli likelihoods in place of those of a softmax, exactly, with clips that could not be read."""
    several = Supernet(space().with_classes(4, multi_label=True)).double()
    several.load_state_dict(supernet.state_dict())
    clips, labels = batch()
    targets = torch.nn.functional.one_hot(labels, 4).float().roll(1, 0) + torch.nn.functional.one_hot(labels, 4)
    targets, readable = targets.clamp(max=1), torch.arange(6) != 2
    scorer = SupernetScorer(several, clips, targets, readable, parts=2, dropout_seed=7)
    scores = two_pass_backward(scorer, CHOICES, "mean")
    ours = take_gradients(several)

    def log_p(choice: Choice) -> Tensor:
        torch.manual_seed(7)
        logits = torch.cat([several(part, choice) for part in clips.chunk(2)])
        of_each = torch.nn.functional.logsigmoid(torch.where(targets > 0, logits, -logits)).sum(1)
        return of_each[readable].sum()

    likelihoods = torch.stack([log_p(choice) for choice in CHOICES])
    assert scores == pytest.approx(likelihoods.tolist())
    weights = omega(likelihoods.detach(), 6.0)
    (-(weights * likelihoods).sum() / 6).backward()
    assert_same(ours, take_gradients(several))


def test_sandwich_of_several_labels_teaches_probabilities_of_each(supernet: Supernet) -> None:
    several = Supernet(space().with_classes(4, multi_label=True)).double()
    several.load_state_dict(supernet.state_dict())
    clips, labels = batch()
    targets = torch.nn.functional.one_hot(labels, 4).float()
    sandwich_backward(SupernetScorer(several, clips, targets, dropout_seed=7), [])
    ours = take_gradients(several)

    def logits(choice: Choice) -> Tensor:
        torch.manual_seed(7)
        return several(clips, choice)

    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    taught = logits(CHOICES[1]).sigmoid().detach()
    loss = entropy(logits(CHOICES[1]), targets.double(), reduction="sum")
    loss = loss + entropy(logits(CHOICES[0]), taught, reduction="sum")
    (loss / 6).backward()
    assert_same(ours, take_gradients(several))
