"""How X3D rounds a scaled width or depth (X3D Table 1; the official code's rules)."""

import math


def round_width(width: float, factor: float, divisor: int = 8) -> int:
    """Scale `width` by `factor`, to the nearest multiple of `divisor` (half up), never below 90% of it."""
    scaled = width * factor
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * scaled:
        rounded += divisor
    return rounded


def round_depth(depth: int, factor: float) -> int:
    """Scale a number of blocks, rounded up."""
    return math.ceil(depth * factor)
