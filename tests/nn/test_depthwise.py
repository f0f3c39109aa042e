"""The depthwise operator against PyTorch's convolution in float64: every backend, shape, type and pass."""

import random
import zlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidnas.base.errors import VidnasError
from vidnas.nn import native
from vidnas.nn.depthwise import backends, depthwise_conv3d
from vidnas.nn.depthwise.shapes import output_shape

needs_kernels = pytest.mark.skipif(native.library() is None, reason="installed without a C++ compiler")
BACKENDS = [pytest.param("cpu", marks=needs_kernels), "torch", "stock"]
OPERATOR = torch.ops.vidnas.depthwise_conv3d

# Shape of x, kernel, stride, padding: what the networks use, at odd sizes, then what nobody does.
CASES = [
    ((2, 54, 5, 9, 11), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((1, 29, 3, 20, 20), (5, 5, 5), (1, 1, 1), (2, 2, 2)),
    ((2, 33, 4, 17, 16), (3, 3, 3), (1, 2, 2), (1, 1, 1)),
    ((1, 24, 4, 15, 18), (5, 5, 5), (1, 2, 2), (2, 2, 2)),
    ((2, 16, 3, 8, 24), (1, 3, 3), (1, 1, 1), (0, 1, 1)),
    ((1, 40, 1, 13, 13), (1, 5, 5), (1, 2, 2), (0, 2, 2)),
    ((2, 6, 9, 7, 7), (5, 1, 1), (1, 1, 1), (2, 0, 0)),
    ((9, 8, 2, 3, 2), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((1, 1, 1, 1, 1), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((3, 1, 4, 5, 6), (3, 5, 5), (1, 1, 1), (1, 2, 2)),
    ((1, 13, 6, 9, 9), (3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((1, 17, 5, 8, 9), (2, 4, 7), (1, 3, 1), (1, 0, 3)),
    ((2, 5, 4, 9, 9), (3, 3, 3), (1, 2, 2), (0, 0, 0)),
    ((1, 20, 4, 6, 6), (3, 3, 3), (1, 1, 1), (2, 3, 3)),
    ((1, 70, 2, 41, 40), (3, 3, 3), (1, 2, 1), (1, 1, 1)),
]


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last_3d)


def random_case(rng: random.Random) -> tuple[tuple[int, ...], ...]:
    kernel = rng.choice([(3, 3, 3), (1, 3, 3), (5, 3, 3), (3, 5, 5), (5, 5, 5), (5, 1, 1), (3, 1, 2)])
    stride = rng.choice([(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 1, 3)])
    padding = tuple(k // 2 for k in kernel) if rng.random() < 0.8 else tuple(rng.randrange(k + 1) for k in kernel)
    sides = (max(k - 2 * p, 1) + rng.randrange(12) for k, p in zip(kernel, padding, strict=True))
    return (rng.randint(1, 9), rng.choice([1, 3, 4, 7, 8, 12, 16, 23, 48, 90]), *sides), kernel, stride, padding


def passes(x: Tensor, weight: Tensor, grad: Tensor, stride: tuple, padding: tuple, backend: str | None) -> list[Tensor]:
    """Output and both gradients, by the operator, or by PyTorch where backend is None."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    if backend is None:
        y = F.conv3d(x, weight, None, stride, padding, 1, x.shape[1])
    else:
        y = depthwise_conv3d(x, weight, stride, padding, backend=backend)  # type: ignore[arg-type]
    return [y.detach(), *torch.autograd.grad(y, (x, weight), grad)]


def assert_within_rounding(case: tuple, dtype: torch.dtype, backend: str, dense: bool = True) -> None:
    """Each value within the rounding of its own sum of products."""
    shape, kernel, stride, padding = case
    torch.manual_seed(zlib.crc32(repr(case).encode()))
    out = output_shape(shape, kernel, stride, padding)
    x, weight, grad = (torch.randn(s).to(dtype) for s in (shape, (shape[1], 1, *kernel), out))
    if dense:
        x, grad = (tensor.to(memory_format=torch.channels_last_3d) for tensor in (x, grad))
    else:
        x = torch.cat([x, x], 4)[..., : shape[4]]
        weight = torch.cat([weight, weight], 1)[:, 1:]
    exact = passes(x.double(), weight.double(), grad.double(), stride, padding, None)
    sizes = passes(x.double().abs(), weight.double().abs(), grad.double().abs(), stride, padding, None)
    found = passes(x, weight, grad, stride, padding, backend)
    for name, value, right, size in zip(("output", "input", "weight"), found, exact, sizes, strict=True):
        assert value.dtype is dtype
        assert torch.all((value.double() - right).abs() <= allowed(right, size, dtype, backend)), (name, case)


def allowed(right: Tensor, size: Tensor, dtype: torch.dtype, backend: str) -> Tensor:
    """How far off a sum may be, from its exact value and the sum of its absolute products."""
    # Products and sums are in float32, with at most some dozens of roundings one after another in blocked sums.
    bound = 1e-5 * size + 1e-12
    if dtype is torch.float32:
        return bound
    limits = torch.finfo(dtype)
    if backend != "cpu":
        # PyTorch's gradients are rounded between taps.
        bound = bound + 2.5 * limits.eps * size
    return bound + limits.eps / 2 * (right.abs() + bound + limits.tiny)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch_in_float64(case: tuple, backend: str, threads: int, poisoned_memory: None) -> None:
    assert_within_rounding(case, torch.float32, backend)


@needs_kernels
@pytest.mark.parametrize("seed", range(30))
def test_random_shapes(seed: int, poisoned_memory: None) -> None:
    rng = random.Random(seed)
    case = random_case(rng)
    assert_within_rounding(case, rng.choice([torch.float32, torch.bfloat16]), "cpu", dense=rng.random() < 0.7)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_bfloat16(case: tuple, backend: str, poisoned_memory: None) -> None:
    assert_within_rounding(case, torch.bfloat16, backend)


@pytest.mark.parametrize("case", CASES)
def test_float16_on_a_cpu(case: tuple, poisoned_memory: None) -> None:
    """By PyTorch's operators: the kernels do not know it."""
    name, _ = backends.choose("auto", torch.empty(0, dtype=torch.float16), case[1])
    assert name == ("torch" if case[1] in ((3, 3, 3), (1, 3, 3)) else "stock")
    assert_within_rounding(case, torch.float16, "auto")


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_tensors(backend: str) -> None:
    assert_within_rounding(CASES[0], torch.float32, backend, dense=False)


@needs_kernels
@pytest.mark.parametrize("case", CASES)
def test_nothing_outside_the_output_is_written(case: tuple) -> None:
    """The last vector of a row may overlap the one before, never what lies behind the tensor."""
    shape, kernel, stride, padding = case
    out = output_shape(shape, kernel, stride, padding)
    x, grad = (torch.randn(s).to(memory_format=torch.channels_last_3d) for s in (shape, out))
    weight = torch.randn(shape[1], 1, *kernel)
    runs = [
        (native.FORWARD, x, weight, out),
        (native.INPUT_GRADIENT, grad, weight, shape),
        (native.WEIGHT_GRADIENT, grad, x, weight.shape),
    ]
    for kind, first, second, target in runs:
        count = torch.Size(target).numel()
        memory = torch.full((count + 64,), 7.5)
        native.depthwise(kind, first, second, memory[32:-32], shape, out, kernel, stride, padding)
        assert torch.all(memory[:32] == 7.5)
        assert torch.all(memory[-32:] == 7.5)


@needs_kernels
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
def test_results_beyond_the_caches_are_those_of_their_parts(stride: tuple[int, int, int], threads: int) -> None:
    """They take another way to memory."""
    torch.manual_seed(0)
    x = channels_last(torch.randn(7, 55, 13, 59, 61))
    weight = torch.randn(55, 1, 3, 3, 3)
    assert x.nbytes > 64 << 20 > x[:1].nbytes
    inputs = [x.requires_grad_(), *(sample.detach().requires_grad_() for sample in x.split(1))]
    outputs = [depthwise_conv3d(given, weight, stride=stride, padding=1, backend="cpu") for given in inputs]
    grad = channels_last(torch.randn(outputs[0].shape))
    grads = [
        torch.autograd.grad(y, given, g)[0] for y, given, g in zip(outputs, inputs, (grad, *grad.split(1)), strict=True)
    ]
    assert torch.equal(outputs[0], torch.cat(outputs[1:]))
    assert torch.equal(grads[0], torch.cat(grads[1:]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batch(backend: str) -> None:
    x = torch.empty(0, 4, 3, 5, 5, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3, 3, requires_grad=True)
    y = depthwise_conv3d(x, weight, (1, 2, 2), 1, backend=backend)  # type: ignore[arg-type]
    y.sum().backward()
    assert y.shape == (0, 4, 3, 3, 3)
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert weight.grad is not None
    assert torch.all(weight.grad == 0)


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
def test_gradients_of_any_order(stride: tuple[int, int, int]) -> None:
    x, weight = torch.randn(1, 2, 3, 4, 4).double(), torch.randn(2, 1, 3, 3, 3).double()
    inputs = (x.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: depthwise_conv3d(a, b, stride, 1), inputs)
    assert torch.autograd.gradgradcheck(lambda a, b: depthwise_conv3d(a, b, stride, 1), inputs)


@needs_kernels
def test_second_gradients_of_the_kernels() -> None:
    """Of the size of both gradients, a quantity in which each of the three passes appears twice."""
    found = []
    for backend in ("cpu", "stock"):
        torch.manual_seed(0)
        x, weight = torch.randn(2, 9, 3, 7, 7).requires_grad_(), torch.randn(9, 1, 3, 3, 3).requires_grad_()
        y = depthwise_conv3d(x, weight, (1, 2, 2), 1, backend=backend)  # type: ignore[arg-type]
        first = torch.autograd.grad(y.square().sum(), (x, weight), create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), (x, weight)))
    for ours, stock in zip(*found, strict=True):
        torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4 * float(stock.abs().max()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_to_the_active_type(dtype: torch.dtype) -> None:
    x, weight = torch.randn(1, 4, 3, 5, 5, requires_grad=True), torch.randn(4, 1, 3, 3, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        y = depthwise_conv3d(x, weight, 1, 1)
        mixed = depthwise_conv3d(x.to(dtype), weight, 1, 1)
    assert y.dtype is mixed.dtype is dtype
    y.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype is torch.float32


def test_registered_as_pytorch_wants_it() -> None:
    """Schema, autograd, fake tensors with the real strides, and tracing."""
    for shape in ((2, 7, 4, 6, 5), (1, 1, 3, 4, 4), (3, 4, 1, 1, 1)):
        x = torch.randn(shape, requires_grad=True)
        weight = torch.randn(shape[1], 1, 3, 3, 3, requires_grad=True)
        torch.library.opcheck(OPERATOR, (x, weight, [1, 2, 2], [1, 1, 1], "auto"))


def test_compiles_as_one_graph() -> None:
    x, weight = torch.randn(2, 6, 3, 8, 8, requires_grad=True), torch.randn(6, 1, 3, 3, 3, requires_grad=True)

    def step(x: Tensor, weight: Tensor) -> Tensor:
        return torch.relu(depthwise_conv3d(x, weight, (1, 2, 2), 1) * 2).sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(x, weight), (x, weight))
    for ours, right in zip(found, torch.autograd.grad(step(x, weight), (x, weight)), strict=True):
        torch.testing.assert_close(ours, right)


@pytest.mark.parametrize(
    ("x", "weight", "settings", "message"),
    [
        (torch.zeros(1, 4, 3, 5), torch.zeros(4, 1, 3, 3, 3), {}, "takes x"),
        (torch.zeros(1, 4, 3, 5, 5), torch.zeros(3, 1, 3, 3, 3), {}, "takes x"),
        (torch.zeros(1, 4, 3, 5, 5), torch.zeros(4, 1, 3, 3, 3).double(), {}, "float64"),
        (torch.zeros(1, 4, 3, 5, 5).int(), torch.zeros(4, 1, 3, 3, 3).int(), {}, "floating point"),
        (torch.zeros(1, 4, 1, 5, 5), torch.zeros(4, 1, 3, 3, 3), {}, "does not fit"),
        (torch.zeros(1, 4, 3, 5, 5), torch.zeros(4, 1, 3, 3, 3), {"stride": 0}, "stride"),
        (torch.zeros(1, 4, 3, 5, 5), torch.zeros(4, 1, 3, 3, 3), {"padding": (1, 1)}, "padding"),
    ],
)
def test_wrong_input_is_refused(x: Tensor, weight: Tensor, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        depthwise_conv3d(x, weight, **settings)


@needs_kernels
def test_choice_of_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 4, 3, 5, 5)
    assert backends.choose("auto", x, (3, 3, 3))[0] == "cpu"
    assert backends.choose("auto", x.double(), (3, 3, 3))[0] == "torch"
    assert backends.choose("auto", x.double(), (5, 5, 5))[0] == "stock"
    with pytest.raises(VidnasError, match="'cpu' does not compute float64 on cpu"):
        depthwise_conv3d(x.double(), torch.zeros(4, 1, 3, 3, 3).double(), 1, 1, backend="cpu")
    monkeypatch.setenv(backends.ENVIRONMENT_VARIABLE, "stock")
    assert backends.choose("auto", x, (3, 3, 3))[0] == "stock"
    monkeypatch.setenv(backends.ENVIRONMENT_VARIABLE, "fast")
    with pytest.raises(VidnasError, match="'fast': there are auto, cpu, torch"):
        depthwise_conv3d(x, torch.zeros(4, 1, 3, 3, 3), 1, 1)
