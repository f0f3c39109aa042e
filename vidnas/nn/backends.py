"""Which operators a network runs on."""

from typing import TypeVar

from torch import nn

from vidnas.nn.depthwise import Backend

Network = TypeVar("Network", bound=nn.Module)


def use_backend(network: Network, backend: Backend) -> Network:
    """Set the backend of every layer that has one, in place; `stock` leaves nothing but PyTorch's own operators."""
    for module in network.modules():
        if hasattr(module, "backend"):
            module.backend = backend  # type: ignore[assignment]
    return network
