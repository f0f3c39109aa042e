"""One set of weights that holds every network of a space ("super kernels").

The supernet has no forward pass of its own: a choice names an ordinary network (`vidnas.nn.build`), and that network
runs with slices of the supernet's tensors as its parameters. So a sampled network and the extracted one are the same
computation by construction, and `forward(clips, choice)` keeps no state.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from vidnas.arch.plan import fusion_units, head_unit, network_units, stream_units
from vidnas.arch.spec import ArchSpec
from vidnas.arch.units import BlockPlan, Conv5Plan, StreamUnit, Unit
from vidnas.nn.build import VideoNetwork, build, make_unit
from vidnas.nn.heads import ClassificationHead
from vidnas.nn.initialise import initialise
from vidnas.search.choice_windows import FIRST, ChoiceWindows, fused_columns
from vidnas.search.space.space import Choice, Space
from vidnas.search.space.stream_space import StreamSpace
from vidnas.search.space.windows import WindowMode
from vidnas.search.super_units import KernelSharing, make_super_unit


class SuperStream(nn.Module):
    """Stem, groups of super units by name, conv5: at the same paths as in a network."""

    def __init__(self, space: StreamSpace, plans: Iterable[StreamUnit], sharing: KernelSharing) -> None:
        super().__init__()
        units = [(plan, make_super_unit(plan, space, sharing)) for plan in plans]
        ends = {plan.key: unit for plan, unit in units if plan.group is None}
        self.stem = ends["stem"]
        self.groups = nn.ModuleList(nn.ModuleDict() for _ in space.groups)
        self.conv5 = ends["conv5"]
        for plan, unit in units:
            if plan.group is not None:
                self.groups[plan.group][plan.key] = unit  # type: ignore[operator]


class Supernet(nn.Module):
    """Weights for every network of a space.

    Norms use batch statistics in training and in evaluation: running statistics of shared layers mix networks.
    A network extracted from it gets its own (`vidnas.engine.train.recalibrate`).

    Args:
        space: the search space.
        windows: which channels a candidate uses, see `vidnas.search.space.windows`.
        kernels: what the kernels of a block share, see `SuperBlock`.
        zero_init_residual: see `vidnas.nn.initialise`. An inserted attention unit always starts as the identity, and
            what reads a fusion disregards it at first.
    """

    def __init__(
        self,
        space: Space,
        windows: WindowMode = "fair",
        kernels: KernelSharing = "separate",
        *,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.space = space
        self.windows: WindowMode = windows
        largest = space.envelopes()
        self.streams = nn.ModuleList(
            SuperStream(stream, _largest_units(space, largest, s), kernels) for s, stream in enumerate(space.streams)
        )
        fusions = {plan.key: plan for spec in largest for plan in fusion_units(spec)}
        self.fusions = nn.ModuleDict(
            {key: make_super_unit(plan, space.streams[plan.stream], kernels) for key, plan in fusions.items()}
        )
        self.head = ClassificationHead(head_unit(largest[0]))
        initialise(self, zero_init_residual=zero_init_residual)

    def forward(self, clips: Tensor, choice: Choice) -> Tensor:
        """Clips (N, 3, T, S, S) -> logits (N, num_classes) of the chosen network."""
        spec = self.space.decode(choice)
        network = VideoNetwork(spec, lambda plan: _skeleton(plan).unit)
        with ExitStack() as given:
            for plan, parameters in self._unit_states(spec, choice):
                given.callback(_skeleton(plan).take_back)
                _skeleton(plan).give(parameters, training=self.training)
            logits: Tensor = network(clips)
        return logits

    def network_state(self, choice: Choice) -> dict[str, Tensor]:
        """The chosen network's parameters by name, as differentiable slices of the supernet's."""
        states = self._unit_states(self.space.decode(choice), choice)
        return {f"{plan.path}.{name}": tensor for plan, parameters in states for name, tensor in parameters}

    def _unit_states(self, spec: ArchSpec, choice: Choice) -> Iterator[tuple[Unit, Iterable[tuple[str, Tensor]]]]:
        """The units of the chosen network, which is `spec`, and the parameters of each by name."""
        windows = ChoiceWindows(self.space, choice, self.windows)
        for plan in network_units(spec):
            if isinstance(plan, StreamUnit):
                unit: Any = self.get_submodule(plan.path)
                yield plan, unit.network_state(plan, windows.of(plan))
            else:
                yield plan, self.head.named_parameters()


def _largest_units(space: Space, largest: Sequence[ArchSpec], stream: int) -> Iterator[StreamUnit]:
    """The units of a stream in any of these networks, each once; what reads fusions, with columns for every kind."""
    for plan in {plan.path: plan for spec in largest for plan in stream_units(spec, stream)}.values():
        if isinstance(plan, BlockPlan | Conv5Plan) and (plan.group is None or plan.key == FIRST):
            group = len(space.streams[stream].groups) if plan.group is None else plan.group
            columns = fused_columns(space, stream, group)
            own = plan.in_channels - plan.fused_channels
            yield replace(plan, in_channels=own + columns, fused_channels=columns)
        else:
            yield plan


def extract(supernet: Supernet, choice: Choice) -> VideoNetwork:
    """The chosen network on its own, with copies of its weights; its running statistics are still to be estimated."""
    network = build(supernet.space.decode(choice)).to(next(supernet.parameters()))
    with torch.no_grad():
        state = supernet.network_state(choice)
        for name, parameter in network.named_parameters():
            parameter.copy_(state.pop(name))
    if state:
        raise RuntimeError(f"the network has no parameter {next(iter(state))}")
    return network


def insert(supernet: Supernet, choice: Choice, tensors: Mapping[str, Tensor]) -> None:
    """Give the slices that a choice uses these values, as `network_state` names them; all else stays as it is.

    Raises:
        RuntimeError: the chosen network has no such parameter, or one of another shape.
    """
    state = supernet.network_state(choice)
    for name, tensor in tensors.items():
        if name not in state or state[name].shape != tensor.shape:
            raise RuntimeError(f"the network has no parameter {name} of shape {tuple(tensor.shape)}")
    parameters = list(supernet.parameters())
    slices = [state[name] for name in tensors]

    def spread(values: Sequence[Tensor]) -> Sequence[Tensor | None]:
        # Slicing backwards: each value comes to its place in the supernet's tensors, with zeros between them.
        return torch.autograd.grad(slices, parameters, values, retain_graph=True, allow_unused=True)

    given = spread([tensor.to(own) for own, tensor in zip(slices, tensors.values(), strict=True)])
    used = spread([torch.ones_like(own) for own in slices])
    with torch.no_grad():
        for parameter, values, mask in zip(parameters, given, used, strict=True):
            if values is not None and mask is not None:
                parameter.copy_(torch.where(mask > 0, values, parameter))


class _Skeleton:
    """A unit without tensors: it is given parameters for one call, and its norms use batch statistics.

    `torch.func.functional_call` does so for a whole network, but looks at every module of it again at every call: a
    fifth of the time that it takes to score a small one.
    """

    def __init__(self, plan: Unit) -> None:
        with torch.device("meta"):
            self.unit = make_unit(plan)
        for norm in self.unit.modules():
            if isinstance(norm, nn.BatchNorm3d):
                norm.running_mean = norm.running_var = norm.num_batches_tracked = None
        # Where modules keep their parameters, by the names that these have in the unit.
        self._places: dict[str, tuple[dict[str, Any], str]] = {}
        for path, module in self.unit.named_modules():
            for name in module._parameters:
                self._places[f"{path}.{name}" if path else name] = module._parameters, name
        self._own = dict(self.unit.named_parameters())

    def give(self, parameters: Iterable[tuple[str, Tensor]], *, training: bool) -> None:
        """Let it compute with these, in the mode of training or not.

        Raises:
            RuntimeError: they are not those of the unit.
        """
        if self.unit.training != training:
            self.unit.train(training)
        number = 0
        for name, tensor in parameters:
            if name not in self._own:
                raise RuntimeError(f"the unit has no parameter {name}")
            held, key = self._places[name]
            held[key] = tensor
            number += 1
        if number < len(self._own):
            raise RuntimeError(f"of {len(self._own)} parameters of the unit only {number} are given")

    def take_back(self) -> None:
        """Hold nothing of what was given."""
        for name, tensor in self._own.items():
            held, key = self._places[name]
            held[key] = tensor


# Building the modules of a small network takes longer than running them, and networks have most units in common.
# A plan names its place in the network, so none is in one network twice.
@lru_cache(maxsize=2048)
def _skeleton(plan: Unit) -> _Skeleton:
    return _Skeleton(plan)
