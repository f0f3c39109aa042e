"""Depthwise conv3d for GPUs: the Triton kernels. Needs `triton`; `triton_backend` imports this file when it launches.

Memory is channels last: an element (n, c, t, h, w) lies at (((n T + t) H + h) W + w) C + c, a weight at (tap, c). A
frame is cut into tiles of TILE neighbouring positions along W. A program takes ROWS tiles and BLOCK channels, one
(ROWS, BLOCK) block of values for each position of a tile, and walks along T. What it loads serves all positions of the
tile and all frames that it contributes to, from registers: the sums of the frames in flight are a queue.

With stride s along T, a temporal tap is written dt = r + m s (0 <= r < s, 0 <= m < M = ceil(kt / s)): the frame
u s - padding + r of the input meets the frame u - m of the output, at tap dt.

Sums are in float32. Offsets along W within a tile are int32, all others are int64.
"""

# Triton's compiler has no unpacking within a tuple; its kernels are typed by it, not by Python.
# ruff: noqa: RUF005
# mypy: ignore-errors

import triton
import triton.language as tl

# Whether the kernels below run in Triton's interpreter: settled once, when they are decorated.
INTERPRETED: bool = triton.knobs.runtime.interpret


def gpu() -> triton.backends.compiler.GPUTarget:
    """The GPU that kernels are compiled for. Raises whatever keeps Triton from using one."""
    return triton.runtime.driver.active.get_current_target()


@triton.jit
def _zeros(COUNT: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """A tuple of COUNT blocks of zeros."""
    values = ()
    for _ in tl.static_range(COUNT):
        values = values + (tl.zeros((ROWS, BLOCK), tl.float32),)
    return values


@triton.jit
def _channels(channels, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The program's channels as a block, each row the same, and its index without the channels, which vary fastest."""
    # A full block, not (1, BLOCK): so weights are laid out over the threads as data are, with no exchange for each tap.
    blocks = tl.cdiv(channels, BLOCK)
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)[None, :] + tl.zeros((ROWS, 1), tl.int32)
    return channel, tl.program_id(0) // blocks


@triton.jit
def _tiles(block, height, ROWS: tl.constexpr, TILE: tl.constexpr):
    """Row h and first column w of a block of tiles, each (ROWS, 1); w is outside beyond the last tile."""
    # Along H first: neighbouring rows share what they read.
    tile = block * ROWS + tl.arange(0, ROWS)[:, None]
    return tile % height, tile // height * TILE


@triton.jit
def _load_columns(pointers, mask, w, width, channels, COUNT: tl.constexpr):
    """COUNT neighbouring positions of one row, the first at column `w`: a tuple of blocks, zero outside the frame."""
    values = ()
    for column in tl.static_range(COUNT):
        inside = mask & (w + column >= 0) & (w + column < width)
        values = values + (tl.load(pointers + column * channels, mask=inside, other=0.0).to(tl.float32),)
    return values


@triton.jit
def _load_taps(pointers, mask, channels, COUNT: tl.constexpr):
    """The weights of COUNT neighbouring taps: a tuple of blocks."""
    values = ()
    for tap in tl.static_range(COUNT):
        values = values + (tl.load(pointers + tap * channels, mask=mask, other=0.0).to(tl.float32),)
    return values


@triton.jit
def _store_columns(pointers, mask, w, width, channels, values, FIRST: tl.constexpr, COUNT: tl.constexpr):
    """Writes values[FIRST : FIRST + COUNT] to neighbouring positions of one row, the first at column `w`."""
    for column in tl.static_range(COUNT):
        value = values[FIRST + column].to(pointers.dtype.element_ty)
        tl.store(pointers + column * channels, value, mask=mask & (w + column < width))


@triton.jit
def forward_kernel(
    x,
    weight,
    out,
    in_shape,
    out_shape,
    frames,
    channel_vectors,
    VECTOR: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out[o] = sum over taps k of x[o * stride - padding + k] * weight[k].

    Shapes are (T, H, W); channels = channel_vectors * VECTOR, which tells the compiler what it may load at once.
    Grid: samples * runs of `frames` output frames * blocks of tiles * blocks of channels.
    """
    KT: tl.constexpr = KERNEL[0]
    KW: tl.constexpr = KERNEL[2]
    M: tl.constexpr = (KT + STRIDE[0] - 1) // STRIDE[0]
    in_t, in_h, in_w = in_shape
    out_t, out_h, out_w = out_shape
    channels = channel_vectors * VECTOR
    channel, program = _channels(channels, ROWS, BLOCK)
    blocks = tl.cdiv(out_h * tl.cdiv(out_w, TILE), ROWS)
    runs = tl.cdiv(out_t, frames)
    h, w = _tiles(program % blocks, out_h, ROWS, TILE)
    first = program // blocks % runs * frames
    last = tl.minimum(first + frames, out_t)
    sample = (program // blocks // runs).to(tl.int64)

    from_h = h * STRIDE[1] - PADDING[1]
    from_w = w * STRIDE[2] - PADDING[2]
    # Entry i * TILE + j: position j of the output frame u - (M - 1) + i.
    sums = _zeros(M * TILE, ROWS, BLOCK)
    for u in range(first, last + M - 1):
        for r in tl.static_range(STRIDE[0]):
            from_t = u * STRIDE[0] - PADDING[0] + r
            if (from_t >= 0) & (from_t < in_t):
                # Not unrolled: the compiler would load all rows at once, into more registers than there are.
                for dh in range(KERNEL[1]):
                    row = (((sample * in_t + from_t) * in_h + from_h + dh) * in_w + from_w) * channels
                    inside = (channel < channels) & (from_h + dh >= 0) & (from_h + dh < in_h)
                    columns = _load_columns(
                        x + (row + channel), inside, from_w, in_w, channels, (TILE - 1) * STRIDE[2] + KW
                    )
                    updated = ()
                    for i in tl.static_range(M):
                        if r + (M - 1 - i) * STRIDE[0] < KT:
                            tap = ((r + (M - 1 - i) * STRIDE[0]) * KERNEL[1] + dh) * KW * channels
                            taps = _load_taps(weight + (tap + channel), channel < channels, channels, KW)
                            for j in tl.static_range(TILE):
                                total = sums[i * TILE + j]
                                for dw in tl.static_range(KW):
                                    total = tl.fma(columns[j * STRIDE[2] + dw], taps[dw], total)
                                updated = updated + (total,)
                        else:
                            updated = updated + sums[i * TILE : (i + 1) * TILE]
                    sums = updated
        t = u - (M - 1)
        if t >= first:
            row = (((sample * out_t + t) * out_h + h) * out_w + w) * channels
            _store_columns(out + (row + channel), channel < channels, w, out_w, channels, sums, 0, TILE)
        sums = sums[TILE:] + _zeros(TILE, ROWS, BLOCK)


@triton.jit
def input_gradient_kernel(
    grad,
    weight,
    dx,
    in_shape,
    out_shape,
    frames,
    channel_vectors,
    VECTOR: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """dx[i] = sum of grad[o] * weight[k] over the taps k and positions o with o * stride - padding + k = i.

    TILE is a multiple of the stride along W, so the compiler knows which taps a position has. The rows of one program
    are a stride along H apart, so they have the same taps along H. Along T, frames go in groups of one stride: group v
    is the frames v * stride - padding + r. Grid: samples * runs of `frames` groups * stride along H * blocks of tiles *
    blocks of channels.
    """
    KT: tl.constexpr = KERNEL[0]
    KW: tl.constexpr = KERNEL[2]
    ST: tl.constexpr = STRIDE[0]
    M: tl.constexpr = (KT + ST - 1) // ST
    # The columns of grad that a tile needs, relative to (its first column / stride).
    LEFT: tl.constexpr = (PADDING[2] - KW + 1) // STRIDE[2]
    RIGHT: tl.constexpr = (TILE - 1 + PADDING[2]) // STRIDE[2]
    in_t, in_h, in_w = in_shape
    out_t, out_h, out_w = out_shape
    channels = channel_vectors * VECTOR
    channel, program = _channels(channels, ROWS, BLOCK)
    rows = tl.cdiv(in_h, STRIDE[1])
    blocks = tl.cdiv(rows * tl.cdiv(in_w, TILE), ROWS)
    h, w = _tiles(program % blocks, rows, ROWS, TILE)
    phase = program // blocks % STRIDE[1]
    h = h * STRIDE[1] + phase
    first_group = PADDING[0] // ST
    end_group = (in_t - 1 + PADDING[0]) // ST + 1
    runs = tl.cdiv(end_group - first_group, frames)
    run = program // blocks // STRIDE[1]
    first = first_group + run % runs * frames
    last = tl.minimum(first + frames, end_group)
    sample = (run // runs).to(tl.int64)

    from_w = w // STRIDE[2] + LEFT
    # Entry (m * ST + r) * TILE + j: position j of frame r in group u + m.
    sums = _zeros(M * ST * TILE, ROWS, BLOCK)
    for u in range(first - (M - 1), last):
        if (u >= 0) & (u < out_t):
            # Not unrolled, as in the forward kernel.
            for dh in range(KERNEL[1]):
                # A multiple of the stride is added because % of a negative number is negative here.
                if (phase + PADDING[1] - dh + KERNEL[1] * STRIDE[1]) % STRIDE[1] == 0:
                    stride_h = h + PADDING[1] - dh
                    from_h = stride_h // STRIDE[1]
                    row = (((sample * out_t + u) * out_h + from_h) * out_w + from_w) * channels
                    inside = (channel < channels) & (stride_h >= 0) & (from_h < out_h)
                    columns = _load_columns(grad + (row + channel), inside, from_w, out_w, channels, RIGHT + 1 - LEFT)
                    updated = ()
                    for dt in tl.static_range(M * ST):
                        if dt < KT:
                            tap = (dt * KERNEL[1] + dh) * KW * channels
                            taps = _load_taps(weight + (tap + channel), channel < channels, channels, KW)
                            for j in tl.static_range(TILE):
                                total = sums[dt * TILE + j]
                                for dw in tl.static_range(KW):
                                    if (j + PADDING[2] - dw) % STRIDE[2] == 0:
                                        column = columns[(j + PADDING[2] - dw) // STRIDE[2] - LEFT]
                                        total = tl.fma(column, taps[dw], total)
                                updated = updated + (total,)
                        else:
                            updated = updated + sums[dt * TILE : (dt + 1) * TILE]
                    sums = updated
        for r in tl.static_range(ST):
            t = u * ST - PADDING[0] + r
            if (u >= first) & (t >= 0) & (t < in_t):
                row = (((sample * in_t + t) * in_h + h) * in_w + w) * channels
                inside = (channel < channels) & (h < in_h)
                _store_columns(dx + (row + channel), inside, w, in_w, channels, sums, r * TILE, TILE)
        sums = sums[ST * TILE :] + _zeros(ST * TILE, ROWS, BLOCK)


@triton.jit
def weight_gradient_kernel(
    grad,
    x,
    partial,
    in_shape,
    out_shape,
    frames,
    samples,
    parts,
    channel_vectors,
    VECTOR: tl.constexpr,
    KERNEL: tl.constexpr,
    KT: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """partial[p, k] = sum over the output positions o of part p of grad[o] * x[o * stride - padding + k].

    An item of work is a block of tiles over a run of `frames` output frames of a sample; part p is the items p, p +
    parts, ... A program sums KT of the KERNEL[0] temporal taps, so each entry of partial, float32 (parts, taps,
    channels), is written exactly once. Grid: parts * (KERNEL[0] / KT) * blocks of channels.
    """
    KH: tl.constexpr = KERNEL[1]
    KW: tl.constexpr = KERNEL[2]
    M: tl.constexpr = (KT + STRIDE[0] - 1) // STRIDE[0]
    in_t, in_h, in_w = in_shape
    out_t, out_h, out_w = out_shape
    channels = channel_vectors * VECTOR
    channel, program = _channels(channels, ROWS, BLOCK)
    first_dt = program % (KERNEL[0] // KT) * KT
    part = program // (KERNEL[0] // KT)
    blocks = tl.cdiv(out_h * tl.cdiv(out_w, TILE), ROWS)
    runs = tl.cdiv(out_t, frames)

    # Entry (((r * KH + dh) * M + m) * KW + dw): tap (first_dt + r + m * stride, dh, dw).
    sums = _zeros(STRIDE[0] * KH * M * KW, ROWS, BLOCK)
    for item in range(part, samples * runs * blocks, parts):
        h, w = _tiles(item % blocks, out_h, ROWS, TILE)
        first = item // blocks % runs * frames
        last = tl.minimum(first + frames, out_t)
        sample = tl.cast(item // blocks // runs, tl.int64)
        from_h = h * STRIDE[1] - PADDING[1]
        from_w = w * STRIDE[2] - PADDING[2]
        # Entry m * TILE + j: position j of the output frame u - m.
        grads = _zeros(M * TILE, ROWS, BLOCK)
        for u in range(first, last + M - 1):
            row = (((sample * out_t + u) * out_h + h) * out_w + w) * channels
            # Frames beyond the run are another program's: no column of theirs is inside.
            width = tl.where(u < last, out_w, 0)
            newest = _load_columns(grad + (row + channel), channel < channels, w, width, channels, TILE)
            grads = newest + grads[: (M - 1) * TILE]
            for r in tl.static_range(STRIDE[0]):
                from_t = u * STRIDE[0] - PADDING[0] + first_dt + r
                if (from_t >= 0) & (from_t < in_t):
                    updated = ()
                    for dh in tl.static_range(KH):
                        row = (((sample * in_t + from_t) * in_h + from_h + dh) * in_w + from_w) * channels
                        inside = (channel < channels) & (from_h + dh >= 0) & (from_h + dh < in_h)
                        columns = _load_columns(
                            x + (row + channel), inside, from_w, in_w, channels, (TILE - 1) * STRIDE[2] + KW
                        )
                        for m in tl.static_range(M):
                            for dw in tl.static_range(KW):
                                total = sums[((r * KH + dh) * M + m) * KW + dw]
                                if r + m * STRIDE[0] < KT:
                                    for j in tl.static_range(TILE):
                                        total = tl.fma(columns[j * STRIDE[2] + dw], grads[m * TILE + j], total)
                                updated = updated + (total,)
                    sums = sums[: r * KH * M * KW] + updated + sums[(r + 1) * KH * M * KW :]

    blocks_of_channels = tl.cdiv(channels, BLOCK)
    one_row = tl.program_id(0) % blocks_of_channels * BLOCK + tl.arange(0, BLOCK)
    for r in tl.static_range(STRIDE[0]):
        for dh in tl.static_range(KH):
            for m in tl.static_range(M):
                for dw in tl.static_range(KW):
                    if r + m * STRIDE[0] < KT:
                        total = tl.sum(sums[((r * KH + dh) * M + m) * KW + dw], axis=0)
                        dt = first_dt + r + m * STRIDE[0]
                        tap = ((part.to(tl.int64) * KERNEL[0] + dt) * KH + dh) * KW + dw
                        tl.store(partial + (tap * channels + one_row), total, mask=one_row < channels)
