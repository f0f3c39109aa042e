"""Whether every choice of a group fits every choice of the one before it."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from vidnas.search.space.windows import WINDOW_MODES, channel_window, exact, unit


@lru_cache(maxsize=4096)  # a space is scaled by making many, of which most lists are the same
def hidden_mistake(expansions: tuple[float, ...], channels: tuple[int, ...]) -> str | None:
    """Why hidden channels cannot be divided between these choices; None if they can."""
    factors = f"{_shown(expansions)} times {_shown(channels)} channels"
    if len(expansions) == len(channels) == 1:
        return None if int(expansions[0] * channels[0]) else f"{factors} leaves no hidden channel; raise either"
    if (unit(expansions) * unit(channels)).denominator != 1:
        whole = unit(expansions).denominator
        return (
            f"{factors} does not give whole numbers of hidden channels in equal steps; take channels in multiples of "
            f"{whole}, or other steps of the expansion"
        )
    # The spec multiplies in floating point and cuts: it must find the same whole number.
    if any(int(e * c) != exact(e) * c for e, c in product(expansions, channels)):
        return f"{factors} is not whole as computers multiply; take expansions in steps of 0.25 or 0.125"
    return None


@lru_cache(maxsize=4096)
def shortcut_mistake(before: tuple[int, ...], own: tuple[int, ...], *, of_stem: bool) -> str | None:
    """Why a group of stride 1 cannot follow these widths; None if it can.

    An identity shortcut adds up what enters and what leaves where both are equally wide, so equal widths must be the
    same channels of the supernet in every window mode, and different widths different ones.
    """
    for (i, c_in), (o, c_out) in product(enumerate(before), enumerate(own)):
        same = {channel_window(before, i, mode) == channel_window(own, o, mode) for mode in WINDOW_MODES}
        if same != {c_in == c_out}:
            mend = "the stem another width" if of_stem else "this group and the one before it the same list"
            return (
                f"{c_in} channels in and out have a shortcut that adds different channels of the supernet "
                f"({_shown(before)} enter, {_shown(own)} leave); give {mend}, or this group stride 2"
            )
    return None


def _shown(choices: Sequence[float]) -> str:
    return f"{choices[0]:g}" if len(choices) == 1 else f"{choices[0]:g}~{choices[-1]:g}"
