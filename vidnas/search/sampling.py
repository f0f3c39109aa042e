"""Random architectures of a space."""

import numpy as np

from vidnas.arch.cost import format_macs
from vidnas.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.space import Choice

_BLOCK = 1000
_BLOCKS = 100


def sample_choices(macs: CostTable, number: int, seed: int, target_macs: float | None = None) -> list[Choice]:
    """Different choices, drawn uniformly from all or from those that cost at most `target_macs`.

    Raises:
        VidnasError: there are fewer, or so few that drawing does not find them.
    """
    space = macs.space
    if number > space.size:
        raise VidnasError(f"space {space.name} has {space.size} architectures, {number} are asked for; ask for fewer")
    least = macs.cheapest()[1]
    if target_macs is not None and target_macs < least:
        raise VidnasError(
            f"no architecture of the space {space.name} costs {format_macs(target_macs)} @ {space.clip}, the cheapest "
            f"{format_macs(least)}; raise the target"
        )
    found: dict[Choice, None] = {}
    for block in range(_BLOCKS):
        rng = np.random.default_rng((seed, block))
        drawn = [tuple(row) for row in rng.integers(space.sizes, size=(_BLOCK, len(space.sizes))).tolist()]
        if target_macs is not None:
            fits = macs.costs(drawn) <= target_macs
            drawn = [choice for choice, fit in zip(drawn, fits, strict=True) if fit]
        found.update(dict.fromkeys(drawn))
        if len(found) >= number:
            return list(found)[:number]
    raise VidnasError(
        f"space {space.name}: {_BLOCK * _BLOCKS} draws found {len(found)} different architectures"
        + ("" if target_macs is None else f" of at most {format_macs(target_macs)} @ {space.clip}")
        + "; ask for fewer, or raise the target"
    )
