"""The depthwise layer as others use it: a drop-in, put into somebody else's network, exported."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import vidnas
from vidnas.arch.spec import ClipSpec
from vidnas.nn import native
from vidnas.nn.build import build
from vidnas.nn.depthwise import DepthwiseConv3d, replace_depthwise

PACKAGE = Path(vidnas.__file__).parent
PROGRAM = """
import torch, torch.nn.functional as F
from vidnas.nn import native
from vidnas.nn.depthwise import depthwise_conv3d, describe_backend
x, w = torch.randn(2, 21, 4, 11, 10, requires_grad=True), torch.randn(21, 1, 3, 3, 3, requires_grad=True)
for stride in ((1, 1, 1), (1, 2, 2)):
    ours, stock = depthwise_conv3d(x, w, stride, 1), F.conv3d(x, w, None, stride, 1, 1, 21)
    grad = torch.randn_like(stock)
    pairs = zip((ours, *torch.autograd.grad(ours, (x, w), grad)), (stock, *torch.autograd.grad(stock, (x, w), grad)))
    assert all((a - b).abs().max() < 1e-4 * b.abs().max() for a, b in pairs)
print(native.instruction_set(), "|", describe_backend(torch.device("cpu")))
"""


def run(folder: Path, **environment: str) -> str:
    """What PROGRAM prints with the package in `folder`."""
    settings = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=settings, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(native.library() is None, reason="installed without a C++ compiler")
@pytest.mark.parametrize("name", ["portable", "avx2"])
def test_lesser_instruction_sets(name: str) -> None:
    found = run(PACKAGE.parent, VIDNAS_ISA=name)
    if native.instruction_set() == "portable":
        name = "portable"
    assert found == f"{name} | C++ kernels ({name})"


def test_without_a_compiler(tmp_path: Path) -> None:
    """The package as it is where the kernels could not be built: other operators take over, and it says so."""
    shutil.copytree(PACKAGE, tmp_path / "vidnas", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    assert run(tmp_path) == "None | PyTorch's 2D operators"


def test_a_drop_in_for_conv3d() -> None:
    torch.manual_seed(0)
    stock = nn.Conv3d(6, 6, 3, stride=(1, 2, 2), padding=1, groups=6)
    ours = DepthwiseConv3d(6, 6, 3, stride=(1, 2, 2), padding=1)
    ours.load_state_dict(stock.state_dict())
    x = torch.randn(2, 6, 4, 9, 9)
    torch.testing.assert_close(ours(x), stock(x), rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x).dtype is stock(x).dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"groups": 2}, "groups 2, "),
        ({"dilation": 2}, "dilation"),
        ({"padding": "same"}, "padding 'same'"),
        ({"padding": 1, "padding_mode": "circular"}, "circular"),
    ],
)
def test_what_it_cannot_do_is_refused(options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DepthwiseConv3d(6, 6, 3, **options)


def test_put_into_the_network_of_somebody_else() -> None:
    """pytorchvideo's X3D, as it is and with our operator: the same parameters, outputs and gradients."""
    hub = pytest.importorskip("pytorchvideo.models.x3d")
    torch.manual_seed(0)
    stock = hub.create_x3d(input_clip_length=4, input_crop_size=64, model_num_class=5)
    ours = copy.deepcopy(stock)
    parameters = list(ours.parameters())
    # One in each of the 26 blocks, and the stem's.
    assert replace_depthwise(ours) == 27
    assert all(a is b for a, b in zip(parameters, ours.parameters(), strict=True))
    assert list(ours.state_dict()) == list(stock.state_dict())
    clips = torch.randn(2, 3, 4, 64, 64)
    losses = []
    for network in (stock, ours):
        torch.manual_seed(1)
        losses.append(network.train()(clips).square().sum())
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-5)
    # The last layers: further back the rounding of 80 norms over 8 to 32 values hides everything.
    for name in ("blocks.5.proj.weight", "blocks.5.pool.post_conv.weight"):
        left, right = stock.get_parameter(name).grad, ours.get_parameter(name).grad
        assert left is not None
        assert right is not None
        assert (left - right).norm() < 1e-2 * left.norm()


def test_exported_programs_hold_stock_operators_only() -> None:
    spec = vidnas.get_spec("x3d_xs").model_copy(update={"clip": ClipSpec(frames=4, size=64)})
    network = build(spec).eval()
    clips = torch.randn(1, 3, 4, 64, 64)
    program = torch.export.export(network, (clips,))
    assert "vidnas" not in str(program.graph)
    torch.testing.assert_close(program.module()(clips), network(clips), rtol=1e-4, atol=1e-5)
