"""Fused norms against their parts in float64: values, every gradient, running statistics."""

import copy
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vidnas.nn import native
from vidnas.nn.norm_act import Act, SqueezeExcite, norm_act

pytestmark = pytest.mark.skipif(native.library() is None, reason="installed without a C++ compiler")
SMALL = [(2, 24, 3, 8, 9), (1, 54, 2, 5, 5), (3, 7, 4, 6, 6), (2, 1, 1, 3, 3), (5, 130, 1, 1, 1)]
LARGE = [(1, 16, 13, 20, 20), (3, 33, 2, 16, 20)]  # enough for two threads; whole and broken units of positions
SHAPES = [(shape, 1) for shape in SMALL] + [(shape, threads) for shape in LARGE for threads in (1, 2)]
FORMS = [(None, False, False), ("relu", False, False), ("swish", False, False), ("swish", True, False)]
FORMS += [("relu", False, True), (None, False, True), ("relu", True, False)]


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last_3d)


def random_norm(channels: int, **options: float | None) -> nn.BatchNorm3d:
    norm = nn.BatchNorm3d(channels, **options)  # type: ignore[arg-type]
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def parts(norm: nn.Module, x: Tensor, act: Act | None, se: nn.Module | None, other: Tensor | None) -> Tensor:
    """The definition."""
    y = norm(x)
    y = y if se is None else se(y)
    y = y if other is None else y + other
    return {None: lambda v: v, "relu": F.relu, "swish": F.silu}[act](y)


@pytest.mark.parametrize("mode", ["train", "eval", "no running statistics", "cumulative"])
@pytest.mark.parametrize(("act", "gated", "added"), FORMS)
@pytest.mark.parametrize(("shape", "threads"), SHAPES, indirect=["threads"])
def test_equals_its_parts(
    shape: tuple, act: Act | None, gated: bool, added: bool, mode: str, threads: int, poisoned_memory: None
) -> None:
    torch.manual_seed(0)
    norm = random_norm(shape[1], momentum=None if mode == "cumulative" else 0.1)
    norm.train(mode != "eval")
    if mode == "no running statistics":
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    se = SqueezeExcite(shape[1], 8) if gated else None
    x, other = channels_last(torch.randn(shape) + 1), channels_last(torch.randn(shape)) if added else None
    grad = channels_last(torch.randn(shape))

    def results(norm: nn.BatchNorm3d, se: nn.Module | None, form: object, dtype: torch.dtype) -> list[Tensor]:
        norm, se = copy.deepcopy(norm).to(dtype), copy.deepcopy(se).to(dtype) if se is not None else None
        inputs = [t.to(dtype).detach().requires_grad_() for t in (x, other) if t is not None]
        parameters = [*norm.parameters(), *(se.parameters() if se is not None else ())]
        found = []
        for _ in range(2):  # the second step sees what the first did to the running statistics
            if form is norm_act:
                y = norm_act(norm, inputs[0], act, se=se, other=inputs[1] if added else None)  # type: ignore[arg-type]
                assert type(y.grad_fn).__name__ == "_NormActBackward"
            else:
                y = parts(norm, inputs[0], act, se, inputs[1] if added else None)
            found += [y.detach(), *torch.autograd.grad(y, [*inputs, *parameters], grad.to(dtype))]
        return found + [buffer.clone() for buffer in norm.buffers()]

    exact = results(norm, se, parts, torch.float64)
    stock = results(norm, se, parts, torch.float32)
    ours = results(norm, se, norm_act, torch.float32)
    for value, right, like in zip(ours, exact, stock, strict=True):
        # No worse than twice what PyTorch's own parts lose in float32, or some roundings of the largest value.
        allowed = max(2 * float((like - right).abs().max()), 3e-6 * float(right.abs().max()), 1e-6)
        assert float((value - right).abs().max()) <= allowed


def test_values_far_from_zero_keep_their_digits() -> None:
    """A mean 1000 times the deviation: sums of squares would have lost the variance."""
    torch.manual_seed(0)
    x, norm = channels_last(torch.randn(2, 20, 4, 15, 15) + 1000), nn.BatchNorm3d(20, momentum=1)
    norm_act(norm, x)
    exact = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean.double(), exact.mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.running_var.double(), exact.var(1), rtol=1e-4, atol=0)


SPOILT = [
    (*form, place)
    for form in FORMS
    for place in ("x", "other", "weight", "bias", "reduce", "expand")
    if (place != "other" or form[2]) and (place not in ("reduce", "expand") or form[1])
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("act", "gated", "added", "place"), SPOILT)
def test_what_is_not_finite_shows(
    act: Act | None, gated: bool, added: bool, place: str, value: float, training: bool
) -> None:
    """A network that diverged must not come back with a finite loss."""
    torch.manual_seed(0)
    norm, se = random_norm(21).train(training), SqueezeExcite(21, 8) if gated else None
    x, other = (channels_last(torch.randn(2, 21, 3, 5, 5)) for _ in range(2))
    with torch.no_grad():
        if place in ("x", "other"):
            {"x": x, "other": other}[place][1, 1, 2, 3, 4] = value
        else:
            owner = norm if place in ("weight", "bias") else se.get_submodule(place)  # type: ignore[union-attr]
            getattr(owner, "weight" if place == "weight" else "bias")[1] = value
    grad, found = channels_last(torch.randn(x.shape)), []
    for form in (norm_act, parts):
        own_norm, own_se = copy.deepcopy(norm), copy.deepcopy(se)
        inputs = [t.clone().requires_grad_() for t in ((x, other) if added else (x,))]
        y = form(own_norm, inputs[0], act, se=own_se, other=inputs[1] if added else None)
        parameters = [*own_norm.parameters(), *(own_se.parameters() if own_se is not None else ())]
        found.append([y.detach(), *torch.autograd.grad(y, [*inputs, *parameters], grad), own_norm.running_var])
    for ours, stock in zip(*found, strict=True):
        if math.isnan(value):
            torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4, equal_nan=True)
        else:
            # Where infinities meet and become NaN is a question of the order of operations.
            assert stock.isfinite().all() or not ours.isfinite().all()


@pytest.mark.parametrize("value", [3e38, -3e38, 100.0, -100.0, -88.5])
def test_swish_far_from_zero(value: float) -> None:
    norm, x = nn.BatchNorm3d(21, eps=0).eval(), channels_last(torch.full((1, 21, 1, 1, 2), value)).requires_grad_()
    y, right = norm_act(norm, x, "swish"), F.silu(x)
    torch.testing.assert_close(y, right, rtol=1e-5, atol=1e-30)
    found, exact = (torch.autograd.grad(z.sum(), x)[0] for z in (y, right))
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize(("act", "added"), [("relu", True), pytest.param("swish", False, marks=pytest.mark.long)])
def test_results_beyond_the_caches(act: Act, added: bool, poisoned_memory: None) -> None:
    """They take another way to memory."""
    before = torch.get_num_threads()
    torch.manual_seed(0)
    shape = (7, 55, 13, 59, 61)
    assert 4 * math.prod(shape) > 64 << 20
    x, other, grad = (channels_last(torch.randn(shape)) for _ in range(3))
    norm = random_norm(55)
    found = []
    for form, dtype, threads in ((norm_act, torch.float32, 1), (norm_act, torch.float32, 2), (parts, torch.float64, 1)):
        torch.set_num_threads(threads)
        inputs = [t.to(dtype).clone().requires_grad_() for t in ((x, other) if added else (x,))]
        y = form(copy.deepcopy(norm).to(dtype), inputs[0], act, se=None, other=inputs[1] if added else None)
        found.append([y.detach(), *torch.autograd.grad(y, inputs, grad.to(dtype))])
    torch.set_num_threads(before)
    for one, two, right in zip(*found, strict=True):
        for ours in (one, two):
            # Where ReLU's input is within a rounding of zero, either sign is right.
            assert (~((ours - right).abs() <= 1e-4 * (1 + right.abs()))).sum() <= 10


def test_nothing_is_kept_alive() -> None:
    """The graph of a step goes with its output, without a garbage collection."""

    class Mark:
        """Lives as long as the operation that it is attached to."""

    norm, x = random_norm(8), channels_last(torch.randn(2, 8, 2, 4, 4)).requires_grad_()
    y = norm_act(norm, x, "swish", se=SqueezeExcite(8, 8))
    mark = weakref.ref(y.grad_fn.metadata.setdefault("mark", Mark()))  # type: ignore[union-attr]
    y.sum().backward()
    assert mark() is not None
    del y
    assert mark() is None


def test_a_kept_graph_runs_backward_again() -> None:
    norm, x = random_norm(8), channels_last(torch.randn(2, 8, 2, 4, 4)).requires_grad_()
    loss = norm_act(norm, x, "relu").square().sum()
    first = torch.autograd.grad(loss, (x, *norm.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, (x, *norm.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_second_gradients_are_refused() -> None:
    norm, x = random_norm(8), channels_last(torch.randn(2, 8, 2, 4, 4)).requires_grad_()
    (first,) = torch.autograd.grad(norm_act(norm, x, "swish").square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_checkpointing_changes_no_gradient() -> None:
    norm, x = random_norm(8), channels_last(torch.randn(2, 8, 2, 4, 4)).requires_grad_()

    def block(x: Tensor) -> Tensor:
        return norm_act(norm, x, "swish").square()

    plain = torch.autograd.grad(block(x).sum(), x)
    again = torch.autograd.grad(checkpoint(block, x, use_reentrant=False).sum(), x)
    assert torch.equal(plain[0], again[0])


@pytest.mark.parametrize("reason", ["memory format", "type", "asked"])
def test_what_cannot_be_fused_runs_in_parts(reason: str) -> None:
    norm, x = random_norm(8).eval(), channels_last(torch.randn(2, 8, 3, 4, 4)).requires_grad_()
    expected = parts(norm, x, "swish", None, None)
    if reason == "memory format":
        x = x.contiguous()
    elif reason == "type":
        norm, x, expected = norm.double(), x.double(), expected.double()
    y = norm_act(norm, x, "swish", backend="stock" if reason == "asked" else "auto")
    assert type(y.grad_fn).__name__ != "_NormActBackward"
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)


Change = Callable[[dict[str, Any]], object]
UNSUITED: dict[str, Change] = {
    "more channels than the norm": lambda c: c.update(x=channels_last(torch.randn(2, 9, 3, 4, 4)), other=None, se=None),
    "fewer than the norm": lambda c: c.update(x=channels_last(torch.randn(2, 7, 3, 4, 4)), other=None, se=None),
    "four dimensions": lambda c: c.update(x=torch.randn(8, 3, 4, 4), other=None, se=None),
    "a shortcut of one position": lambda c: c.update(other=channels_last(torch.randn(2, 8, 1, 1, 1))),
    "a shortcut of one sample": lambda c: c.update(other=channels_last(torch.randn(1, 8, 3, 4, 4))),
    "a shortcut of other size": lambda c: c.update(other=channels_last(torch.randn(2, 8, 3, 4, 5))),
    "a shortcut of other type": lambda c: c.update(other=channels_last(torch.randn(2, 8, 3, 4, 4).double())),
    "a shortcut before swish": lambda c: c.update(act="swish"),
    "a norm of other type": lambda c: c["norm"].double(),
    "a norm on another device": lambda c: c["norm"].to("meta"),
    "running statistics of other type": lambda c: setattr(c["norm"], "running_var", c["norm"].running_var.double()),
    "half of the running statistics": lambda c: setattr(c["norm"], "running_mean", None),
    "a norm without bias": lambda c: c["norm"].register_parameter("bias", None),
    "gates for fewer channels": lambda c: c.update(se=SqueezeExcite(7, 8)),
    "gates of other type": lambda c: c["se"].double(),
    "gates without bias": lambda c: c["se"].reduce.register_parameter("bias", None),
    "gates without hidden numbers": lambda c: c.update(se=SqueezeExcite(8, 0)),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reason", UNSUITED)
def test_what_is_unsuited_is_as_in_pytorch(reason: str, training: bool) -> None:
    """Refused with PyTorch's words, or right; shapes that do not fit would be read beyond their memory."""
    torch.manual_seed(0)
    x, other = (channels_last(torch.randn(2, 8, 3, 4, 4)) for _ in range(2))
    case: dict[str, Any] = {"norm": random_norm(8), "se": SqueezeExcite(8, 8), "x": x, "other": other, "act": "relu"}
    UNSUITED[reason](case)
    case["norm"].train(training)
    found = []
    for backend in ("auto", "stock"):
        own = copy.deepcopy(case)
        try:
            y = norm_act(**own, backend=backend)
        except (RuntimeError, ValueError) as error:
            found.append(f"{type(error)} {error}")
        else:
            assert type(y.grad_fn).__name__ != "_NormActBackward"
            found.append([y.detach(), *torch.autograd.grad(y.sum(), own["norm"].weight), *own["norm"].buffers()])
    if isinstance(found[0], str):
        assert found[0] == found[1]
    else:
        torch.testing.assert_close(*found)


@pytest.mark.parametrize("statistics", ["running", "none"])
def test_one_value_per_channel_is_refused_in_training(statistics: str) -> None:
    """It has no variance; a running one would be pulled towards 0."""
    norm = nn.BatchNorm3d(8, track_running_stats=statistics == "running")
    before = copy.deepcopy(norm.running_var)
    with pytest.raises(ValueError, match="more than 1 value per channel when training"):
        norm_act(norm, torch.randn(1, 8, 1, 1, 1), "relu")
    if statistics == "running":
        assert torch.equal(norm.running_var, before)
        assert norm_act(norm.eval(), torch.randn(1, 8, 1, 1, 1), "relu").isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_that_are_not_tracked_stay(training: bool) -> None:
    torch.manual_seed(0)
    norm, x = random_norm(8).train(training), channels_last(torch.randn(2, 8, 3, 4, 4))
    norm.track_running_stats = False
    before = copy.deepcopy(list(norm.buffers()))
    torch.testing.assert_close(norm_act(norm, x, "relu"), F.relu(norm(x)))
    assert all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_with_gaps(training: bool) -> None:
    torch.manual_seed(0)
    norm, x = random_norm(8).train(training), channels_last(torch.randn(2, 8, 3, 4, 4))
    spread = copy.deepcopy(norm)
    for name in ("running_mean", "running_var"):
        setattr(spread, name, torch.stack([getattr(norm, name), torch.full((8,), 7.5)], 1)[:, 0])
    torch.testing.assert_close(norm_act(spread, x), norm(x))
    for ours, right in zip(spread.buffers(), norm.buffers(), strict=True):
        torch.testing.assert_close(ours, right)
