"""The Triton backend against F.conv3d in float64: on a GPU where there is one, else in Triton's interpreter.

The interpreter has to be chosen before Triton is imported, so it runs in a process of its own. What it does not see,
whether the kernels compile, is tested by compiling them, which needs no GPU.
"""

import math
import multiprocessing
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidnas.nn.depthwise import triton_backend

pytest.importorskip("triton")

Triple = tuple[int, int, int]
Run = Callable[..., None]


class Case(NamedTuple):
    samples: int
    channels: int
    size: Triple
    kernel: Triple
    stride: Triple
    padding: Triple


# Small: the interpreter takes about 0.1 ms for each product of two blocks.
CASES = {
    "3x3x3": Case(1, 54, (3, 4, 5), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    "3x3x3 stride 2": Case(1, 24, (2, 7, 9), (3, 3, 3), (1, 2, 2), (1, 1, 1)),
    "1x3x3": Case(1, 6, (2, 5, 11), (1, 3, 3), (1, 1, 1), (0, 1, 1)),
    "1x5x5 stride 2, even sizes": Case(1, 8, (1, 8, 12), (1, 5, 5), (1, 2, 2), (0, 2, 2)),
    "5x3x3": Case(1, 4, (3, 4, 4), (5, 3, 3), (1, 1, 1), (2, 1, 1)),
    "5x5x5": Case(1, 16, (2, 4, 3), (5, 5, 5), (1, 1, 1), (2, 2, 2)),
    "5x1x1": Case(1, 5, (6, 3, 4), (5, 1, 1), (1, 1, 1), (2, 0, 0)),
    "7x7x7, larger than the frame": Case(1, 3, (1, 2, 2), (7, 7, 7), (1, 1, 1), (3, 3, 3)),
    "more channels than a block": Case(1, 70, (3, 4, 3), (3, 1, 3), (1, 1, 1), (1, 0, 1)),
    "one frame": Case(3, 12, (1, 5, 5), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    "one channel, one position": Case(1, 1, (1, 1, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0)),
    "even and unequal, stride 2 and 3": Case(1, 3, (4, 6, 7), (2, 4, 3), (2, 3, 2), (0, 1, 2)),
    "stride beyond the kernel": Case(1, 2, (7, 8, 9), (1, 2, 1), (3, 4, 3), (0, 0, 0)),
    "padding beyond the kernel": Case(1, 2, (2, 3, 3), (1, 2, 3), (2, 1, 2), (2, 3, 5)),
    "padding out of step with the stride along T": Case(1, 2, (4, 3, 3), (3, 1, 1), (2, 1, 1), (1, 0, 0)),
    "stride 3": Case(1, 2, (5, 6, 7), (5, 4, 5), (3, 3, 3), (1, 2, 4)),
}


def random_case(seed: int) -> Case:
    """Any sizes for which there is an output."""
    draw = random.Random(seed)
    sides = []
    for largest in (3, 5, 8):
        kernel = draw.choice([1, 2, 3, 4, 5])
        padding = draw.choice([0, kernel // 2, kernel // 2, draw.randint(0, kernel)])
        smallest = max(1, kernel - 2 * padding)
        size = draw.randint(smallest, max(smallest, largest))
        sides.append((size, kernel, draw.choice([1, 1, 2, 3]), padding))
    size, kernel, stride, padding = zip(*sides, strict=True)
    return Case(draw.choice([1, 1, 2]), draw.choice([1, 2, 3, 7, 12, 33, 40]), size, kernel, stride, padding)


# The checks: functions of this module, so that they can run in the interpreter's process.


def between_poison(values: Tensor) -> Tensor:
    """A copy in channels_last_3d with NaN before and after it in memory, where nothing may be read."""
    margin = 4096
    n, c, t, h, w = values.shape
    memory = torch.full((values.numel() + 2 * margin,), torch.nan, dtype=values.dtype, device=values.device)
    copy = memory[margin : margin + values.numel()].view(n, t, h, w, c).permute(0, 4, 1, 2, 3)
    return copy.copy_(values)


def assert_rounded_sum(result: Tensor, exact: Tensor, magnitude: Tensor, terms: int, halves: int = 1) -> None:
    """Checks a sum of `terms` products, summed in float32 in any order and rounded to the type of `result`.

    The sum of n terms is off by at most n * 2**-24 of the sum of their magnitudes; one more for the products'
    rounding, in case they are not fused. The type's rounding adds half its epsilon of the result, or half its smallest
    step (`halves` times).
    """
    bound = (terms + 1) * 2**-24 * magnitude
    limits = torch.finfo(result.dtype)
    bound += halves / 2 * limits.eps * (exact.abs() + bound + limits.tiny)
    error = (result.double().cpu() - exact).abs()
    assert bool((error <= bound).all()), f"off by {(error / bound).max():.2f} times the bound"


def check_case(case: Case, dtype: torch.dtype, device: str) -> None:
    """The three passes against float64, with all memory poisoned that nothing has written."""
    # Fills new tensors with NaN, and raises for operators that are not deterministic.
    torch.use_deterministic_algorithms(True)
    make = torch.Generator().manual_seed(0)
    x = torch.randn(case.samples, case.channels, *case.size, generator=make).to(dtype)
    weight = torch.randn(case.channels, 1, *case.kernel, generator=make).to(dtype)

    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv3d(x, weight, None, case.stride, case.padding, groups=case.channels)

    exact_x, exact_weight = x.double().requires_grad_(), weight.double().requires_grad_()
    exact = convolve(exact_x, exact_weight)
    grad = torch.randn(exact.shape, generator=make).to(dtype)
    exact_dx, exact_dw = torch.autograd.grad(exact, (exact_x, exact_weight), grad.double())
    big_x, big_weight = x.double().abs().requires_grad_(), weight.double().abs().requires_grad_()
    big = convolve(big_x, big_weight)
    big_dx, big_dw = torch.autograd.grad(big, (big_x, big_weight), grad.double().abs())

    x, grad, weight = between_poison(x.to(device)), between_poison(grad.to(device)), weight.to(device)
    assert triton_backend.supports(x)
    out = triton_backend.forward(x, weight, case.stride, case.padding)
    dx = triton_backend.input_gradient(grad, weight, x.shape, case.stride, case.padding)
    dw = triton_backend.weight_gradient(grad, x, case.kernel, case.stride, case.padding)
    assert out.dtype == dx.dtype == dw.dtype == dtype
    assert (out.shape, dx.shape, dw.shape) == (exact.shape, exact_dx.shape, exact_dw.shape)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert dx.is_contiguous(memory_format=torch.channels_last_3d)
    # The interpreter cuts bfloat16 off where a GPU rounds, which is twice as far.
    stored = 2 if dtype == torch.bfloat16 and device == "cpu" else 1
    assert_rounded_sum(out, exact.detach(), big.detach(), math.prod(case.kernel), stored)
    assert_rounded_sum(dx, exact_dx, big_dx, math.prod(case.kernel), stored)
    assert_rounded_sum(dw, exact_dw, big_dw, case.samples * math.prod(exact.shape[2:]))


def check_no_samples(device: str) -> None:
    x = torch.empty(0, 4, 3, 8, 8, device=device)
    weight = torch.ones(4, 1, 3, 3, 3, device=device)
    grad = torch.empty(0, 4, 3, 4, 4, device=device)
    assert triton_backend.forward(x, weight, (1, 2, 2), (1, 1, 1)).shape == grad.shape
    assert triton_backend.input_gradient(grad, weight, x.shape, (1, 2, 2), (1, 1, 1)).shape == x.shape
    dw = triton_backend.weight_gradient(grad, x, (3, 3, 3), (1, 2, 2), (1, 1, 1))
    assert torch.equal(dw, torch.zeros_like(weight))


def check_runs_and_parts(device: str) -> None:
    """Several runs of frames for each clip, and several items for each part of the weight gradient."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_backend, "PROGRAMS", 8)
        check_case(Case(1, 4, (9, 2, 2), (3, 1, 2), (1, 1, 1), (1, 0, 1)), torch.float32, device)
        check_case(Case(1, 4, (13, 2, 2), (3, 1, 2), (2, 1, 1), (2, 0, 1)), torch.float32, device)
        check_case(Case(3, 40, (2, 16, 8), (1, 1, 3), (1, 1, 1), (0, 0, 1)), torch.float32, device)
        # Each part's sum has a place of its own, so the order is fixed, and the last bits are.
        x, grad = (torch.randn(4, 40, 1, 16, 8, device=device) for _ in range(2))
        x, grad = between_poison(x), between_poison(grad)
        first, *others = (triton_backend.weight_gradient(grad, x, (1, 1, 1), (1, 1, 1), (0, 0, 0)) for _ in range(3))
        assert all(torch.equal(first, other) for other in others)


def check_huge(device: str) -> None:
    """Elements beyond 2**31: two output rows, so far apart that only those of a large input are read."""
    rows = 2**30 // 3 + 5
    # Pages of zeros that are never written take no memory; torch.zeros would write them.
    memory = torch.from_numpy(np.zeros((1, 3, rows, 1, 2), np.float16)).permute(0, 4, 1, 2, 3)
    assert memory.numel() > 2**31
    memory[0, :, 2, -1, 0] = torch.tensor([3.0, 5.0])
    far, weight = (1, rows - 1, 1), torch.tensor([2.0, 4.0], dtype=torch.float16).view(2, 1, 1, 1, 1)
    out = triton_backend.forward(memory, weight, far, (0, 0, 0))
    assert out[0, :, :, :, 0].tolist() == [[[0, 0], [0, 0], [0, 6]], [[0, 0], [0, 0], [0, 20]]]
    dw = triton_backend.weight_gradient(torch.ones_like(out), memory, (1, 1, 1), far, (0, 0, 0))
    assert dw.flatten().tolist() == [3, 5]
    # As the gradient of an output that is nearly all padding.
    dx = triton_backend.input_gradient(memory, weight, (1, 2, 3, 1, 1), (1, 1, 1), (0, rows - 1, 0))
    assert dx.flatten().tolist() == [0, 0, 6, 0, 0, 20]


# Where they run.


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Run]:
    """Runs a function of this module in a process where Triton interprets."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            pool.submit(torch.set_num_threads, 1).result()
        yield lambda check, *arguments: pool.submit(check, *arguments, "cpu").result()


@pytest.fixture(params=["interpreter", "cuda"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "interpreter":
        return request.getfixturevalue("interpreter")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return lambda check, *arguments: check(*arguments, "cuda")


# The interpreter takes most of a second for each.
ALWAYS = (
    "3x3x3 stride 2",
    "1x5x5 stride 2, even sizes",
    "5x1x1",
    "7x7x7, larger than the frame",
    "more channels than a block",
    "one channel, one position",
    "even and unequal, stride 2 and 3",
    "padding beyond the kernel",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.long) for name in CASES]
)
def test_float32(run: Run, name: str) -> None:
    run(check_case, CASES[name], torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["3x3x3 stride 2", "more channels than a block"])
def test_half_precision(run: Run, name: str, dtype: torch.dtype) -> None:
    run(check_case, CASES[name], dtype)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))])
def test_random_case(run: Run, seed: int) -> None:
    run(check_case, random_case(seed), torch.float32)


def test_no_samples(run: Run) -> None:
    run(check_no_samples)


def test_runs_and_parts(run: Run) -> None:
    run(check_runs_and_parts)


def test_more_than_int32_elements(interpreter: Run) -> None:
    interpreter(check_huge)


def test_unsupported() -> None:
    # Here, without the interpreter, a CPU is not supported; nor is float64 anywhere.
    assert not triton_backend.supports(torch.empty(0))
    assert not triton_backend.supports(torch.empty(0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        (Case(8, 54, (13, 40, 40), (3, 3, 3), (1, 1, 1), (1, 1, 1)), torch.bfloat16),
        (Case(8, 432, (13, 10, 10), (1, 3, 3), (1, 2, 2), (0, 1, 1)), torch.float32),
        (Case(2, 7, (9, 11, 12), (3, 2, 2), (2, 2, 3), (1, 0, 2)), torch.float16),
        # Arguments equal to 1 are constants to the compiler.
        (Case(1, 1, (1, 1, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0)), torch.float32),
    ],
)
def test_compiles_for_gpus(case: Case, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    def specialize(value: Any) -> Any:
        if isinstance(value, Tensor):
            return {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}[value.dtype]
        if isinstance(value, tuple):
            return tuple(specialize(entry) for entry in value)
        return "constexpr" if value == 1 else "i32"

    shared = {}

    def compile_only(kernel: Any, programs: int, arguments: tuple[Any, ...], settings: dict[str, Any]) -> None:
        values = dict(zip(kernel.arg_names, arguments, strict=False)) | settings
        warps = values.pop("num_warps")
        signature, constants = {}, {}
        for position, name in enumerate(kernel.arg_names):
            value = values[name]
            signature[name] = "constexpr" if name.isupper() else specialize(value)
            if signature[name] == "constexpr":
                constants[(position,)] = value
            elif isinstance(value, tuple):
                constants |= {(position, entry): 1 for entry, size in enumerate(value) if size == 1}
        source = ASTSource(kernel, signature, constants)
        compiled = compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": warps})
        assert "fma.rn" in compiled.asm["ptx"]
        shared[kernel.__name__] = compiled.metadata.shared

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(triton_backend, "launch", compile_only)
    x = torch.empty(case.samples, case.channels, *case.size, dtype=dtype)
    weight = torch.empty(case.channels, 1, *case.kernel, dtype=dtype)
    out = triton_backend.forward(x, weight, case.stride, case.padding)
    triton_backend.input_gradient(out, weight, x.shape, case.stride, case.padding)
    triton_backend.weight_gradient(out, x, case.kernel, case.stride, case.padding)
    assert set(shared) == {"forward_kernel", "input_gradient_kernel", "weight_gradient_kernel"}
    # Data and weights lie in the threads alike: nothing is exchanged between them in the loops.
    assert shared["forward_kernel"] == shared["input_gradient_kernel"] == 0
