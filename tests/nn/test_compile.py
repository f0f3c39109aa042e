"""A whole network through torch.compile with its default backend, forwards and backwards."""

import copy
import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, GroupSpec, Kernel, StemSpec, StreamSpec
from vidnas.nn.build import VideoNetwork, build

# Each layer once: Inductor takes seconds of a CPU for each.
SPEC = ArchSpec(
    name="tiny",
    clip=ClipSpec(frames=4, size=32),
    streams=(
        StreamSpec(
            stem=StemSpec(channels=8, kernel=Kernel(t=5, s=3)),
            groups=(GroupSpec(depth=1, stride=2, channels=12, expansion=2.25, kernel=Kernel(t=3, s=3)),),
            conv5=24,
        ),
    ),
    head=ClassificationSpec(num_classes=5, hidden=32, dropout=0.0),
)


CLIPS = torch.randn(4, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))
CLIPS = CLIPS.to(memory_format=torch.channels_last_3d)


@pytest.fixture
def eager() -> VideoNetwork:
    torch.manual_seed(0)
    return build(SPEC, zero_init_residual=False)


def test_a_captured_network_trains_as_the_network(eager: VideoNetwork) -> None:
    """Forward and backward as one graph each; its operators are those of eager mode."""
    other = copy.deepcopy(eager)
    captured = torch.compile(other, fullgraph=True, backend="aot_eager")
    losses = [F.cross_entropy(network(CLIPS), torch.arange(4)) for network in (captured, eager)]
    torch.testing.assert_close(*losses)
    for value in losses:
        value.backward()
    for (name, ours), right in zip(other.named_parameters(), eager.parameters(), strict=True):
        # Rounding: gradients are of 1e-5 to 0.1.
        torch.testing.assert_close(ours.grad, right.grad, rtol=1e-4, atol=1e-7, msg=name)
    for (name, moved), right in zip(other.named_buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(moved, right, msg=name)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")
@pytest.mark.long
@torch.no_grad()
def test_a_compiled_network_is_the_network(
    eager: VideoNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiled = torch.compile(copy.deepcopy(eager).eval(), fullgraph=True, options={"compile_threads": 1})
    torch.testing.assert_close(compiled(CLIPS), eager.eval()(CLIPS), rtol=1e-4, atol=1e-5)  # rounding
