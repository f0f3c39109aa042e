// Depthwise 3D convolution over channels-last tensors (N, T, H, W, C): what its three passes share, for one instruction
// set (forward.h, input_gradient.h, weight_gradient.h).
//
// A row of outputs is computed in blocks of up to kBlock columns that stay in registers while the kernel's rows pass
// over them; each input vector is loaded once per kernel row and used for every column that it reaches. Kernels of
// several frames read each input so often that it is packed first, one tile of channels at a time (packing.h).
#pragma once

#include <algorithm>

#include "geometry.h"
#include "vec.h"

namespace VIDNAS_ISA {

// Narrower vectors serve networks of a few channels only: they take the loops for any kernel.
template <int M>
constexpr int kFewest = M < 8 ? M : 8;

constexpr int kBlock = 8;               // columns of a forward or input gradient block
constexpr int64_t kRows = 8;            // most rows of a work unit
constexpr int64_t kNear = 12 << 10;     // bytes that stay in the first-level cache
constexpr int64_t kMiddle = 512 << 10;  // bytes that stay in the second-level cache
constexpr int64_t kPacked = 96 << 10;   // bytes of packed frames that one tile passes over again and again
constexpr int64_t kLines = 128;         // bytes of the cache lines that an unaligned vector touches

VIDNAS_INLINE int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Splits a row into blocks of nearly equal size: ten columns are 5 + 5, not 8 + 2.
template <class Body>
VIDNAS_INLINE void for_blocks(int64_t columns, int64_t most, Body body) {
  int64_t blocks = div_up(columns, most), first = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    int64_t size = (columns - first) / (blocks - b);
    body(first, size);
    first += size;
  }
}

// Asks for memory that is used soon: frames lie too far apart for the processor to foresee.
template <bool Write, class T>
VIDNAS_INLINE void fetch(const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += int64_t(64 / sizeof(T))) __builtin_prefetch(from + i, Write, 2);
}

// Output rows of a work unit: the input frames under a kernel, and the next one, stay in the second-level cache.
template <class T>
VIDNAS_INLINE int64_t rows_of_unit(const Geometry& g) {
  const int64_t input_rows = kMiddle / ((g.kt + 1) * g.w * g.c * int64_t(sizeof(T)));
  return std::clamp<int64_t>((input_rows - g.kh) / g.sh, 1, kRows);
}

// [C][taps] -> [taps][C], in float; flipped reverses the taps.
template <class T>
void pack(const T* weight, int64_t channels, int64_t taps, bool flipped, float* packed) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t k = 0; k < taps; ++k)
      packed[(flipped ? taps - 1 - k : k) * channels + c] = load<1>(weight + c * taps + k)[0];
}

// Kernel rows [begin, end) that meet the input where output `o` starts at o * stride - pad.
struct Taps {
  int64_t begin, end, origin;
  Taps(int64_t o, int64_t stride, int64_t pad, int64_t kernel, int64_t size) {
    origin = o * stride - pad;
    begin = std::max<int64_t>(0, -origin);
    end = std::min(kernel, size - origin);
  }
};

// Which of a block's columns lie outside the row: the first `before`, and all from `behind` on. Padding is KW / 2, so
// only the first and last KW / 2 can.
struct Outside {
  int64_t before, behind;
  Outside(int64_t first, int64_t count, int64_t columns) {
    before = -first;
    behind = std::min(count, columns - first);
  }
};

// Fetches what the same row needs anew when the next frame is computed.
template <class T>
VIDNAS_INLINE void fetch_next_frame(const Geometry& g, const T* x, const Taps& kt, const Taps& kh) {
  const int64_t frame = kt.origin + g.kt, row = kh.origin + g.kh - g.sh;
  if (frame < g.t && row >= 0 && row + g.sh <= g.h)
    fetch<false>(x + (frame * g.h + row) * g.w * g.c, g.sh * g.w * g.c);
}

// Runs body(kw, stride) with compile-time constants where there are fast loops for them, else body(0, 0): for kernels
// of 1, 3 and 5 columns, padded by half of that, with strides of 1 and 2.
template <class Body>
VIDNAS_INLINE void with_kernel(const Geometry& g, Body body) {
  const int64_t kw = g.pw == g.kw / 2 ? g.kw : 0, sw = g.sw;
  if (kw == 3 && sw == 1) return body(Width<3>{}, Width<1>{});
  if (kw == 5 && sw == 1) return body(Width<5>{}, Width<1>{});
  if (kw == 3 && sw == 2) return body(Width<3>{}, Width<2>{});
  if (kw == 5 && sw == 2) return body(Width<5>{}, Width<2>{});
  if (kw == 1 && sw == 1) return body(Width<1>{}, Width<1>{});
  body(Width<0>{}, Width<0>{});
}

// Calls body(row, for_each_tile) for the rows of a work unit, with tiles inside or outside of them. Where the rows that a
// kernel covers stay in the first-level cache for one tile, tiles are the outer loop and their weights stay there too;
// where rows are long, tiles are the inner loop and every cache line is fetched once.
template <int M, class Body>
VIDNAS_INLINE void for_unit(bool tiles_inside, int64_t channels, int64_t first, int64_t last, Body body) {
  if (tiles_inside) {
    for (int64_t h = first; h < last; ++h) body(h, [&](auto each) { for_tiles<M>(channels, each); });
  } else {
    for_tiles<M>(channels, [&](auto V, int64_t c) {
      for (int64_t h = first; h < last; ++h) body(h, [&](auto each) { each(V, c); });
    });
  }
}

}  // namespace VIDNAS_ISA
