"""Names of X3D's tensors in pytorchvideo's and in SlowFast's weight files, and the way there and back.

Only names and trivial axes change, so a round trip gives the same bits. Squeeze-excitation and fc1 are linear
layers here and 1 x 1 x 1 convolutions there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from vidnas.base.errors import VidnasError

_OUR_BLOCK = re.compile(r"streams\.0\.groups\.(\d+)\.block(\d+)\.(.+)")
_LINEAR_HERE = ("se.reduce", "se.expand", "head.fc1")

# Our layer of a block: its name in pytorchvideo, in SlowFast.
_BLOCK_LAYERS = {
    "expand": ("branch2.conv_a", "branch2.a"),
    "expand_norm": ("branch2.norm_a", "branch2.a_bn"),
    "middle": ("branch2.conv_b", "branch2.b"),
    "middle_norm": ("branch2.norm_b.0", "branch2.b_bn"),
    "se.reduce": ("branch2.norm_b.1.block.0", "branch2.se.fc1"),
    "se.expand": ("branch2.norm_b.1.block.2", "branch2.se.fc2"),
    "project": ("branch2.conv_c", "branch2.c"),
    "project_norm": ("branch2.norm_c", "branch2.c_bn"),
    "shortcut": ("branch1_conv", "branch1"),
    "shortcut_norm": ("branch1_norm", "branch1_bn"),
}
# pytorchvideo calls the stem's spatial convolution conv_t and the temporal one conv_xy.
_OTHER_LAYERS = {
    "streams.0.stem.spatial": ("blocks.0.conv.conv_t", "s1.pathway0_stem.conv_xy"),
    "streams.0.stem.temporal": ("blocks.0.conv.conv_xy", "s1.pathway0_stem.conv"),
    "streams.0.stem.norm": ("blocks.0.norm", "s1.pathway0_stem.bn"),
    "streams.0.conv5.conv": ("blocks.{head}.pool.pre_conv", "head.conv_5"),
    "streams.0.conv5.norm": ("blocks.{head}.pool.pre_norm", "head.conv_5_bn"),
    "head.fc1": ("blocks.{head}.pool.post_conv", "head.lin_5"),
    "head.fc2": ("blocks.{head}.proj", "head.projection"),
}
_MARKER = "streams.0.stem.spatial"


@dataclass(frozen=True)
class Dialect:
    """How one code base names the layers of an X3D network.

    Attributes:
        name: name of the code base.
        block: prefix of a block's layers, with `{stage}` (first one: `first_stage`) and `{index}` (from 0).
        block_layers: our layer of a block -> theirs.
        other_layers: our other layers -> theirs, with `{head}`, the number of the head's part.
    """

    name: str
    block: str
    first_stage: int
    block_layers: Mapping[str, str]
    other_layers: Mapping[str, str]

    def rename(self, layer: str, stages: int) -> str | None:
        """Their name of our layer, or None where they have no such layer."""
        match = _OUR_BLOCK.fullmatch(layer)
        if match is None:
            other = self.other_layers.get(layer)
            return None if other is None else other.format(head=stages + 1)
        inner = self.block_layers.get(match[3])
        if inner is None:
            return None
        return self.block.format(stage=int(match[1]) + self.first_stage, index=int(match[2]) - 1) + inner

    def names_back(self, keys: list[str]) -> dict[str, str]:
        """Their tensor -> ours, for those of `keys` that are an X3D network's."""
        pattern = re.compile(re.escape(self.block).replace(r"\{stage\}", r"(\d+)").replace(r"\{index\}", r"(\d+)"))
        blocks = {key: match for key in keys if (match := pattern.match(key))}
        stages = len({match[1] for match in blocks.values()})
        layers = {theirs.format(head=stages + 1): ours for ours, theirs in self.other_layers.items()}
        inner_layers = {theirs: ours for ours, theirs in self.block_layers.items()}
        names = {}
        for key in keys:
            layer, _, tensor = key.rpartition(".")
            ours = layers.get(layer)
            if key in blocks:
                match = blocks[key]
                inner = inner_layers.get(layer[match.end() :])
                group, block = int(match[1]) - self.first_stage, int(match[2]) + 1
                ours = None if inner is None else f"streams.0.groups.{group}.block{block}.{inner}"
            if ours is not None:
                names[key] = f"{ours}.{tensor}"
        return names


PYTORCHVIDEO = Dialect(
    name="pytorchvideo",
    block="blocks.{stage}.res_blocks.{index}.",
    first_stage=1,
    block_layers={ours: theirs for ours, (theirs, _) in _BLOCK_LAYERS.items()},
    other_layers={ours: theirs for ours, (theirs, _) in _OTHER_LAYERS.items()},
)
SLOWFAST = Dialect(
    name="SlowFast",
    block="s{stage}.pathway0_res{index}.",
    first_stage=2,
    block_layers={ours: theirs for ours, (_, theirs) in _BLOCK_LAYERS.items()},
    other_layers={ours: theirs for ours, (_, theirs) in _OTHER_LAYERS.items()},
)


class OurState(NamedTuple):
    """A state dict under our names; `left` are the tensors that an X3D network does not have."""

    dialect: str
    tensors: dict[str, Tensor]
    left: tuple[str, ...]


def to_ours(state: Mapping[str, Tensor]) -> OurState:
    """Recognise whose names a state dict has, and give it ours.

    A prefix before the network's own names (`module.`, `network.`, ...) is taken off.

    Raises:
        VidnasError: nobody's names.
    """
    for dialect in (None, PYTORCHVIDEO, SLOWFAST):
        marker = f"{_MARKER if dialect is None else dialect.other_layers[_MARKER]}.weight"
        prefix = next((key.removesuffix(marker) for key in state if f".{key}".endswith(f".{marker}")), None)
        if prefix is None:
            continue
        inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        outside = [key for key in state if not key.startswith(prefix)]
        if dialect is None:
            return OurState("vidnas", inside, tuple(outside))
        names = dialect.names_back(list(inside))
        tensors = {ours: _as_here(ours, inside[theirs]) for theirs, ours in names.items()}
        return OurState(dialect.name, tensors, (*(key for key in inside if key not in names), *outside))
    first = ", ".join(list(state)[:3]) or "nothing"
    raise VidnasError(f"not a network of vidnas, nor an X3D of pytorchvideo or SlowFast; the file holds {first}, ...")


def to_theirs(state: Mapping[str, Tensor], dialect: Dialect) -> dict[str, Tensor]:
    """Our state dict under another code base's names, whether or not its X3D has all of these tensors.

    Raises:
        VidnasError: a kind of layer that has no name there.
    """
    stages = len({match[1] for name in state if (match := _OUR_BLOCK.match(name))})
    theirs = {}
    for name, value in state.items():
        layer, _, tensor = name.rpartition(".")
        renamed = dialect.rename(layer, stages)
        if renamed is None:
            raise VidnasError(f"{layer}: {dialect.name}'s X3D has no such layer")
        is_matrix = tensor == "weight" and layer.endswith(_LINEAR_HERE)
        theirs[f"{renamed}.{tensor}"] = value[:, :, None, None, None] if is_matrix else value
    return theirs


def to_pytorchvideo(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of an X3D network under the names of `pytorchvideo.models.x3d.create_x3d`.

    Raises:
        VidnasError: a layer that pytorchvideo's X3D does not have.
    """
    for name in _equal_width_projections(state):
        if f"{name}_norm.weight" in state:
            raise VidnasError(
                f"{name}_norm: pytorchvideo's X3D has no norm on a projection that keeps the number of channels; only "
                "a network with projection_norm 'on_channel_change' can be written so"
            )
    return to_theirs(state, PYTORCHVIDEO)


def to_slowfast(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of an X3D network under the names of SlowFast's `X3D`.

    Raises:
        VidnasError: a layer that SlowFast's X3D does not have, or a projection without the norm that it has.
    """
    for name in _equal_width_projections(state):
        if f"{name}_norm.weight" not in state:
            raise VidnasError(
                f"{name}: SlowFast's X3D has a norm on every projection and this one has none; only a network with "
                "projection_norm 'always' can be written so"
            )
    return to_theirs(state, SLOWFAST)


def projection_norm_of(state: Mapping[str, Tensor]) -> str | None:
    """Which `projection_norm` a state dict under our names has; None where it fits both."""
    projections = _equal_width_projections(state)
    if not projections:
        return None
    return "always" if any(f"{name}_norm.weight" in state for name in projections) else "on_channel_change"


def _equal_width_projections(state: Mapping[str, Tensor]) -> list[str]:
    """Projection shortcuts that change the resolution only."""
    return [
        name.removesuffix(".weight")
        for name, weight in state.items()
        if name.endswith(".shortcut.weight") and weight.shape[0] == weight.shape[1]
    ]


def _as_here(name: str, value: Tensor) -> Tensor:
    is_matrix = name.removesuffix(".weight").endswith(_LINEAR_HERE) and name.endswith(".weight")
    return value.flatten(1) if is_matrix and value.dim() == 5 else value
