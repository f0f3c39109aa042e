"""What may follow the blocks of a group: nothing, a unit as wide as the group, or units of given size and places."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import ValidationError

from vidnas.arch.cost import unit_layers
from vidnas.arch.plan import attention_plan
from vidnas.arch.spec import GloReSpec
from vidnas.base.mistakes import FieldError, first_mistake

Attention = Literal["none", "glore"] | GloReSpec
MAX_NODES = 216
_ON_LISTS = "must be one value; list whole units, as in [none, {nodes: 36, states: 72}, {nodes: 72, states: 144}]"


def as_attention(value: Any) -> Attention:
    """`none` (or null), `glore`, or a unit as in a spec.

    Raises:
        ValueError: neither.
    """
    if value is None or value == "none":
        return "none"
    if value == "glore" or isinstance(value, GloReSpec):
        return value
    if not isinstance(value, dict):
        raise ValueError("must be none, glore, or a unit such as {nodes: 72, states: 144}")
    try:
        return GloReSpec.model_validate(value)
    except ValidationError as error:
        raise FieldError(*first_mistake(error, GloReSpec, _ON_LISTS)) from error


def glore_spec(channels: int, nodes_per_channel: float = 1.5) -> GloReSpec:
    """The unit that stands after a group of this width, with two states per node.

    Deviation: the paper gives no sizes; 1.5 nodes per channel are fitted to its costs (docs/discrepancies.md).
    """
    nodes = max(1, min(int(nodes_per_channel * channels), MAX_NODES))
    return GloReSpec(nodes=nodes, states=2 * nodes)


def attention_unit(option: Attention, channels: int, nodes_per_channel: float) -> GloReSpec | None:
    """What an option is in a group of this width."""
    if isinstance(option, GloReSpec):
        return option
    return glore_spec(channels, nodes_per_channel) if option == "glore" else None


def attention_weights(unit: GloReSpec | None, channels: int) -> int:
    """Weights of an option in a group of this width, at all its places."""
    if unit is None:
        return 0
    weights = sum(layer.weights for layer in unit_layers(attention_plan(unit, channels)))
    return max(1, len(unit.after)) * weights


def envelope(units: Sequence[GloReSpec | None], depth: int) -> GloReSpec | None:
    """Most nodes and states of any unit, after every block of a group of this depth that any follows."""
    some = [unit for unit in units if unit is not None]
    if not some:
        return None
    return GloReSpec(
        nodes=max(unit.nodes for unit in some),
        states=max(unit.states for unit in some),
        after=tuple(sorted({block for unit in some for block in places(unit, depth)})),
    )


def check_attention(options: Sequence[Attention], units: Sequence[GloReSpec | None], depth: int) -> None:
    """Refuse units behind the last block, and options that are written differently and mean the same.

    Args:
        options: as written.
        units: what they are at some width of the group.
        depth: number of blocks.

    Raises:
        FieldError: with the path from the group.
    """
    seen: dict[Any, Attention] = {}
    for i, (option, unit) in enumerate(zip(options, units, strict=True)):
        if unit and max(places(unit, depth)) > depth:
            raise FieldError(("attention", i, "after"), f"names block {max(unit.after)} of {depth}")
        meaning = unit and (unit.nodes, unit.states, places(unit, depth))
        if meaning in seen:
            raise FieldError(("attention", i), f"{option} is the same network as {seen[meaning]}; leave one out")
        seen[meaning] = option


def places(unit: GloReSpec, depth: int) -> tuple[int, ...]:
    """The blocks that a unit follows in a group of this depth."""
    return unit.after or (depth,)
