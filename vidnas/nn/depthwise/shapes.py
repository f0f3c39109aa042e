"""Shape rules of the depthwise convolution."""

from collections.abc import Sequence


def output_shape(
    input_shape: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[int, ...]:
    """(N, C, T', H', W') of an input (N, C, T, H, W)."""
    sides = zip(input_shape[2:], kernel, stride, padding, strict=True)
    return (*input_shape[:2], *((side + 2 * p - k) // s + 1 for side, k, s, p in sides))
