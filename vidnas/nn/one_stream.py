"""Weights of a network of one stream in a network of more: what they give, and what starts afresh."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vidnas.arch.plan import stream_units
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import BlockPlan, Conv5Plan

# What a block that reads fused channels has, and the same block alone may lack.
_PROJECTION = ("shortcut.", "shortcut_norm.")


class OneStream(NamedTuple):
    """What the file's tensors are in the network.

    Attributes:
        tensors: those of the file, the ones that read more channels in the network widened.
        fresh: names of the network's tensors that the file cannot have.
        replaced: the same for people, summed up, each with the reason.
        notes: which tensors were widened, and what makes the network another one at once.
    """

    tensors: dict[str, Tensor]
    fresh: set[str]
    replaced: list[tuple[str, str]]
    notes: list[str]


def is_one_stream(spec: ArchSpec, given: Mapping[str, Tensor]) -> bool:
    """Whether the network has several streams and the weights those of one."""
    return len(spec.streams) > 1 and not any(name.startswith("streams.1.") for name in given)


def as_first_stream(spec: ArchSpec, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> OneStream:
    """The weights of one stream as those of the network's stream 0.

    Layers that read channels of another stream too get zeros there, so that as long as no fusion adds to the stream
    the network first computes what the one stream did.

    Args:
        spec: the network.
        own: its state.
        given: that of the file, under our names.
    """
    readers = [
        unit for unit in stream_units(spec, 0) if isinstance(unit, BlockPlan | Conv5Plan) and unit.fused_channels
    ]
    tensors, notes = dict(given), []
    for name, columns in _wider(spec, readers):
        found, wanted = given.get(name), own[name]
        if found is None or found.shape != (len(wanted), columns, *wanted.shape[2:]):
            continue
        zeros = found.new_zeros(len(wanted), wanted.shape[1] - columns, *wanted.shape[2:])
        tensors[name] = torch.cat((found, zeros), 1)
        notes.append(f"{name}: {columns} of {wanted.shape[1]} input channels are the file's, the others start at zero")
    notes += [
        f"fusions.{f}: adds to stream 0, so the network does not compute at first what the file's did"
        for f, fusion in enumerate(spec.fusions)
        if fusion.combination == "sum" and fusion.target == 0
    ]
    projections = tuple(f"{unit.path}.{part}" for unit in readers for part in _PROJECTION)
    parts = {name: _part(name, projections) for name in own if name not in given}
    fresh = {name for name, part in parts.items() if part}
    counts = Counter(part for part in parts.values() if part)
    replaced = [
        (f"{part} ({count} tensors)", "not in the file, which has one stream") for part, count in counts.items()
    ]
    return OneStream(tensors, fresh, replaced, notes)


def _wider(spec: ArchSpec, readers: Sequence[BlockPlan | Conv5Plan]) -> Iterator[tuple[str, int]]:
    """Weights of stream 0 and of the head that read other streams too, with the channels that are its own."""
    for unit in readers:
        for layer in ("expand", "shortcut") if isinstance(unit, BlockPlan) else ("conv",):
            yield f"{unit.path}.{layer}.weight", unit.in_channels - unit.fused_channels
    first, *_ = spec.streams
    yield "head.fc1.weight", first.conv5


def _part(name: str, projections: tuple[str, ...]) -> str | None:
    """Of which part of the network that one stream lacks this tensor is."""
    if name.startswith(projections):
        return name.rpartition(".shortcut")[0] + ".shortcut"
    first, second, *_ = name.split(".")
    if first == "streams" and second != "0":
        return f"{first}.{second}"
    return "fusions" if first == "fusions" else None
