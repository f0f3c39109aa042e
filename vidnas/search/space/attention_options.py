"""What may follow the blocks of a group: nothing, units as wide as the group, or units of given size and places."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vidnas.arch.cost import unit_layers
from vidnas.arch.plan import attention_plan
from vidnas.arch.spec import AttentionSpec, GloReSpec, NonLocalSpec, attention_sizes, read_attention
from vidnas.base.mistakes import FieldError

# `none`, the name of a kind, or what is written of units in a spec.
Attention = str | AttentionSpec
MAX_NODES = 216
_ON_LISTS = "must be one value; list whole units, as in [none, {nodes: 36, states: 72}, {nodes: 72, states: 144}]"


def as_attention(value: Any) -> Attention:
    """`none` (or null), the name of a kind, or units as in a spec.

    Raises:
        ValueError: none of these.
    """
    if value is None or value == "none":
        return "none"
    if isinstance(value, str | list) and value not in tuple(_AS_WIDE):
        raise ValueError(f"must be none, {', '.join(_AS_WIDE)}, or a unit such as {{nodes: 72, states: 144}}")
    attention: Attention = value if isinstance(value, str) else read_attention(value, _ON_LISTS)
    return attention


def glore_spec(channels: int, nodes_per_channel: float = 1.5) -> GloReSpec:
    """The unit that stands after a group of this width, with two states per node.

    Deviation: the paper gives no sizes; 1.5 nodes per channel are fitted to its costs (docs/discrepancies.md).
    """
    nodes = max(1, min(int(nodes_per_channel * channels), MAX_NODES))
    return GloReSpec(nodes=nodes, states=2 * nodes)


def non_local_spec(channels: int) -> NonLocalSpec:
    """The unit that stands after a group of this width, with half its channels inside (arXiv 1711.07971, sec. 3.3)."""
    return NonLocalSpec(inner=max(1, channels // 2))


# What the name of a kind stands for behind a group, from its channels and nodes per channel.
_AS_WIDE: Mapping[str, Callable[[int, float], AttentionSpec]] = {
    "glore": glore_spec,
    "non_local": lambda channels, _: non_local_spec(channels),
}


def attention_unit(option: Attention, channels: int, nodes_per_channel: float) -> AttentionSpec | None:
    """What an option is in a group of this width."""
    if not isinstance(option, str):
        return option
    return None if option == "none" else _AS_WIDE[option](channels, nodes_per_channel)


def attention_weights(unit: AttentionSpec | None, channels: int) -> int:
    """Weights of an option in a group of this width, at all its places."""
    if unit is None:
        return 0
    weights = sum(layer.weights for layer in unit_layers(attention_plan(unit, channels)))
    return max(1, len(unit.after)) * weights


def envelopes(units: Sequence[AttentionSpec | None], depth: int) -> list[AttentionSpec]:
    """Per kind the largest of every size, after every block of a group of this depth that any unit follows."""
    by_kind: dict[str, list[AttentionSpec]] = {}
    for unit in units:
        if unit is not None:
            by_kind.setdefault(unit.kind, []).append(unit)
    return [_envelope(own, depth) for own in by_kind.values()]


def _envelope(units: Sequence[AttentionSpec], depth: int) -> AttentionSpec:
    sizes = [attention_sizes(unit) for unit in units]
    largest = {name: max(size[name] for size in sizes) for name in sizes[0]}
    after = tuple(sorted({block for unit in units for block in places(unit, depth)}))
    return units[0].model_copy(update={**largest, "after": after})


def check_attention(options: Sequence[Attention], units: Sequence[AttentionSpec | None], depth: int) -> None:
    """Refuse units behind the last block, and options that are written differently and mean the same.

    Args:
        options: the options as written.
        units: the units that they are at some width of the group.
        depth: number of blocks.

    Raises:
        FieldError: with the path from the group.
    """
    seen: dict[AttentionSpec | None, Attention] = {}
    for i, (option, unit) in enumerate(zip(options, units, strict=True)):
        if unit and max(places(unit, depth)) > depth:
            raise FieldError(("attention", i, "after"), f"names block {max(unit.after)} of {depth}")
        meaning = unit and unit.model_copy(update={"after": places(unit, depth)})
        if meaning in seen:
            raise FieldError(("attention", i), f"{option} is the same network as {seen[meaning]}; leave one out")
        seen[meaning] = option


def places(unit: AttentionSpec, depth: int) -> tuple[int, ...]:
    """The blocks that a unit follows in a group of this depth."""
    return unit.after or (depth,)
