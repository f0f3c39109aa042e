"""What the number of test videos allows to say of trained networks."""

import math


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact McNemar test of two networks on the same videos.

    Args:
        b: videos that only the first network has right.
        c: videos that only the second has right.

    Returns:
        The probability of a split at least as uneven as b : c if both trained networks were equally good at such
        videos. It says nothing of their architectures, which other trainings would serve better or worse.
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts of videos cannot be negative, got {b} and {c}")
    n = b + c
    tail = term = 1
    for k in range(min(b, c)):
        term = term * (n - k) // (k + 1)
        tail += term
    # Integers of any size divide to the nearest float.
    return min(1.0, 2 * tail / 2**n)


def wilson_interval(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """95% interval of a share, sensible for few videos and for shares of 0 and 1 (Wilson 1927)."""
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"{correct} of {total} is not a share")
    share, spread = correct / total, z**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    low = centre - half if correct else 0.0
    high = centre + half if correct < total else 1.0
    return low, high
