"""A network on our operators against the same on PyTorch's, which differs from itself between memory formats."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ClipSpec
from vidnas.nn import native
from vidnas.nn.backends import use_backend
from vidnas.nn.build import VideoNetwork, build

pytestmark = pytest.mark.skipif(native.library() is None, reason="installed without a C++ compiler")
CLIP = ClipSpec(frames=4, size=64)


def variants() -> dict[str, VideoNetwork]:
    """The same weights: on our operators, and on PyTorch's in both memory formats."""
    torch.manual_seed(0)
    spec = get_spec("x3d_xs").model_copy(update={"clip": CLIP}).with_classes(5)
    ours = build(spec, zero_init_residual=False)
    ours.head.dropout.p = 0.0
    stock = use_backend(copy.deepcopy(ours), "stock")
    contiguous = copy.deepcopy(stock).to(memory_format=torch.contiguous_format)
    return {"ours": ours, "stock": stock, "stock contiguous": contiguous}


def loss_of(name: str, network: VideoNetwork, clips: Tensor, labels: Tensor) -> Tensor:
    if name != "stock contiguous":
        clips = clips.to(memory_format=torch.channels_last_3d)
    return F.cross_entropy(network(clips), labels)


def test_gradients_differ_no_more_than_those_of_two_formats(threads: int, poisoned_memory: None) -> None:
    networks = variants()
    clips, labels = torch.randn(4, 3, CLIP.frames, CLIP.size, CLIP.size), torch.arange(4)
    for name, network in networks.items():
        torch.set_num_threads(threads if name == "ours" else 1)
        loss_of(name, network, clips, labels).backward()
    for (name, ours), stock, other in zip(
        networks["ours"].named_parameters(),
        networks["stock"].parameters(),
        networks["stock contiguous"].parameters(),
        strict=True,
    ):
        assert ours.grad is not None
        assert stock.grad is not None
        assert other.grad is not None
        # Biases that a norm follows have no gradient but rounding, hence the floor.
        allowed = max(2 * float((other.grad - stock.grad).norm()), 1e-6 * float(stock.grad.norm()))
        assert float((ours.grad - stock.grad).norm()) <= allowed, name


@pytest.mark.long
def test_twenty_steps_lead_no_further_away_than_those_of_two_formats() -> None:
    networks = variants()
    generator = torch.Generator().manual_seed(0)
    optimisers = {n: torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9) for n, net in networks.items()}
    for _ in range(20):
        clips = torch.randn(2, 3, CLIP.frames, CLIP.size, CLIP.size, generator=generator)
        labels = torch.randint(5, (2,), generator=generator)
        for name, network in networks.items():
            optimisers[name].zero_grad()
            loss_of(name, network, clips, labels).backward()
            optimisers[name].step()
    ends = {name: torch.cat([p.detach().flatten() for p in net.parameters()]) for name, net in networks.items()}
    between_formats = (ends["stock contiguous"] - ends["stock"]).norm()
    assert (ends["ours"] - ends["stock"]).norm() <= 3 * between_formats
